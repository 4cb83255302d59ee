"""FlagEmbedding with its defaults: FlagModel and FlagReranker (on a CPU they compute in f32)."""

import numpy as np
import torch
from common import Job, Pass, serve


def load(job: Job) -> Pass:
    from FlagEmbedding import FlagModel, FlagReranker

    torch.set_num_threads(job.threads)
    if job.task == "encode":
        model = FlagModel(job.model, devices="cpu")
        return lambda texts: np.asarray(model.encode(texts))
    ranker = FlagReranker(job.model, devices="cpu")
    return lambda pairs: np.asarray(ranker.compute_score(pairs))


if __name__ == "__main__":
    serve(load, "FlagEmbedding")
