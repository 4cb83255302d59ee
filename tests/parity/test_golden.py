"""Values that the authors of checkpoints published, against the real weights, where these are on the machine.

Everything but the comparison with real weights is tested on tiny random ones too, so that it does not rot.

They were computed in float16 on a GPU, with 11 bits of precision in every layer: similarities and weights must agree
within 0.01, logits within 1 %.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lagotto import Reranker
from lagotto.batch.tokenizer import Tokenizer
from lagotto.core.arrays import sigmoid
from lagotto.flag import BGEM3FlagModel
from support.checkpoints import XLMR, write_m3, write_reranker
from support.real_models import real_model

CLOSE = 0.01
Values = Mapping[str, Any]
"""Name -> numbers, nested as they were published, or token -> weight."""

# FlagEmbedding, research/BGE_M3/README.md, "Generate Embedding for text" and "Compute score for text pairs".
QUERIES = ["What is BGE M3?", "Defination of BM25"]
PASSAGES = [
    "BGE M3 is an embedding model supporting dense retrieval, lexical matching and multi-vector interaction.",
    "BM25 is a bag-of-words retrieval function that ranks a set of documents based on the query terms appearing "
    "in each document",
]
BGE_M3: Values = {
    "dense": [[0.6265, 0.3477], [0.3499, 0.678]],
    "weights of query 0": {
        "What": 0.08356,
        "is": 0.0814,
        "B": 0.1296,
        "GE": 0.252,
        "M": 0.1702,
        "3": 0.2695,
        "?": 0.04092,
    },
    "weights of query 1": {
        "De": 0.05005,
        "fin": 0.1368,
        "ation": 0.04498,
        "of": 0.0633,
        "BM": 0.2515,
        "25": 0.3335,
    },
    "lexical matching, query 0 with passage 0": 0.19554901,
    "lexical matching, query 0 with query 1": 0.0,
    "colbert score, query 0": [0.7797, 0.4620],
    "pairs: colbert": [0.7796499729156494, 0.4621465802192688, 0.4523794651031494, 0.7898575067520142],
    "pairs: sparse": [0.195556640625, 0.00879669189453125, 0.0, 0.1802978515625],
    "pairs: dense": [0.6259765625, 0.347412109375, 0.349853515625, 0.67822265625],
    "pairs: sparse+dense": [0.482503205537796, 0.23454029858112335, 0.2332356721162796, 0.5122477412223816],
    "pairs: colbert+sparse+dense": [0.6013619303703308, 0.3255828022956848, 0.32089319825172424, 0.6232916116714478],
}


@dataclass(frozen=True, slots=True)
class Judged:
    """Logits of pairs, as they were published."""

    model: str
    pairs: Sequence[tuple[str, str]]
    logits: Sequence[float]


PANDA = (
    "The giant panda (Ailuropoda melanoleuca), sometimes called a panda bear or simply panda, is a bear species "
    "endemic to China."
)
PANDAS = (("query", "passage"), ("what is panda?", "hi"), ("what is panda?", PANDA))
LLAMAS = (("A red apple", "A llama in the garden"), ("A red apple", "I want some fruit"))
V2_M3 = "BAAI/bge-reranker-v2-m3"
JUDGED = {
    # FlagEmbedding, examples/inference/reranker/README.md, "Normal Reranker".
    "large": Judged("BAAI/bge-reranker-large", PANDAS, [-1.52636718, -5.60546875, 5.76171875]),
    "v2-m3": Judged(V2_M3, PANDAS, [-5.65234375, -8.1875, 5.26171875]),
    # ggml-org/llama.cpp, pull request 9510, "llama : add reranking support".
    "v2-m3, llama.cpp": Judged(V2_M3, LLAMAS, [-8.72657, -0.104675]),
}
LLAMA_IDS = [0, 62, 4842, 108787, 2, 2, 62, 67140, 23, 70, 80583, 2]
"""Token ids of the first of `LLAMAS`, in the same pull request."""


def m3_values(model: BGEM3FlagModel) -> Values:
    """What `BGE_M3` holds, from a model."""
    asked: dict[str, Any] = {"return_sparse": True, "return_colbert_vecs": True}
    queries, passages = model.encode(QUERIES, **asked), model.encode(PASSAGES, **asked)
    weights, vectors = queries["lexical_weights"], queries["colbert_vecs"]
    pairs = [(query, passage) for query in QUERIES for passage in PASSAGES]
    scores = model.compute_score(pairs, max_passage_length=128, weights_for_different_modes=[0.4, 0.2, 0.4])
    matched = model.compute_lexical_matching_score
    return {
        "dense": queries["dense_vecs"] @ passages["dense_vecs"].T,
        "weights of query 0": model.convert_id_to_token(weights[0]),
        "weights of query 1": model.convert_id_to_token(weights[1]),
        "lexical matching, query 0 with passage 0": matched(weights[0], passages["lexical_weights"][0]),
        "lexical matching, query 0 with query 1": matched(weights[0], weights[1]),
        "colbert score, query 0": [model.colbert_score(vectors[0], other) for other in passages["colbert_vecs"]],
        **{f"pairs: {name}": values for name, values in scores.items()},
    }


def pair_ids(folder: Path, pair: tuple[str, str]) -> list[int]:
    """Token ids that a cross-encoder sees of a pair."""
    tokenizer = Tokenizer(folder / "tokenizer.json", XLMR.pad_id, vocab_size=250_002)
    return list(tokenizer.encode_pairs([pair], 512).ids[0])


def check(found: Values, published: Values, close: float = CLOSE) -> None:
    """Fail with a line for every value that is missing, in excess or not close."""
    assert set(found) == set(published)
    wrong = []
    for name, wanted in published.items():
        ours, theirs = ((value if isinstance(value, Mapping) else {"": value}) for value in (found[name], wanted))
        if set(ours) != set(theirs):
            wrong.append(f"{name}: {sorted(ours)}, published are {sorted(theirs)}")
            continue
        for key, numbers in theirs.items():
            if not np.allclose(np.asarray(ours[key]), np.asarray(numbers), rtol=0, atol=close):
                wrong.append(f"{name} {key}: {ours[key]}, published is {numbers}")
    assert not wrong, "\n".join(wrong)


def check_logits(model: Reranker, judged: Judged) -> None:
    """Fail unless logits agree within 1 %, and the scores from 0 to 1 within 0.01."""
    logits, scores = model.score(judged.pairs).scores, model.score(judged.pairs, normalize=True).scores
    np.testing.assert_allclose(logits, judged.logits, rtol=CLOSE, atol=CLOSE)
    np.testing.assert_allclose(scores, sigmoid(np.array(judged.logits, np.float32)), atol=CLOSE)


# Real weights


def test_bge_m3(cache: Path) -> None:
    model = BGEM3FlagModel(str(real_model("BAAI/bge-m3")), use_fp16=False)
    try:
        check(m3_values(model), BGE_M3)
    finally:
        model.stop_self_pool()


@pytest.mark.parametrize("name", JUDGED)
def test_rerankers(name: str, cache: Path) -> None:
    judged = JUDGED[name]
    with Reranker(real_model(judged.model), card=judged.model, precision="f32") as model:
        check_logits(model, judged)


def test_token_ids_of_a_pair() -> None:
    assert pair_ids(real_model(V2_M3), LLAMAS[0]) == LLAMA_IDS


# The tests themselves


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Values]:
    """`m3_values` of a tiny random model."""
    folder = write_m3(tmp_path_factory.mktemp("golden") / "m3", width=XLMR.hidden)
    model = BGEM3FlagModel(str(folder), use_fp16=False)
    yield m3_values(model)
    model.stop_self_pool()


def shape(values: Values) -> dict[str, Any]:
    return {name: dict if isinstance(value, Mapping) else np.shape(value) for name, value in values.items()}


def test_any_model_gives_values_of_the_published_kind(tiny: Values) -> None:
    assert shape(tiny) == shape(BGE_M3)
    assert all(type(weight) is float for weight in tiny["weights of query 0"].values())
    check(tiny, tiny)
    np.testing.assert_allclose(np.ravel(tiny["dense"]), tiny["pairs: dense"], atol=1e-5)
    with pytest.raises(AssertionError, match="dense"):
        check(tiny, BGE_M3)


def test_a_value_that_is_off_is_told() -> None:
    check(BGE_M3, BGE_M3)
    off = {**BGE_M3, "dense": [[0.6265, 0.3477], [0.3499, 0.688001]]}
    with pytest.raises(AssertionError, match=r"^dense : .*0\.688001.*, published is"):
        check(off, BGE_M3)
    check({**BGE_M3, "dense": [[0.6265, 0.3477], [0.3499, 0.6879]]}, BGE_M3)
    other = {**BGE_M3["weights of query 1"], "BM": 0.24}
    with pytest.raises(AssertionError, match=r"^weights of query 1 BM: 0\.24, published is 0\.2515"):
        check({**BGE_M3, "weights of query 1": other}, BGE_M3)
    del other["BM"]
    with pytest.raises(AssertionError, match=r"published are \['25', 'BM'"):
        check({**BGE_M3, "weights of query 1": other}, BGE_M3)
    with pytest.raises(AssertionError):
        check({name: value for name, value in BGE_M3.items() if name != "dense"}, BGE_M3)


def test_published_sums_are_weighted_means_of_published_scores() -> None:
    dense, sparse, colbert = (np.array(BGE_M3[f"pairs: {name}"]) for name in ("dense", "sparse", "colbert"))
    np.testing.assert_allclose((0.4 * dense + 0.2 * sparse) / 0.6, BGE_M3["pairs: sparse+dense"], atol=1e-4)
    every = 0.4 * dense + 0.2 * sparse + 0.4 * colbert
    np.testing.assert_allclose(every, BGE_M3["pairs: colbert+sparse+dense"], atol=1e-3)


def test_logits_of_any_reranker(tmp_path: Path, cache: Path) -> None:
    folder = write_reranker(tmp_path / "tiny", XLMR)
    with Reranker(folder, precision="f32") as model:
        logits = model.score(PANDAS).scores.tolist()
        check_logits(model, Judged("tiny", PANDAS, logits))
        with pytest.raises(AssertionError, match="Not equal to tolerance"):
            check_logits(model, Judged("tiny", PANDAS, [*logits[:2], logits[2] + 0.2]))
    assert pair_ids(folder, LLAMAS[0])[0] == 0


def test_weights_are_looked_for_in_the_users_folders(tmp_path: Path) -> None:
    with pytest.raises(pytest.skip.Exception, match=r"weights of ORG/m3 are not here; put them into .*LAGOTTO_MODELS"):
        real_model("ORG/m3", store=None, hub_cache=tmp_path)
    store = tmp_path / "store"
    with pytest.raises(
        pytest.skip.Exception, match=r"store/ORG/m3, or into the Hugging Face cache .*models pull ORG/m3"
    ):
        real_model("ORG/m3", store=store, hub_cache=tmp_path)
    folder = write_m3(store / "ORG/m3")
    assert real_model("ORG/m3", store=store, hub_cache=tmp_path) == folder
    snapshot = write_m3(tmp_path / "hub/models--ORG--n3/snapshots/0123456789abcdef0123456789abcdef01234567")
    (tmp_path / "hub/models--ORG--n3/refs").mkdir()
    (tmp_path / "hub/models--ORG--n3/refs/main").write_text(snapshot.name)
    assert real_model("ORG/n3", store=store, hub_cache=tmp_path / "hub") == snapshot
