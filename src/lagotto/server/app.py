"""The FastAPI app: routes, errors, limits, and the life of the models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware

import lagotto
from lagotto.server import docs, page, system
from lagotto.server.body import BodyLimit
from lagotto.server.cache import open_cache
from lagotto.server.dialects import (
    cohere,
    infinity,
    jina,
    native,
    openai,
    shared,
    tei,
    tei_tokens,
    vllm,
    vllm_pairs,
    voyage,
)
from lagotto.server.errors import add_error_handlers
from lagotto.server.group import Group
from lagotto.server.guard import Guard
from lagotto.server.keys import KeyRing
from lagotto.server.lag import Lag
from lagotto.server.metrics import Metrics
from lagotto.server.observer import Observer, note_errors
from lagotto.server.openapi import describe_answers
from lagotto.server.pool import ModelPool
from lagotto.server.reloading import Reloader
from lagotto.server.settings import Settings
from lagotto.server.tiktoken_file import open_encoding
from lagotto.server.tracing import open_tracing

PARTS = (native, shared, openai, cohere, jina, voyage, tei, tei_tokens, vllm, vllm_pairs, infinity, system)
"""Modules whose routes the app has."""
ASKED = ["authorization", "content-type", "x-api-key", "x-request-id", "x-lagotto-priority", "x-lagotto-timeout-ms"]
"""Headers that pages of other origins may send."""
TOLD = [
    "x-request-id",
    "x-lagotto-truncated",
    "x-lagotto-fingerprint",
    "x-lagotto-time-ms",
    "retry-after",
    "retry-after-ms",
]
"""Headers that they may read."""


def create_app(
    settings: Settings, read_settings: Callable[[], Settings] | None = None, group: Group | None = None
) -> FastAPI:
    """An app that serves the models of its settings; they are loaded when it starts and freed when it ends.

    ``read_settings`` reads them anew when they are to be reloaded; without it they stay, and only a folder of models is
    looked through again. ``group`` are the processes beside which this one answers; by default it is alone. Raises
    `ConfigError`, `MissingDependencyError`.
    """
    if settings.token_ids == "tiktoken":
        open_encoding()  # now rather than at the first request, so that a missing file is one clear error
    group = group or Group()
    own = group.own(settings)
    keys, tracing = KeyRing(settings, group=group), open_tracing()
    cache = open_cache(own)
    pool = ModelPool(own, cache)

    lag = Lag(lambda: app.state.settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            await asyncio.to_thread(pool.start)
            lag.start()
            yield
        finally:
            lag.stop()
            pool.close()
            if cache is not None:
                cache.close()
            tracing.close()

    app = FastAPI(
        title="Lagotto",
        version=lagotto.__version__,
        summary="Embeddings and reranking, in the shapes of OpenAI, Cohere, Jina, Voyage, TEI, vLLM and Infinity.",
        lifespan=lifespan,
        docs_url=None,  # the page below carries its own scripts: FastAPI's needs a connection to a CDN
        redoc_url=None,
    )
    state = app.state
    state.pool, state.settings, state.keys, state.group = pool, settings, keys, group
    state.reloader = Reloader(app, read_settings or (lambda: state.settings))
    add_error_handlers(app)
    note_errors(app)
    if settings.web_page:
        page.mount(app)
    routers = [part.router for part in PARTS]
    for router in routers:
        app.include_router(router)
    docs.mount(app)
    describe_answers(app)
    state.metrics = Metrics(pool, cache, _routes(routers))
    # From the inside out: within the handlers of errors, so that what it raises is answered in the dialect's shape ...
    app.router.middleware_stack = Guard(app.router.middleware_stack, lambda: state.keys, lambda: state.settings)
    # ... and around them.
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=ASKED,
            expose_headers=TOLD,
        )
    app.add_middleware(Observer, metrics=state.metrics, tracing=tracing, lag=lag)
    return app


def _routes(routers: Iterable[APIRouter]) -> Iterator[tuple[str, str]]:
    """Every route's path and each of its dialects: its tag, or on a shared path those it may turn out to speak."""
    for router in routers:
        for route in router.routes:
            if isinstance(route, APIRoute):
                path = route.path_format
                for dialect in shared.SPOKEN.get(path, (str(route.tags[0]).lower(),)):
                    yield path, dialect
