"""A report as an evaluation would give it, made up: four systems, five data sets of three kinds, two languages."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lagotto.evaluation.report.html import to_html
from lagotto.evaluation.report.summary import mean_name
from lagotto.evaluation.results import (
    Comparison,
    Cost,
    DatasetInfo,
    Estimate,
    Example,
    Histogram,
    Hit,
    Lengths,
    Report,
    Result,
    ScoreSpread,
    Stage,
    SystemInfo,
)

HOSTILE = "</script></style><img src=x onerror=alert(1)>\x00\x1b[31m\u202e$policy ${title} {n} %s ]]> <!-- \ud800"
"""A text that tries to leave whatever it stands in."""
SYSTEMS = ("bm25", "bge-small-en-v1.5", "bge-m3 dense + sparse", "混合检索 → bge-reranker-base")
STRENGTH = {"bm25": 0.0, "bge-small-en-v1.5": 0.05, "bge-m3 dense + sparse": 0.08, "混合检索 → bge-reranker-base": 0.11}
MEASURES = {
    "retrieval": ("ndcg@10", "recall@100", "map@100", "mrr@10"),
    "sts": ("spearman", "pearson"),
    "pair_classification": ("ap", "f1"),
}
_DATASETS = (
    DatasetInfo("nfcorpus", "retrieval", "test", 3633, 323, 12334, "5d1a" * 8, "en", "/data/beir/nfcorpus"),
    DatasetInfo(
        "cqadupstack-android", "retrieval", "test", 22998, 699, 1696, "77c0" * 8, "en", "beir", group="cqadupstack"
    ),
    DatasetInfo(
        "cqadupstack-中文论坛",
        "retrieval",
        "test",
        45301,
        1570,
        2263,
        "90ab" * 8,
        "zh",
        "beir",
        group="cqadupstack",
        warnings=("3 judgements name documents that are not in the corpus ('d|17' for query 'q9', for one)",),
    ),
    DatasetInfo("STS-B", "sts", "test", 1379, 1379, 1379, "11ee" * 8, "en", "mteb"),
    DatasetInfo("paws-x zh", "pair_classification", "test", 2000, 2000, 2000, "c3d4" * 8, "zh", "paws.jsonl"),
)
_TEXTS = (
    "Statins lower cholesterol by blocking an enzyme of the liver. In trials with 90,056 people, a fall of LDL by "
    "1 mmol/l reduced deaths from heart disease by a fifth over five years, whatever the level at the beginning.",
    "大熊猫主要栖息在四川、陕西和甘肃的山区竹林中。它们每天要花十到十四个小时进食，一只成年大熊猫每天能吃掉十几公斤竹子。",
    "How do I move photos to the SD card? Open Settings → Storage, choose the card and tap “Migrate data”. "
    "On Android 6 and later (Marshmallow) 也可以把存储卡格式化为内部存储。",
    "def binary_search(values, wanted):\n    low, high = 0, len(values)\n    while low < high: ...",
    "Truffle dogs of the Romagna, the lagotti, were bred to retrieve waterfowl from the marshes of Comacchio.",
    "电池耗电过快时，先在“设置—电池”里查看是哪个应用在后台运行，再限制它的后台活动或重新安装该应用。",
)
_QUERIES = (
    "does cholesterol medicine prevent heart attacks",
    "大熊猫吃什么",
    "move pictures to SD card",
    "手机耗电快怎么办",
)


def _estimate(value: float, width: float) -> Estimate:
    return Estimate(value, value - width, value + width * 0.9)


def _histogram(values: np.ndarray, edges: np.ndarray) -> Histogram:
    counts, _ = np.histogram(values, edges)
    return Histogram(tuple(edges.tolist()), tuple(counts.tolist()))


def _cost(system: str, dataset: DatasetInfo, random: np.random.Generator) -> Cost:
    dense = system != "bm25"
    heavy = {"bm25": 0.02, "bge-small-en-v1.5": 1.0, "bge-m3 dense + sparse": 9.0}.get(system, 9.5)
    stages = [
        Stage("embed queries: bge", dataset.queries * 0.004 * heavy, dataset.queries, dataset.queries * 12 * dense),
        Stage("search: bge", dataset.queries * 0.0008, dataset.queries),
    ]
    if dataset.kind == "retrieval":
        cached = dataset.documents if system == "bge-small-en-v1.5" else 0
        tokens = dataset.documents * 210 * dense
        seconds = dataset.documents * 0.006 * heavy
        stages.insert(0, Stage("index: bge", seconds, dataset.documents, tokens, cached))
    if system.endswith("base"):
        stages.append(
            Stage("rerank: bge-reranker-base", dataset.queries * 0.9, dataset.queries * 50, dataset.queries * 50 * 180)
        )
    base = 310_000_000
    loaded = base + int(heavy * 130_000_000)
    vectors = {"bm25": 310, "bge-small-en-v1.5": 384 * 4}.get(system, 1024 * 4 + 900)
    vectors = vectors if dataset.kind == "retrieval" else 0
    return Cost(tuple(stages), vectors, base, loaded, loaded + int(random.integers(5, 400)) * 1_000_000)


def _lengths(system: str) -> tuple[Lengths, ...]:
    """Alike for systems with the same model."""
    if system == "bm25":
        return ()
    model, limit = ("bge-small-en-v1.5", 512) if "small" in system else ("bge-m3", 8192)
    random = np.random.default_rng(limit)
    longest = min(limit, 900)
    tokens = np.minimum(random.gamma(3, 90, 3633), longest)
    histogram = _histogram(tokens, np.linspace(0, longest, 31))
    cut = int((tokens >= 512).sum()) if limit == 512 else 0
    return (
        Lengths(f"documents, {model}", limit, float(tokens.mean()), longest, cut, 3633, histogram),
        Lengths(
            f"queries, {model}", limit, 11.5, 42, 0, 323, _histogram(random.gamma(4, 3, 323), np.linspace(0, 45, 16))
        ),
    )


def _spread(system: str, random: np.random.Generator) -> ScoreSpread:
    scale = 20.0 if system == "bm25" else 1.0
    edges = np.linspace(0, scale, 41)
    return ScoreSpread(
        relevant=_histogram(random.normal(0.66, 0.1, 1200) * scale, edges),
        other=_histogram(random.normal(0.48, 0.09, 30000) * scale, edges),
        best_threshold=0.631 * scale,
        best_f1=0.412,
    )


def _result(system: str, dataset: DatasetInfo, random: np.random.Generator) -> Result:
    values = {
        measure: _estimate(0.35 + 0.1 * place + STRENGTH[system] + float(random.normal(0, 0.015)), 0.021)
        for place, measure in enumerate(MEASURES[dataset.kind])
    }
    truncated = ("412 documents are longer than 512 tokens and were cut",) if "small" in system else ()
    return Result(
        system=system,
        dataset=dataset.name,
        metrics=values,
        per_query={},
        cost=_cost(system, dataset, random),
        lengths=_lengths(system) if dataset.name == "nfcorpus" else (),
        scores=_spread(system, random) if dataset.kind == "retrieval" else None,
        warnings=truncated if dataset.name == "nfcorpus" else (),
    )


def _comparisons(results: list[Result]) -> list[Comparison]:
    found = []
    values = {(result.system, result.dataset): result for result in results}
    for result in results:
        if result.system == SYSTEMS[0]:
            continue
        for measure, estimate in result.metrics.items():
            difference = estimate.value - values[SYSTEMS[0], result.dataset].metrics[measure].value
            p = 0.00001 if difference > 0.07 else 0.031 if difference > 0.05 else 0.4
            found.append(
                Comparison(
                    result.dataset, measure, SYSTEMS[0], result.system, _estimate(difference, 0.018), p, min(1, p * 2),
                    wins=140, losses=91, ties=92,
                )
            )  # fmt: skip
    worse = replace(
        found[0], difference=Estimate(-0.05, -0.08, -0.02), p_value=0.001, p_holm=0.004, wins=80, losses=151
    )
    means = [
        Comparison(name, "ndcg@10", SYSTEMS[0], SYSTEMS[3], Estimate(0.11, 0.09, 0.13), 0.0001, 0.0009, 1200, 800, 592)
        for name in (mean_name(2),)
    ]
    return [worse, *found[1:], *means]


def _examples(dataset: str, random: np.random.Generator) -> tuple[Example, ...]:
    return tuple(_example(dataset, place, random) for place in range(6))


def _example(dataset: str, place: int, random: np.random.Generator) -> Example:
    text = _QUERIES[place % len(_QUERIES)]
    relevant = {f"{dataset}-d{n}": int(grade) for n, grade in ((place, 2), (place + 1, 1))}
    hits = {}
    for system in SYSTEMS:
        order = random.permutation(6)[:4]
        hits[system] = tuple(
            Hit(
                f"{dataset}-d{n}",
                _TEXTS[n],
                round(float(0.9 - 0.07 * rank), 4),
                relevant.get(f"{dataset}-d{n}", 0 if n % 2 else None),
            )
            for rank, n in enumerate(order.tolist())
        )
    values = {system: round(float(random.random()), 4) for system in SYSTEMS}
    found = {hit.document for system in SYSTEMS for hit in hits[system]}
    judged = tuple(
        Hit(document, _TEXTS[int(document[-1]) % 6], 0.5 if document in found else None, grade)
        for document, grade in relevant.items()
    )
    return Example(f"q{place}", text, values, hits, judged)


def make_report() -> Report:
    """The same report each time."""
    random = np.random.default_rng(7)
    results = [_result(system, dataset, random) for dataset in _DATASETS for system in SYSTEMS]
    systems = tuple(
        SystemInfo(
            system,
            {"retrieve": {"model": system, "k": 100}, "说明": "先召回，后重排", "fuse": {"method": "rrf", "k": 60}},
            {} if system == "bm25" else {"BAAI/" + system: "ab12" * 8},
        )
        for system in SYSTEMS
    )
    return Report(
        systems=systems,
        datasets=_DATASETS,
        results=tuple(results),
        comparisons=tuple(_comparisons(results)),
        examples={dataset.name: _examples(dataset.name, random) for dataset in _DATASETS[:3]},
        environment={
            "lagotto": "0.2.0",
            "python": "3.11.7",
            "system": "Linux x86_64",
            "cpu": "AMD EPYC (Zen 4), AVX-512, bfloat16",
            "threads": "2",
            "precision": "bf16",
            "date": "2026-11-25T10:40:00+00:00",
        },
    )


@pytest.fixture(scope="session")
def report() -> Report:
    """Four systems on five data sets."""
    return make_report()


@pytest.fixture(scope="session")
def hostile() -> Report:
    """One system on one data set, with a text that tries to break out wherever a text can stand."""
    hit = Hit(HOSTILE, HOSTILE, 0.5, 1)
    example = Example(
        HOSTILE, HOSTILE, {HOSTILE: 0.5, "b": 0.25}, {HOSTILE: (hit,), "b": ()}, (replace(hit, score=None),)
    )
    plain = make_report().results[1]
    results = [
        replace(
            plain,
            system=system,
            dataset=HOSTILE,
            metrics={HOSTILE: Estimate(value, value - 0.1, value + 0.1)},
            cost=replace(
                plain.cost, stages=tuple(replace(stage, name="index" + HOSTILE) for stage in plain.cost.stages)
            ),
            lengths=tuple(replace(item, what=HOSTILE) for item in plain.lengths),
            warnings=(HOSTILE,),
        )
        for system, value in ((HOSTILE, 0.5), ("b", 0.25))
    ]
    return Report(
        systems=(SystemInfo(HOSTILE, {HOSTILE: [HOSTILE]}, {HOSTILE: HOSTILE}), SystemInfo("b", {})),
        datasets=(DatasetInfo(HOSTILE, "mteb", HOSTILE, 1, 1, 1, HOSTILE, HOSTILE, HOSTILE, warnings=(HOSTILE,)),),
        results=tuple(results),
        comparisons=(Comparison(HOSTILE, HOSTILE, HOSTILE, "b", Estimate(-0.1, -0.2, 0), 0.01, 0.01, 0, 1, 0),),
        examples={HOSTILE: (example,)},
        environment={HOSTILE: HOSTILE},
    )


@pytest.fixture(scope="session")
def page(report: Report) -> str:
    """The report's page."""
    return to_html(report)


@pytest.fixture(scope="session")
def hostile_page(hostile: Report) -> str:
    """The page of the hostile report."""
    return to_html(hostile)
