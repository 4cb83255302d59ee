"""Sets of pairs: figures equal what scipy, scikit-learn and plain numpy make of the same vectors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lagotto.core.errors import InvalidInputError
from lagotto.evaluation import store
from lagotto.evaluation.datasets.pairs import Candidates, PairData
from lagotto.evaluation.instructions import TaskHint
from lagotto.evaluation.measures import parse_measure
from lagotto.evaluation.pair_tasks import applies, evaluate_pairs
from lagotto.evaluation.pipeline import Bm25Leg, DenseLeg, Fusion, Rerank, System
from lagotto.evaluation.statistics import Means, Paired
from support.checkpoints import BERT, write_embedder
from support.collection import LEFT, RIGHT, bitext, candidates, same_or_not, sts


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Seven texts a block."""
    monkeypatch.setattr(store, "BLOCK", 7)


def only(leg: DenseLeg) -> System:
    return System("system", (leg,))


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_which_systems_can_do_which_sets(dense, rerank):
    embedder, judge = only(dense), System("r", (), rerank=rerank)
    hybrid, bm25 = System("h", (dense, Bm25Leg()), Fusion()), System("b", (Bm25Leg(),))
    reranked = System("d r", (dense,), rerank=rerank)
    pairs, reranking = sts(), candidates()
    assert [applies(system, pairs) for system in (embedder, judge, hybrid, bm25, reranked)] == [True, *[False] * 4]
    assert [applies(system, reranking) for system in (embedder, judge, hybrid, bm25, reranked)] == [
        *(True, True),
        *(False, False),
        True,
    ]


def test_sts_is_the_correlation_of_cosines(bench, dense, embedder):
    stats = pytest.importorskip("scipy.stats")
    data = sts()
    result, samples = evaluate_pairs(bench, only(dense), data, [])
    assert list(result.metrics) == ["spearman", "pearson"]
    assert isinstance(samples["spearman"], Paired)
    scores = samples["spearman"].scores  # pairs of nearly equal cosines: another rounding may rank them otherwise
    np.testing.assert_allclose(scores, cosines(embedder.encode(LEFT).dense, embedder.encode(RIGHT).dense), atol=1e-5)
    assert result.metrics["spearman"].value == pytest.approx(stats.spearmanr(scores, data.gold)[0])
    assert result.metrics["pearson"].value == pytest.approx(stats.pearsonr(scores, data.gold)[0])
    assert all(estimate.low < estimate.value < estimate.high for estimate in result.metrics.values())
    assert result.per_query == {}
    assert result.scores is None


def test_pair_classification_is_average_precision_and_the_best_f1(bench, dense, embedder):
    metrics = pytest.importorskip("sklearn.metrics")
    data = same_or_not()
    result, samples = evaluate_pairs(bench, only(dense), data, [])
    scores = samples["ap"].scores
    np.testing.assert_allclose(scores, cosines(embedder.encode(LEFT).dense, embedder.encode(RIGHT).dense), atol=1e-5)
    precision, recall, _ = metrics.precision_recall_curve(data.gold, scores)
    f1 = np.max(2 * precision * recall / np.maximum(precision + recall, 1e-9))
    assert list(result.metrics) == ["ap", "best_f1"]
    assert result.metrics["ap"].value == pytest.approx(metrics.average_precision_score(data.gold, scores))
    assert result.metrics["best_f1"].value == pytest.approx(f1)
    spread = result.scores
    assert spread is not None
    assert (sum(spread.relevant.counts), sum(spread.other.counts)) == (12, 12)
    assert spread.relevant.edges == spread.other.edges
    said = scores >= spread.best_threshold
    assert metrics.f1_score(np.array(data.gold) > 0, said) == pytest.approx(spread.best_f1)
    assert spread.best_f1 == pytest.approx(f1)


def test_bitext_is_the_nearest_sentence_in_both_directions(bench, dense, embedder):
    data = bitext()
    result, samples = evaluate_pairs(bench, only(dense), data, [])
    similarity = embedder.encode(data.left).dense @ embedder.encode(data.right).dense.T
    places = np.arange(len(data))
    wanted = ((similarity.argmax(axis=1) == places) * 0.5 + (similarity.argmax(axis=0) == places) * 0.5).tolist()
    assert list(result.per_query["accuracy"].values()) == wanted
    assert result.metrics["accuracy"].value == pytest.approx(np.mean(wanted))
    assert 0 < result.metrics["accuracy"].value < 1
    assert isinstance(samples["accuracy"], Means)


