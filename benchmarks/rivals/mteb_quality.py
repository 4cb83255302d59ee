"""sentence-transformers, measured by mteb (which uses pytrec_eval), on local folders and files.

Started as `python rivals/mteb_quality.py JOB.json`; writes {stage: {data set: {measure: value}}} to the job's `out`.
A retrieval folder is BEIR's layout, a file is a TSV of sentence pairs. Rerankers are sentence-transformers'
CrossEncoder on the embedder's own first hits, measured by pytrec_eval.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import mteb
import pytrec_eval
import torch
from datasets import Dataset, DatasetDict
from mteb.abstasks import AbsTaskBitextMining, AbsTaskRetrieval
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models import SentenceTransformerEncoderWrapper
from sentence_transformers import CrossEncoder, SentenceTransformer

NAMES = {"ndcg_at_10": "ndcg@10", "recall_at_10": "recall@10", "recall_at_100": "recall@100", "mrr_at_10": "mrr@10"}


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def qrels_of(folder: Path) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    for line in (folder / "qrels" / "test.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, document, score = line.split("\t")
        qrels.setdefault(query, {})[document] = int(score)
    return qrels


def task(base: type, kind: str, name: str, main_score: str, data: Any) -> Any:
    metadata = TaskMetadata(
        name=name, type=kind, main_score=main_score, description="A local data set.",
        dataset={"path": "local/none", "revision": "1"}, eval_langs=["eng-Latn"], category="t2t",
    )  # fmt: skip

    def load_data(self: Any, **_: Any) -> None:
        self.dataset, self.data_loaded = data, True

    return type(name, (base,), {"metadata": metadata, "load_data": load_data})()


def retrieval_task(folder: Path) -> Any:
    qrels = qrels_of(folder)
    corpus = [{"id": r["_id"], "title": r.get("title") or "", "text": r["text"]} for r in rows(folder / "corpus.jsonl")]
    queries = [{"id": r["_id"], "text": r["text"]} for r in rows(folder / "queries.jsonl") if r["_id"] in qrels]
    split = RetrievalSplitData(
        corpus=Dataset.from_list(corpus), queries=Dataset.from_list(queries), relevant_docs=qrels, top_ranked=None
    )
    return task(AbsTaskRetrieval, "Retrieval", f"Local{folder.name.title().replace('-', '')}", "ndcg_at_10",
                {"default": {"test": split}})  # fmt: skip


def bitext_task(path: Path) -> Any:
    pairs = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[1:] if line.strip()]
    columns = {"sentence1": [a for a, _ in pairs], "sentence2": [b for _, b in pairs]}
    data = DatasetDict({"test": Dataset.from_dict(columns)})
    return task(AbsTaskBitextMining, "BitextMining", f"Local{path.stem.replace('-', '')}", "accuracy", data)


def turned(path: Path, folder: Path) -> Path:
    """The same pairs with the sides exchanged: mteb looks from the first to the second only."""
    lines = path.read_text(encoding="utf-8").splitlines()
    out = folder / f"{path.stem}-back.tsv"
    out.write_text("".join("\t".join(reversed(line.split("\t"))) + "\n" for line in lines if line.strip()), "utf-8")
    return out


def scores(model: Any, one: Any, folder: Path, predictions: Path | None = None) -> dict[str, float]:
    cache = mteb.ResultCache(folder)
    found = mteb.evaluate(model, one, cache=cache, prediction_folder=predictions, show_progress_bar=False)
    return dict(found.task_results[0].scores["test"][0])


def reranked(folder: Path, predictions: Path, reranker: CrossEncoder, depth: int) -> float:
    """nDCG@10 of the embedder's first hits in the reranker's order."""
    file = next(predictions.rglob(f"*{folder.name.title().replace('-', '')}*.json"))
    run = json.loads(file.read_text(encoding="utf-8"))["default"]["test"]
    texts = {r["_id"]: f"{r.get('title') or ''} {r['text']}".strip() for r in rows(folder / "corpus.jsonl")}
    queries = {r["_id"]: r["text"] for r in rows(folder / "queries.jsonl")}
    qrels = qrels_of(folder)
    places = [(q, d) for q in qrels for d in sorted(run[q], key=lambda d, q=q: -run[q][d])[:depth]]
    values = reranker.predict([(queries[q], texts[d]) for q, d in places], show_progress_bar=False)
    again: dict[str, dict[str, float]] = {}
    for (query, document), value in zip(places, values.reshape(-1), strict=True):
        again.setdefault(query, {})[document] = float(value)
    found = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10"}).evaluate(again)
    return sum(one["ndcg_cut_10"] for one in found.values()) / len(qrels)


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(job["threads"])
    model = SentenceTransformer(job["model"], device="cpu")
    symmetric = model.prompts.get("query", "") if model.prompts.get("document") else ""
    prompts = {**{k: v for k, v in model.prompts.items() if v}, "BitextMining": symmetric}
    plugged = SentenceTransformerEncoderWrapper(model, model_prompts={k: v for k, v in prompts.items() if v})
    reranker = None
    if job["reranker"]:
        reranker = CrossEncoder(job["reranker"], device="cpu", activation_fn=torch.nn.Identity())
    found: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for data in map(Path, job["data"]):
            if data.is_file():
                forth = scores(plugged, bitext_task(data), work / "forth")["accuracy"]
                back = scores(plugged, bitext_task(turned(data, work)), work / "back")["accuracy"]
                found.setdefault("embed", {})[data.stem] = {"accuracy": (forth + back) / 2}
                continue
            values = scores(plugged, retrieval_task(data), work / "retrieval", work / "predictions")
            found.setdefault("embed", {})[data.name] = {ours: values[theirs] for theirs, ours in NAMES.items()}
            if reranker is not None:
                value = reranked(data, work / "predictions", reranker, job["depth"])
                found.setdefault("embed + rerank", {})[data.name] = {"ndcg@10": value}
    Path(job["out"]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
