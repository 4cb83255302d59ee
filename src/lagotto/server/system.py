"""What the server says of itself: ``/health``, ``/ready``, ``/models``, ``/config``, ``/metrics``; and its reload."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST

import lagotto
from lagotto.batch.demand import Demand, using
from lagotto.models.embedder import Embedder
from lagotto.server.dialects import infinity
from lagotto.server.embedding import prompts_of
from lagotto.server.judge import Judge
from lagotto.server.pool import Entry, ModelPool
from lagotto.server.settings import Settings
from lagotto.server.slots import Model
from lagotto.server.state import get_pool, get_settings

router = APIRouter(tags=["System"])
logger = logging.getLogger(__name__)

_PATIENCE = 5.0
"""Seconds a model has to show that it can compute."""
_CANARY = "ready?"


@router.get("/health")
async def health() -> dict[str, str]:
    """200 once the models named at start are loaded."""
    return {"status": "ok", "version": lagotto.__version__}


@router.get("/ready")
async def ready(pool: Annotated[ModelPool, Depends(get_pool)]) -> JSONResponse:
    """200 when every model in memory has just computed something, 503 when one could not within five seconds.

    Language models elsewhere are left out: asking one costs, and what fails there is no failure of this server.
    """
    here = [entry for entry in pool.loaded() if entry.offer.judge is None]
    probed = await asyncio.gather(*(_probed(pool, entry) for entry in here))
    found = [model for model in probed if model is not None]
    good = all(model["ready"] for model in found)
    return JSONResponse({"ready": good, "models": found}, 200 if good else 503)


@router.get("/models")
async def models(pool: Annotated[ModelPool, Depends(get_pool)]) -> dict[str, Any]:
    """The models in memory, and what each runs on; beside it the list that Infinity's clients look for here."""
    found = [_described(entry, model) for entry in pool.answering() if (model := entry.model) is not None]
    return {"models": found, **infinity.listing(pool)}


@router.get("/config")
async def config(settings: Annotated[Settings, Depends(get_settings)]) -> dict[str, Any]:
    """The settings in force; nothing secret, no folder of this machine."""
    return settings.public()


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Counters and gauges in Prometheus' text format."""
    state = request.app.state
    return Response(await asyncio.to_thread(state.group.metrics, state.metrics.render), media_type=CONTENT_TYPE_LATEST)


@router.post("/admin/reload")
async def reload(request: Request) -> dict[str, Any]:
    """Read the settings anew, as SIGHUP does. An error leaves the old ones in force."""
    state = request.app.state
    found: dict[str, Any] = await asyncio.to_thread(state.group.reload, state.reloader.reload)
    return found


async def _probed(pool: ModelPool, entry: Entry) -> dict[str, Any] | None:
    """Let a model compute one short text, before all that waits; None for one that has just been unloaded."""
    start = time.monotonic()
    with pool.slots.kept(entry.slot) as model:
        if model is None:
            return None
        try:
            # In a thread of its own kind: those of requests may all be waiting.
            await asyncio.wait_for(asyncio.to_thread(_compute, model, start + _PATIENCE), _PATIENCE)
            error = None
        except Exception as failure:  # whatever it is, the answer is that the model can't compute
            late = "timeout" if isinstance(failure, TimeoutError) else "internal_error"
            error = getattr(failure, "code", None) or late
            logger.error("%s is not ready: %s: %s", entry.public, type(failure).__name__, failure)
    return {"id": entry.public, "ready": error is None, "seconds": round(time.monotonic() - start, 4), "error": error}


def _compute(model: Model, deadline: float) -> None:
    with using(Demand("probe", deadline)):
        if isinstance(model, Embedder):
            model.encode(_CANARY)
        else:
            model.score([(_CANARY, _CANARY)])


def _described(entry: Entry, model: Model) -> dict[str, Any]:
    if isinstance(model, Judge):
        return _elsewhere(entry, model)
    engine = model.engine
    described: dict[str, Any] = {
        "id": entry.public,
        "task": model.card.task,
        "architecture": model.card.architecture,
        "max_length": model.max_length,
        "truncation": model.truncation,
        "prompts": sorted(prompts_of(model)),
        "fingerprint": model.fingerprint,
        "engine": {
            "name": engine.name,
            "device": engine.device,
            "precision": engine.precision,
            "weights": engine.weights,
            "threads": engine.threads,
        },
    }
    if isinstance(model, Embedder):
        described |= {
            "outputs": list(model.outputs),
            "dimension": model.dimension if "dense" in model.outputs else None,
            "pooling": model.card.pooling,
            "normalize": model.card.normalize,
        }
    return described


def _elsewhere(entry: Entry, judge: Judge) -> dict[str, Any]:
    return {
        "id": entry.public,
        "task": "rerank",
        "architecture": None,
        "max_length": None,
        "truncation": judge.truncation,
        "prompts": [],
        "fingerprint": judge.fingerprint,
        "engine": {"name": "llm", "device": None, "precision": None, "threads": None},
        "llm": judge.settings.public(),
    }
