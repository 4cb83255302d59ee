"""Lagotto itself, at the precision named in the job's options; in int8 after calibrating on texts of its own."""

import json
from pathlib import Path

import numpy as np
from common import Job, Pass, serve


def prepare(job: Job) -> bool:
    if job.options["precision"] != "int8" or Path(job.cache).exists():
        return False
    from lagotto.models.loading import Options
    from lagotto.quantization.quantize import quantize

    texts = Path(job.out).with_suffix(".jsonl")
    rows = [{"text": text} for text in job.options["calibration"]]
    texts.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    options = Options(threads=job.threads)
    report = quantize(job.model, texts, job.cache, samples=max(32, len(rows) // 2), force=True, options=options)
    print(report.verdict)
    return True


def load(job: Job) -> Pass:
    from lagotto import Embedder, Reranker

    precision = job.options["precision"]
    model = job.cache if precision == "int8" else job.model
    if job.task == "encode":
        engine = job.options.get("engine", "auto")
        embedder = Embedder(model, engine=engine, precision=precision, threads=job.threads)

        def encode(texts: list[str]) -> np.ndarray:
            embeddings = embedder.encode(texts)
            encode.facts = {"tokens": int(np.sum(embeddings.tokens))}  # type: ignore[attr-defined]
            return np.asarray(embeddings.dense)

        return encode
    ranker = Reranker(model, precision=precision, threads=job.threads)
    # One window a pair: the other libraries cut a long passage instead of reading all of it.
    return lambda pairs: np.asarray(ranker.score([(query, text) for query, text in pairs], max_windows=1))


if __name__ == "__main__":
    serve(load, "lagotto", prepare)
