"""How well a language model ranks that nobody trained to: as an embedder, and as a reranker of BM25's best hits.

    python benchmarks/llm_quality.py SETS/medline [--queries 30] [--depth 20] [--model starter:SmolLM2-135M-Instruct]

DATA is a folder in a layout that `lagotto.evaluate` reads. Beside each figure stands what the same hits in random order
would have: that is what the model is worth. Some ten minutes on a CPU for a thousand documents.
"""

import argparse
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from lagotto import evaluate
from lagotto.evaluation.datasets.retrieval import RetrievalData, read_retrieval
from lagotto.evaluation.pipeline import Bm25Leg, DenseLeg, Rerank, System
from lagotto.models.loading import Options

PLACES = 10
BM25, RERANKED = "BM25", "BM25, reranked"
POOLINGS = {"last_token": "last token", "mean": "mean of tokens"}


def systems(options: argparse.Namespace) -> list[System]:
    """What is compared: each gives its best ``depth`` documents of every query."""
    rerank = Rerank(options.model, top_k=options.depth, max_windows=1, max_length=options.tokens)
    legs: dict[str, Bm25Leg | DenseLeg] = {BM25: Bm25Leg(), RERANKED: Bm25Leg()}
    for pooling, words in POOLINGS.items():
        told = DenseLeg(options.model, max_length=options.tokens, pooling=pooling)
        legs[f"embedder, {words}, no instruction"] = replace(told, query_prompt="")
        legs[f"embedder, {words}, instruction"] = told
    return [
        System(name, (leg,), rerank=rerank if name == RERANKED else None, top_k=options.depth)
        for name, leg in legs.items()
    ]


def first_queries(data: RetrievalData, number: int) -> RetrievalData:
    """The data set with its first queries alone."""
    kept = list(data.queries)[:number]
    return replace(
        data,
        queries={query: data.queries[query] for query in kept},
        qrels={query: data.qrels[query] for query in kept},
    )


def discounted(gains: Iterable[float]) -> float:
    """Discounted cumulative gain of the first places, as trec_eval counts it."""
    return sum(gain / math.log2(place + 2) for place, gain in zip(range(PLACES), gains, strict=False))


def shuffled(judged: Mapping[str, int], hits: list[str]) -> float:
    """What nDCG@10 of hits in random order is on average: every place has their mean gain."""
    best = discounted(sorted(judged.values(), reverse=True))
    mean = sum(max(0, judged.get(hit, 0)) for hit in hits) / max(1, len(hits))
    return discounted([mean] * len(hits)) / best if best else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--model", default="starter:SmolLM2-135M-Instruct")
    parser.add_argument("--queries", type=int, default=30, help="the first so many")
    parser.add_argument("--depth", type=int, default=20, help="hits of BM25 that are reranked")
    parser.add_argument("--tokens", type=int, default=256, help="of a text, or a pair with its prompt")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    data = first_queries(read_retrieval(options.data), options.queries)
    report = evaluate(
        data,
        pipeline=systems(options),
        measures=[f"ndcg@{PLACES}"],
        progress=True,
        options=Options(threads=options.threads),
    )
    run = report.result(BM25, data.name).run
    found = run.to_dict() if run is not None else {}
    hits = {query: sorted(found.get(query, {})) for query in data.queries}
    anywhere = {query: list(data.corpus.ids) for query in data.queries}
    print(f"{options.model} on {data.name}: {len(data.corpus)} documents, {len(data.queries)} queries\n")
    print(f"| system | nDCG@{PLACES} | 95 % interval | the same documents in random order |")
    print("|---|---:|---|---:|")
    for result in report.results:
        value = result.metrics[f"ndcg@{PLACES}"]
        those = hits if result.system in (BM25, RERANKED) else anywhere
        chance = sum(shuffled(data.qrels[query], ids) for query, ids in those.items()) / len(those)
        print(f"| {result.system} | {value.value:.4f} | {value.low:.4f} to {value.high:.4f} | {chance:.4f} |")


if __name__ == "__main__":
    main()