def straight(scores: list[np.ndarray], data: PairData) -> dict[str, float]:
    """MAP, MRR@10 and nDCG@10 with relevance 1 or 0, by their definitions."""
    values: dict[str, list[float]] = {"map": [], "mrr@10": [], "ndcg@10": []}
    for found, item in zip(scores, data.candidates, strict=True):
        labels = np.array([1] * len(item.positive) + [0] * len(item.negative))[np.argsort(-found)]
        ranks = np.flatnonzero(labels) + 1
        values["map"].append(float(np.mean(np.arange(1, len(ranks) + 1) / ranks)))
        values["mrr@10"].append(1 / ranks[0] if ranks[0] <= 10 else 0.0)
        gains = labels[:10] / np.log2(np.arange(2, len(labels[:10]) + 2))
        ideal = np.sort(labels)[::-1][:10] / np.log2(np.arange(2, len(labels[:10]) + 2))
        values["ndcg@10"].append(gains.sum() / ideal.sum())
    return {name: float(np.mean(numbers)) for name, numbers in values.items()}


def test_reranking_by_cosines(bench, dense, embedder):
    data = candidates()
    result, _ = evaluate_pairs(bench, only(dense), data, [])
    scores = [
        (
            embedder.encode_queries(item.query).dense
            @ embedder.encode_documents([*item.positive, *item.negative]).dense.T
        )[0]
        for item in data.candidates
    ]
    assert {name: estimate.value for name, estimate in result.metrics.items()} == pytest.approx(straight(scores, data))
    assert list(result.metrics) == ["map", "mrr@10", "ndcg@10"]
    assert list(result.per_query["map"]) == [str(number) for number in range(len(data))]
    assert result.metrics["map"].value < 1


def test_reranking_by_a_reranker_whether_or_not_something_retrieves(bench, dense, rerank, ranker):
    data = candidates()
    alone, _ = evaluate_pairs(bench, System("r", (), rerank=rerank), data, [])
    behind, _ = evaluate_pairs(bench, System("d r", (dense,), rerank=rerank), data, [])
    scores = [
        ranker.score([(item.query, text) for text in (*item.positive, *item.negative)]).scores
        for item in data.candidates
    ]
    assert {name: estimate.value for name, estimate in alone.metrics.items()} == pytest.approx(straight(scores, data))
    assert behind.metrics == alone.metrics
    assert [stage.name for stage in alone.cost.stages] == [f"rerank: {rerank.model}"]
    assert alone.cost.stages[0].items == sum(len(scores_of) for scores_of in scores)


def test_reranking_by_measures_that_are_asked_for(bench, dense):
    measures = [parse_measure("recall@1"), parse_measure("map")]
    result, samples = evaluate_pairs(bench, only(dense), candidates(), measures)
    assert list(result.metrics) == list(result.per_query) == list(samples) == ["recall@1", "map"]


def test_equal_scores_do_not_favour_the_positive_documents(bench, dense):
    """Positives come first in the file; a model that can't tell documents apart must not gain by it."""
    data = PairData("same", "reranking", candidates=(Candidates("dog", ("panda",), ("panda", "panda", "panda")),))
    result, _ = evaluate_pairs(bench, only(dense), data, [parse_measure("mrr@10")])
    assert result.metrics["mrr@10"].value == 0.25


@pytest.mark.parametrize("dimensions", [1, 8])
def test_fewer_dimensions(bench, dense, embedder, dimensions):
    result, samples = evaluate_pairs(bench, only(replace(dense, dimensions=dimensions)), sts(), [])
    a, b = (embedder.encode(texts, dimensions=dimensions).dense for texts in (LEFT, RIGHT))
    np.testing.assert_allclose(samples["pearson"].scores, (a * b).sum(axis=1), atol=1e-5)
    assert result.cost.stages[0].items == 48


@pytest.mark.parametrize("make", [sts, bitext, same_or_not, candidates])
def test_dimensions_the_model_lacks_are_refused_before_it_works(bench, dense, counts, make):
    with pytest.raises(InvalidInputError, match="dimensions is 64; this model allows 1 to 32"):
        evaluate_pairs(bench, only(replace(dense, dimensions=64)), make(), [])
    assert not counts.texts


def binary(vectors: np.ndarray) -> np.ndarray:
    return np.where(vectors > 0, 1, -1) / vectors.shape[1] ** 0.5


def test_quantised_vectors_are_compared_as_an_index_keeps_them(bench, dense, embedder):
    leg = replace(dense, quantization="binary")
    _, samples = evaluate_pairs(bench, only(leg), sts(), [])
    a, b = (binary(embedder.encode(texts).dense) for texts in (LEFT, RIGHT))
    np.testing.assert_allclose(samples["pearson"].scores, (a * b).sum(axis=1), atol=1e-5)
    _, full = evaluate_pairs(bench, only(dense), sts(), [])
    for rescored in (replace(leg, rescore=10), replace(dense, quantization="f32")):
        _, samples = evaluate_pairs(bench, only(rescored), sts(), [])
        np.testing.assert_array_equal(samples["pearson"].scores, full["pearson"].scores)


