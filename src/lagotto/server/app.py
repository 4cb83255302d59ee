"""The FastAPI app: routes, errors, limits, and the life of the models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

import lagotto
from lagotto.server import docs, system
from lagotto.server.body import BodyLimit
from lagotto.server.dialects import cohere, infinity, jina, native, openai, shared, tei, tei_tokens, vllm, voyage
from lagotto.server.errors import add_error_handlers
from lagotto.server.pool import ModelPool
from lagotto.server.settings import Settings
from lagotto.server.tiktoken_file import open_encoding


def create_app(settings: Settings) -> FastAPI:
    """An app that serves the models of its settings; they are loaded when it starts and freed when it ends."""
    if settings.token_ids == "tiktoken":
        open_encoding()  # now rather than at the first request, so that a missing file is one clear error
    pool = ModelPool(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            await asyncio.to_thread(pool.start)
            yield
        finally:
            pool.close()

    app = FastAPI(
        title="Lagotto",
        version=lagotto.__version__,
        summary="Embeddings and reranking, in the shapes of OpenAI, Cohere, Jina, Voyage, TEI, vLLM and Infinity.",
        lifespan=lifespan,
        docs_url=None,  # the page below carries its own scripts: FastAPI's needs a connection to a CDN
        redoc_url=None,
    )
    app.state.pool = pool
    app.state.settings = settings
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes)
    add_error_handlers(app)
    for part in (native, shared, openai, cohere, jina, voyage, tei, tei_tokens, vllm, infinity, system):
        app.include_router(part.router)
    docs.mount(app)
    return app
