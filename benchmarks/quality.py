"""Retrieval quality: nDCG@10 of lagotto in f32 and bf16, and of sentence-transformers on the same weights.

    python benchmarks/quality.py SET [SET ...] --model CHECKPOINT [--reranker CHECKPOINT] [--prompts bge|e5|none]

A SET is a folder in BEIR's layout: corpus.jsonl (_id, title, text), queries.jsonl (_id, text), qrels/test.tsv
(query-id, corpus-id, score). Every contestant gets the same strings, prompt included. With --reranker, each one's own
first --depth passages are scored again by its own reranker. The measure is ir-measures' nDCG@10, computed in the
environment sentence-transformers. A difference is a mean over the queries, with a 95 % bootstrap interval.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import environments
import harness
import numpy as np

PROMPTS = {
    "bge": ("Represent this sentence for searching relevant passages: ", ""),
    "e5": ("query: ", "passage: "),
    "none": ("", ""),
}
CONTESTANTS = ("st-torch", "lagotto f32", "lagotto bf16")  # differences are to the first
NDCG = """
import json, sys, ir_measures
from ir_measures import nDCG
given = json.load(open(sys.argv[1]))
scores = {m.query_id: m.value for m in ir_measures.iter_calc([nDCG @ 10], given["qrels"], given["run"])}
print(json.dumps([scores.get(q, 0.0) for q in given["qrels"]]))
"""

Run = dict[str, dict[str, float]]  # query id -> document id -> score


@dataclass(frozen=True)
class Dataset:
    """One set in memory; `qrels` holds the judged queries only."""

    name: str
    documents: dict[str, str]
    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]


def read(folder: Path) -> Dataset:
    """Read a set; queries without a judgement are left out."""

    def rows(name: str) -> list[dict[str, str]]:
        lines = (folder / name).read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.strip()]

    qrels: dict[str, dict[str, int]] = {}
    for line in (folder / "qrels" / "test.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, document, score = line.split("\t")
        qrels.setdefault(query, {})[document] = int(score)
    documents = {row["_id"]: f"{row.get('title') or ''} {row['text']}".strip() for row in rows("corpus.jsonl")}
    queries = {row["_id"]: row["text"] for row in rows("queries.jsonl") if row["_id"] in qrels}
    return Dataset(folder.name, documents, queries, {q: qrels[q] for q in queries})


def values(task: str, model: Path, items: list, rival: harness.Rival, options: argparse.Namespace) -> np.ndarray:
    """One contestant's vectors or scores."""
    folder = harness.work(options) / "quality"
    folder.mkdir(exist_ok=True)
    process = harness.start(rival, task, model, items, options, folder)
    process.answer()
    process.close()
    return np.load(process.job["out"])


def first_stage(data: Dataset, vectors: np.ndarray, depth: int) -> Run:
    """The `depth` nearest documents of each query, by exact inner product; `vectors` holds documents, then queries."""
    names = list(data.documents)
    scores = vectors[len(names) :] @ vectors[: len(names)].T
    run = {}
    for query, row in zip(data.queries, scores, strict=True):
        best = np.argsort(-row, kind="stable")[:depth]
        run[query] = {names[i]: float(row[i]) for i in best}
    return run


def reranked(data: Dataset, run: Run, reranker: Path, rival: harness.Rival, options: argparse.Namespace) -> Run:
    """The same documents with the reranker's scores."""
    places = [(query, document) for query in run for document in run[query]]
    pairs = [(data.queries[query], data.documents[document]) for query, document in places]
    again: Run = {query: {} for query in run}
    for (query, document), score in zip(places, values("rerank", reranker, pairs, rival, options).ravel(), strict=True):
        again[query][document] = float(score)
    return again


def ndcg(data: Dataset, run: Run, options: argparse.Namespace) -> np.ndarray:
    """nDCG@10 of every query, in the order of the judged queries."""
    python = environments.ensure("sentence-transformers", options.envs)
    file = harness.work(options) / "quality" / "run.json"
    file.write_text(json.dumps({"qrels": data.qrels, "run": run}))
    done = subprocess.run([str(python), "-c", NDCG, str(file)], capture_output=True, text=True, check=True)
    return np.array(json.loads(done.stdout))


def difference(mine: np.ndarray, reference: np.ndarray) -> str:
    """The mean difference, with a 95 % interval from 2,000 resamplings of the queries."""
    gap = mine - reference
    draws = np.random.default_rng(0).integers(len(gap), size=(2000, len(gap)))
    low, high = np.quantile(gap[draws].mean(axis=1), (0.025, 0.975))
    return f"{gap.mean():+.4f} ({low:+.4f} to {high:+.4f})"


def measure(data: Dataset, options: argparse.Namespace, rivals: list[harness.Rival]) -> list[str]:
    """The table's lines for one set."""
    query_prompt, document_prompt = PROMPTS[options.prompts]
    items = [document_prompt + text for text in data.documents.values()]
    items += [query_prompt + text for text in data.queries.values()]
    reference: dict[str, np.ndarray] = {}
    lines = []
    for rival in rivals:
        print(f"{data.name}: {rival.name}", file=sys.stderr)
        try:
            runs = {"embed": first_stage(data, values("encode", options.model, items, rival, options), options.depth)}
            if options.reranker:
                runs["embed + rerank"] = reranked(data, runs["embed"], options.reranker, rival, options)
        except harness.SkippedError as error:
            lines.append(f"| {data.name} | {rival.name} | skipped | | {error} |")
            continue
        for stage, run in runs.items():
            scores = ndcg(data, run, options)
            gap = difference(scores, reference[stage]) if stage in reference else ""
            reference.setdefault(stage, scores)
            lines.append(f"| {data.name} | {rival.name} | {stage} | {scores.mean():.4f} | {gap} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sets", nargs="+", type=Path, metavar="SET")
    parser.add_argument("--model", type=Path, required=True, help="embedder's checkpoint folder")
    parser.add_argument("--reranker", type=Path, help="reranker's checkpoint folder")
    parser.add_argument("--prompts", choices=list(PROMPTS), default="bge")
    parser.add_argument("--depth", type=int, default=100, help="passages kept for each query, and reranked")
    parser.add_argument("--contestants", default=",".join(CONTESTANTS), help="differences are to the first of them")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--envs", type=Path, default=environments.DEFAULT_ENVS)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="the Python that has lagotto")
    options = parser.parse_args()
    wanted = options.contestants.split(",")
    rivals = sorted(harness.chosen(options.contestants), key=lambda rival: wanted.index(rival.name))
    print(f"| set | contestant | stage | nDCG@10 | difference to {wanted[0]} |\n|---|---|---|---:|---|")
    for folder in options.sets:
        for line in measure(read(folder), options, rivals):
            print(line, flush=True)


if __name__ == "__main__":
    main()
