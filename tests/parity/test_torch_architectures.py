"""The torch engine gives what transformers' own forward gives for one text at a time, for each architecture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lagotto import Embedder, Reranker
from lagotto.batch.sequences import pad
from lagotto.cards.architectures import TORCH_ARCHITECTURES
from lagotto.cards.checkpoint import Checkpoint
from support.checkpoints import XLMR, some_texts, write_embedder, write_m3
from support.engines import Vectors, checkpoint_of, compute, encode, tokenizer_of

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from transformers.models.auto.configuration_auto import CONFIG_MAPPING  # noqa: E402

from lagotto.engines.torch.engine import TorchEngine  # noqa: E402
from lagotto.engines.torch.packing import can_pack  # noqa: E402
from support.architectures import reference_model, write_architecture  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
TEXTS = [*some_texts(24, seed=5, longest=60), "a", "the dog"]
CLOSE = 1e-5
RERANKERS = ("bert", "deberta-v2", "distilbert", "electra", "modernbert", "qwen3", "roberta", "xlm-roberta")


@pytest.fixture(scope="module", params=TORCH_ARCHITECTURES)
def architecture(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(architecture: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if architecture not in CONFIG_MAPPING:
        pytest.skip("this transformers does not know it")
    return write_architecture(tmp_path_factory.mktemp("model") / architecture, architecture)


@pytest.fixture(scope="module")
def states(folder: Path) -> list[Vectors]:
    """(tokens, hidden) of every text."""
    model = reference_model(folder)
    with torch.inference_mode():
        given = [torch.from_numpy(ids[None].astype(np.int64)) for ids in encode(folder, TEXTS).ids]
        return [model(ids).last_hidden_state[0].numpy() for ids in given]


def engine(checkpoint: Checkpoint, packing: bool) -> TorchEngine:
    if packing and not can_pack(checkpoint.config, checkpoint.card.task):
        pytest.skip("this transformers takes no packed texts")
    return TorchEngine(checkpoint, "cpu", "f32", 1, packing=packing)


def ways(checkpoint: Checkpoint) -> tuple[bool, ...]:
    return (False, True) if can_pack(checkpoint.config, checkpoint.card.task) else (False,)


def test_vectors_and_states(folder: Path, states: list[Vectors]) -> None:
    checkpoint, sequences = checkpoint_of(folder), encode(folder, TEXTS)
    assert checkpoint.max_length == 64
    assert max(sequences.lengths()) == 64
    expected = np.stack([one.mean(axis=0) for one in states])
    assert expected.std(axis=0).mean() > 0.1  # texts differ, or nothing would be tested
    batch = pad(sequences, range(0, len(TEXTS), 3), checkpoint.config.pad_token_id)
    for packing in ways(checkpoint):
        opened = engine(checkpoint, packing)
        found = compute(opened, sequences, checkpoint.config.pad_token_id)
        np.testing.assert_allclose(found, expected, atol=CLOSE)
        for row, one in zip(opened.submit(batch, "states").result(), states[::3], strict=True):
            np.testing.assert_allclose(row[: len(one)], one, atol=CLOSE)
        opened.close()


POOLINGS: dict[str, Any] = {
    "cls": lambda x: x[0],
    "mean": lambda x: x.mean(axis=0),
    "max": lambda x: x.max(axis=0),
    "mean_sqrt_len": lambda x: x.sum(axis=0) / np.sqrt(len(x)),
    "last_token": lambda x: x[-1],
}


@pytest.mark.parametrize("pooling", list(POOLINGS))
@pytest.mark.parametrize("packing", [False, True])
def test_poolings(tmp_path: Path, pooling: str, packing: bool) -> None:
    folder = write_architecture(tmp_path / "model", "qwen3", pooling=pooling)
    model, sequences = reference_model(folder), encode(folder, TEXTS)
    with torch.inference_mode():
        given = [torch.from_numpy(ids[None].astype(np.int64)) for ids in sequences.ids]
        expected = np.stack([POOLINGS[pooling](model(ids).last_hidden_state[0].numpy()) for ids in given])
    opened = engine(checkpoint_of(folder), packing)
    np.testing.assert_allclose(compute(opened, sequences, 3), expected, atol=CLOSE)
    opened.close()


@pytest.mark.parametrize("kind", RERANKERS)
def test_scores(tmp_path: Path, kind: str) -> None:
    folder = write_architecture(tmp_path / "model", kind, classifier=True)
    model, checkpoint = reference_model(folder, classifier=True), checkpoint_of(folder, "rerank")
    pairs = list(zip(some_texts(12, seed=1, longest=9), some_texts(12, seed=2, longest=20), strict=True))
    sequences = tokenizer_of(checkpoint).encode_pairs(pairs, checkpoint.max_length)
    types = {} if checkpoint.config.type_vocab_size < 2 else {"token_type_ids": None}
    expected = []
    with torch.inference_mode():
        for ids, second in zip(sequences.ids, sequences.second, strict=True):
            if types:
                types["token_type_ids"] = torch.from_numpy((np.arange(len(ids)) >= second).astype(np.int64)[None])
            expected.append(model(torch.from_numpy(ids[None].astype(np.int64)), **types).logits[0, 0].item())
    for packing in ways(checkpoint):
        opened = engine(checkpoint, packing)
        assert opened.info.output == 1
        found = compute(opened, sequences, checkpoint.config.pad_token_id)[:, 0]
        np.testing.assert_allclose(found, expected, atol=1e-4)
        opened.close()


def test_the_library_opens_them(tmp_path: Path) -> None:
    embedder = write_architecture(tmp_path / "e", "modernbert")
    with Embedder(embedder, precision="f32", threads=1) as model:
        assert (model.engine.name, model.engine.device) == ("torch", "cpu")
        assert (model.dimension, model.max_length) == (32, 64)
        np.testing.assert_allclose(np.linalg.norm(model.encode(TEXTS).dense, axis=1), 1, atol=1e-5)
    ranker = write_architecture(tmp_path / "r", "roberta", classifier=True)
    with Reranker(ranker, precision="f32", threads=1) as judge:
        assert judge.engine.name == "torch"
        assert len(judge.rank("dog", TEXTS[:5])) == 5


def test_distilbert_calls_its_width_otherwise(tmp_path: Path) -> None:
    checkpoint = checkpoint_of(write_architecture(tmp_path / "model", "distilbert"))
    assert (checkpoint.config.hidden_size, checkpoint.card.dimension) == (32, 32)


@pytest.mark.parametrize(("precision", "least"), [("bf16", 0.9995), ("f16", 0.9999)])
@pytest.mark.parametrize("kind", ["bert", "qwen3"])
def test_half_precision_keeps_the_direction(tmp_path: Path, kind: str, precision: Any, least: float) -> None:
    folder = write_architecture(tmp_path / "model", kind, initializer_range=0.15)
    with Embedder(folder, engine="torch", device="cpu", precision="f32", threads=1) as exact:
        expected = exact.encode(TEXTS).dense
    with Embedder(folder, engine="torch", device="cpu", precision=precision, threads=1) as model:
        found = model.encode(TEXTS).dense
        assert model.engine.precision == precision
    assert found.dtype == np.float32
    assert (found * expected).sum(axis=1).min() >= least


@pytest.mark.parametrize("texts", [["<pad>", "the <pad> dog <pad><pad>", "<pad> " * 5, "the dog"]])
@pytest.mark.parametrize("packing", [False, True])
def test_padding_tokens_that_are_spelled_out(tmp_path: Path, texts: list[str], packing: bool) -> None:
    folder = write_embedder(tmp_path / "model", XLMR, pooling="mean")
    with Embedder(folder, precision="f32", threads=1) as model:
        expected = model.encode(texts, normalize=False).dense
    opened, sequences = engine(checkpoint_of(folder), packing), encode(folder, texts)
    np.testing.assert_allclose(compute(opened, sequences, XLMR.pad_id), expected, atol=1e-4)
    opened.close()


def test_three_outputs_of_m3_are_those_of_openvino(tmp_path: Path) -> None:
    folder, outputs = write_m3(tmp_path / "model"), ("dense", "sparse", "multivector")
    found = []
    for name in ("openvino", "torch"):
        with Embedder(folder, engine=name, pooling="cls", precision="f32", threads=1) as model:  # type: ignore[arg-type]
            found.append(model.encode(TEXTS, outputs=outputs))
    ours, theirs = found
    np.testing.assert_allclose(ours.dense, theirs.dense, atol=1e-5)
    assert ours.sparse is not None
    assert theirs.sparse is not None
    np.testing.assert_array_equal(ours.sparse.indices, theirs.sparse.indices)
    np.testing.assert_allclose(ours.sparse.values, theirs.sparse.values, atol=1e-4)
    assert ours.multivector is not None
    assert theirs.multivector is not None
    np.testing.assert_allclose(ours.multivector.vectors, theirs.multivector.vectors, atol=1e-4)
