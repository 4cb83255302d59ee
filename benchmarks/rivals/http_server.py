"""A rival behind FastAPI, for serve.py: ``python rivals/http_server.py JOB.json`` answers on the job's port.

- ``sentence-transformers``: a plain route, which FastAPI runs in its threads; each request is encoded by itself.
- ``flagembedding``: an asynchronous route that encodes where it stands, as services around FlagEmbedding do; the event
  loop waits for the model.
- ``infinity``: its own asynchronous engine, which batches across requests, as behind its own server.

The bodies are OpenAI's and Cohere's; the answers hold the numbers and nothing else.
"""

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import torch
import uvicorn
from fastapi import Body, FastAPI


def answer(values: Any) -> dict[str, Any]:
    return {"data": [row.tolist() if hasattr(row, "tolist") else row for row in values]}


def pairs(body: dict[str, Any]) -> list[tuple[str, str]]:
    return [(body["query"], document) for document in body["documents"]]


def sentence_transformers(job: dict[str, Any]) -> FastAPI:
    from sentence_transformers import CrossEncoder, SentenceTransformer

    app = FastAPI()
    model = (SentenceTransformer if job["task"] == "encode" else CrossEncoder)(job["model"], device="cpu")

    @app.post("/v1/embeddings")
    def embeddings(body: dict[str, Any] = Body()) -> dict[str, Any]:  # noqa: B008
        return answer(model.encode(body["input"], show_progress_bar=False))

    @app.post("/v1/rerank")
    def rerank(body: dict[str, Any] = Body()) -> dict[str, Any]:  # noqa: B008
        return answer(model.predict(pairs(body), show_progress_bar=False))

    return app


def flagembedding(job: dict[str, Any]) -> FastAPI:
    from FlagEmbedding import FlagModel, FlagReranker

    app = FastAPI()
    model = (FlagModel if job["task"] == "encode" else FlagReranker)(job["model"], devices="cpu")

    @app.post("/v1/embeddings")
    async def embeddings(body: dict[str, Any] = Body()) -> dict[str, Any]:  # noqa: B008
        return answer(model.encode(body["input"]))

    @app.post("/v1/rerank")
    async def rerank(body: dict[str, Any] = Body()) -> dict[str, Any]:  # noqa: B008
        return answer(model.compute_score(pairs(body)))

    return app


def infinity(job: dict[str, Any]) -> FastAPI:
    os.environ.setdefault("INFINITY_HOME", job["folder"])
    from infinity_emb import AsyncEngineArray, EngineArgs

    arguments = EngineArgs(model_name_or_path=job["model"], engine="torch", device="cpu", model_warmup=False)
    engine = AsyncEngineArray.from_args([arguments])[0]

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        await engine.astart()
        yield
        await engine.astop()

    app = FastAPI(lifespan=life)

    @app.post("/v1/embeddings")
    async def embeddings(body: dict[str, Any] = Body()) -> dict[str, Any]:  # noqa: B008
        return answer((await engine.embed(sentences=body["input"]))[0])

    @app.post("/v1/rerank")
    async def rerank(body: dict[str, Any] = Body()) -> dict[str, Any]:  # noqa: B008
        ranked, _ = await engine.rerank(query=body["query"], docs=body["documents"])
        return answer([hit.relevance_score for hit in ranked])

    return app


KINDS = {"sentence-transformers": sentence_transformers, "flagembedding": flagembedding, "infinity": infinity}


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(job["threads"])
    app = KINDS[job["kind"]](job)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    uvicorn.run(app, host="127.0.0.1", port=job["port"], log_level="warning")


if __name__ == "__main__":
    main()
