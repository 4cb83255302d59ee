"""Language models that score pairs on the CPU engine: what begins alike, what is read, what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray

from lagotto import Reranker
from lagotto.batch.sequences import Batch
from lagotto.core.errors import CheckpointError, EngineError, UnsupportedModelError
from lagotto.engines.base import PAIR_TOKENS, Engine, Scoring
from lagotto.engines.openvino import pair_scores

pytest.importorskip("torch")
pytest.importorskip("transformers")

from support.llm_rerankers import open_ranker, write_causal

YES, BOTH = Scoring(yes=7), Scoring(yes=7, no=9)
FIRST, SECOND = [11, 12, 13, 14, 15], [21, 22, 23]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_causal(tmp_path_factory.mktemp("pairs") / "model", "qwen3", max_position_embeddings=512)


@pytest.fixture(scope="module")
def engine(folder: Path, cache: Path) -> Iterator[Engine]:
    with open_ranker(folder, "qwen3", engine="openvino", cache_dir=cache) as ranker:
        yield ranker._loaded.engine


def batch(*rows: tuple[list[int], list[int]]) -> Batch:
    """Rows of what comes first and what stands behind."""
    whole = [first + behind for first, behind in rows]
    ids = np.zeros((len(rows), max(map(len, whole))), np.int32)
    for number, row in enumerate(whole):
        ids[number, : len(row)] = row
    lengths = np.array([len(row) for row in whole], np.int32)
    return Batch(ids, lengths, np.array([len(first) for first, _ in rows], np.int32), 0)


def scores(engine: Engine, given: Batch, how: Scoring = BOTH) -> NDArray[np.float32]:
    return engine.submit(given, how).result()[:, 0]


def test_rows_score_together_as_they_do_alone(engine: Engine) -> None:
    """Two queries of different length, a row with nothing first, one that is all first, a passage of one token."""
    rows = [
        (FIRST, [31, 32, 33, 34]),
        (SECOND, [41, 42]),
        (FIRST, [51]),
        ([], [61, 62, 63]),
        (SECOND, []),
        (SECOND, [31, 32, 33, 34, 35, 36, 37]),
    ]
    alone = [scores(engine, batch(row))[0] for row in rows]
    assert np.std(alone) > 0.1
    np.testing.assert_allclose(scores(engine, batch(*rows)), alone, atol=2e-5)


def test_where_a_row_is_parted_changes_nothing(engine: Engine) -> None:
    whole = FIRST + SECOND
    found = [scores(engine, batch((whole[:at], whole[at:])))[0] for at in range(len(whole) + 1)]
    np.testing.assert_allclose(found, found[0], atol=2e-5)


def test_a_score_without_a_no_is_the_logit_of_yes(engine: Engine) -> None:
    given = batch((FIRST, [31, 32]), (FIRST, [33]))
    yes, no = scores(engine, given, YES), scores(engine, given, Scoring(yes=9))
    np.testing.assert_allclose(yes - no, scores(engine, given), atol=1e-5)


def test_padding_beyond_the_last_position_is_harmless(engine: Engine) -> None:
    """The row with the long query is padded to places that the table of angles has not."""
    long, short = ([11] * 500, [31]), ([12], [31] * 40)
    alone = [scores(engine, batch(row))[0] for row in (long, short)]
    np.testing.assert_allclose(scores(engine, batch(long, short)), alone, atol=2e-5)


def test_a_long_row_makes_no_mask_of_its_square(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_causal(tmp_path / "model", "qwen3", max_position_embeddings=3000)
    long, short = (FIRST, [31, 32, 33] * 800), (FIRST, [41])
    given = []
    real = pair_scores.part
    monkeypatch.setattr(pair_scores, "part", lambda batch: given.append(real(batch)) or given[-1])
    with open_ranker(model, "qwen3", engine="openvino", cache_dir=cache) as ranker:
        found = [scores(ranker._loaded.engine, batch(row))[0] for row in (long, short)]
    assert [one.rest.shape[1] for one in given] == [1, 1]
    assert given[0].prefixes.shape == (1, len(FIRST) + 2399)
    with open_ranker(model, "qwen3") as ranker:
        expected = [scores(ranker._loaded.engine, batch(row))[0] for row in (long, short)]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_both_engines_agree(folder: Path, cache: Path) -> None:
    pairs = [
        (query, f"the animal is {number} days old")
        for query in ("what is a panda", "where does a dog find water")
        for number in range(5)
    ]
    found = {}
    for name, close in (("torch", 0.0), ("openvino", 2e-5)):
        with open_ranker(folder, "qwen3", engine=name, cache_dir=cache) as ranker:
            assert (ranker.engine.output, ranker.engine.token_budget) == (1, PAIR_TOKENS)
            found[name] = ranker.score(pairs).scores
            np.testing.assert_allclose(found[name], found["torch"], atol=close)
    with open_ranker(folder, "qwen3", engine="openvino", precision="bf16", cache_dir=cache) as ranker:
        np.testing.assert_allclose(ranker.score(pairs).scores, found["torch"], atol=0.2)


def test_it_is_chosen_by_itself(folder: Path, cache: Path) -> None:
    with Reranker(folder, card="Qwen/Qwen3-Reranker-0.6B", threads=1, cache_dir=cache) as ranker:
        assert ranker.engine.name == "openvino"


def test_other_outputs_are_refused(engine: Engine) -> None:
    for output in ("pooled", "states", Scoring(cutoff_layers=(2,))):
        with pytest.raises(EngineError, match="gives scores of pairs"):
            engine.submit(batch((FIRST, [31])), output).result()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("lm_head.weight", r"weight 'lm_head.weight' \(\d+, 32\) is missing"),
        ("model.norm.weight", r"weight 'model.norm.weight' \(32,\) is missing"),
        ("model.layers.2.mlp.up_proj.weight", "layers.2.mlp.up_proj.weight' .* is missing"),
    ],
)
def test_a_missing_weight_is_named(tmp_path: Path, cache: Path, name: str, reason: str) -> None:
    model = write_causal(tmp_path / "model", "qwen3", tie_word_embeddings=False)
    file = str(model / "model.safetensors")
    tensors = {key: value for key, value in safetensors.numpy.load_file(file).items() if key != name}
    safetensors.numpy.save_file(tensors, file)
    with pytest.raises(CheckpointError, match=reason):
        open_ranker(model, "qwen3", engine="openvino", cache_dir=cache)


def test_a_head_of_another_size_is_named(tmp_path: Path, cache: Path) -> None:
    model = write_causal(tmp_path / "model", "qwen3", tie_word_embeddings=False)
    file = str(model / "model.safetensors")
    tensors = safetensors.numpy.load_file(file)
    safetensors.numpy.save_file({**tensors, "lm_head.weight": tensors["lm_head.weight"][:-1].copy()}, file)
    with pytest.raises(CheckpointError, match=r"'lm_head.weight' has shape \(\d+, 32\), config.json asks for"):
        open_ranker(model, "qwen3", engine="openvino", cache_dir=cache)


def test_what_has_no_plain_form_is_left_to_torch(tmp_path: Path, cache: Path) -> None:
    model = write_causal(tmp_path / "model", "qwen3", attention_bias=True)
    with pytest.raises(UnsupportedModelError, match="pass engine='torch'"):
        open_ranker(model, "qwen3", engine="openvino", cache_dir=cache)
    with open_ranker(model, "qwen3", engine="auto", cache_dir=cache) as ranker:
        assert ranker.engine.name == "torch"
