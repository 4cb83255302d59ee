"""Lagotto itself, at the precision named in the job's options."""

import numpy as np
from common import Job, Pass, serve


def load(job: Job) -> Pass:
    from lagotto import Embedder, Reranker

    precision = job.options["precision"]
    if job.task == "encode":
        embedder = Embedder(job.model, precision=precision, threads=job.threads)

        def encode(texts: list[str]) -> np.ndarray:
            embeddings = embedder.encode(texts)
            encode.facts = {"tokens": int(np.sum(embeddings.tokens))}  # type: ignore[attr-defined]
            return np.asarray(embeddings.dense)

        return encode
    ranker = Reranker(job.model, precision=precision, threads=job.threads)
    # One window a pair: the other libraries cut a long passage instead of reading all of it.
    return lambda pairs: np.asarray(ranker.score([(query, text) for query, text in pairs], max_windows=1))


if __name__ == "__main__":
    serve(load, "lagotto")
