"""The FastAPI app: routes, errors, limits, and the life of the models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

import lagotto
from lagotto.server import docs, system
from lagotto.server.body import BodyLimit
from lagotto.server.dialects import openai, rerank
from lagotto.server.errors import add_error_handlers
from lagotto.server.pool import ModelPool
from lagotto.server.settings import Settings


def create_app(settings: Settings) -> FastAPI:
    """An app that serves the models of its settings; they are loaded when it starts and freed when it ends."""
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
        summary="Embeddings and reranking, compatible with OpenAI's and Cohere's clients.",
        lifespan=lifespan,
        docs_url=None,  # the page below carries its own scripts: FastAPI's needs a connection to a CDN
        redoc_url=None,
    )
    app.state.pool = pool
    app.state.settings = settings
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes)
    add_error_handlers(app)
    for router in (openai.router, rerank.router, system.router):
        app.include_router(router)
    docs.mount(app)
    return app
