"""infinity: its asynchronous engine in process, torch, with its defaults (BetterTransformer, batches of 32).

Only its own warm-up is off: every rival has the same warm-up pass instead.
"""

import asyncio
import os
from pathlib import Path

import numpy as np
import torch
from common import Job, Pass, serve


def load(job: Job) -> Pass:
    os.environ.setdefault("INFINITY_HOME", str(Path(job.out).parent))  # else it leaves a folder where it was started
    from infinity_emb import AsyncEngineArray, EngineArgs

    torch.set_num_threads(job.threads)
    arguments = EngineArgs(model_name_or_path=job.model, engine="torch", device="cpu", model_warmup=False)
    engine = AsyncEngineArray.from_args([arguments])[0]
    loop = asyncio.Runner()
    loop.run(engine.astart())

    def encode(texts: list[str]) -> np.ndarray:
        vectors, _ = loop.run(engine.embed(sentences=texts))
        return np.stack(vectors)

    def rerank(pairs: list[tuple[str, str]]) -> np.ndarray:
        texts = [text for _, text in pairs]
        ranked, _ = loop.run(engine.rerank(query=pairs[0][0], docs=texts, raw_scores=True))
        scores = np.zeros(len(texts), np.float32)
        for hit in ranked:
            scores[hit.index] = hit.relevance_score
        return scores

    return encode if job.task == "encode" else rerank


if __name__ == "__main__":
    serve(load, "infinity-emb")