def test_quantised_candidates_and_full_queries(bench, dense, embedder):
    data = candidates()
    result, _ = evaluate_pairs(bench, only(replace(dense, quantization="binary")), data, [])
    scores = [
        (
            embedder.encode_queries(item.query).dense
            @ binary(embedder.encode_documents([*item.positive, *item.negative]).dense).T
        )[0]
        for item in data.candidates
    ]
    assert result.metrics["map"].value == pytest.approx(straight(scores, data)["map"])


def test_prompts_of_the_leg(bench, dense, embedder):
    leg = replace(dense, query_prompt="find: ", document_prompt="text: ")
    _, samples = evaluate_pairs(bench, only(leg), sts(), [])
    a, b = (embedder.encode(texts, prompt="find: ").dense for texts in (LEFT, RIGHT))
    np.testing.assert_allclose(samples["pearson"].scores, (a * b).sum(axis=1), atol=1e-5)
    data = candidates()
    result, _ = evaluate_pairs(bench, only(leg), data, [])
    scores = [
        (
            embedder.encode(item.query, prompt="find: ").dense
            @ embedder.encode([*item.positive, *item.negative], prompt="text: ").dense.T
        )[0]
        for item in data.candidates
    ]
    assert result.metrics["map"].value == pytest.approx(straight(scores, data)["map"])


def test_an_instruction_of_the_leg_is_not_for_documents(bench, dense, embedder):
    data = candidates()
    result, _ = evaluate_pairs(bench, only(replace(dense, query_instruction="what ")), data, [])
    scores = [
        (
            embedder.encode_queries(item.query, instruction="what ").dense
            @ embedder.encode_documents([*item.positive, *item.negative]).dense.T
        )[0]
        for item in data.candidates
    ]
    assert result.metrics["map"].value == pytest.approx(straight(scores, data)["map"])


def test_prompts_of_the_card_for_the_task(bench, tmp_path):
    leg = DenseLeg(str(write_embedder(tmp_path / "tasks", BERT, prompts={"STS": "same as: "})))
    _, samples = evaluate_pairs(bench, only(leg), replace(sts(), task=TaskHint("likeness", "STS")), [])
    model = bench.embedder(leg)
    a, b = (model.encode(texts, prompt="same as: ").dense for texts in (LEFT, RIGHT))
    np.testing.assert_allclose(samples["pearson"].scores, (a * b).sum(axis=1), atol=1e-5)


def test_a_model_that_does_not_normalise_is_compared_by_inner_products(bench, tmp_path):
    leg = DenseLeg(str(write_embedder(tmp_path / "long", BERT, normalize=False)))
    _, samples = evaluate_pairs(bench, only(leg), sts(), [])
    model = bench.embedder(leg)
    wanted = (model.encode(LEFT).dense * model.encode(RIGHT).dense).sum(axis=1)
    np.testing.assert_allclose(samples["pearson"].scores, wanted, rtol=1e-4)


@pytest.mark.parametrize("make", [sts, bitext, same_or_not, candidates])
def test_costs_and_what_was_cached(bench, dense, make):
    first, _ = evaluate_pairs(bench, only(dense), make(), [])
    again, _ = evaluate_pairs(bench, only(dense), make(), [])
    embedding = [stage for stage in first.cost.stages if not stage.name.startswith("search")]
    assert all(stage.seconds > 0 and stage.items > 0 and stage.tokens > 0 for stage in embedding)
    if make is not candidates:  # some of whose texts are the queries' own
        assert not any(stage.cached for stage in first.cost.stages)
    cached = [stage.cached for stage in again.cost.stages if not stage.name.startswith("search")]
    assert cached == [stage.items for stage in embedding]
    assert again.metrics == first.metrics
    assert 0 < first.cost.memory_before <= first.cost.memory_loaded
    assert first.lengths[0].texts == embedding[0].items
    assert first.system == "system"
    assert first.dataset == make().name


def test_rerankers_are_opened_before_memory_is_measured(bench, rerank, monkeypatch):
    sizes = iter((100, 130))
    monkeypatch.setattr("lagotto.evaluation.workbench.resident_bytes", lambda: next(sizes, 130))
    result, _ = evaluate_pairs(bench, System("r", (), rerank=Rerank(rerank.model)), candidates(), [])
    assert (result.cost.memory_before, result.cost.memory_loaded) == (100, 130)
