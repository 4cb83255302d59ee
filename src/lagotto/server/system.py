"""What the server says about itself: ``/health``, ``/ready``, ``/models``, ``/config``."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

import lagotto
from lagotto.batch.demand import Demand, using
from lagotto.models.embedder import Embedder
from lagotto.server.dialects import infinity
from lagotto.server.pool import Entry, ModelPool
from lagotto.server.settings import Settings
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
    """200 when every model in memory has just computed something, 503 when one could not within five seconds."""
    found = await asyncio.gather(*(_probed(entry) for entry in pool.loaded()))
    good = all(model["ready"] for model in found)
    return JSONResponse({"ready": good, "models": found}, 200 if good else 503)


@router.get("/models")
async def models(pool: Annotated[ModelPool, Depends(get_pool)]) -> dict[str, Any]:
    """The models in memory, and what each runs on; beside it the list that Infinity's clients look for here."""
    return {"models": [_described(entry) for entry in pool.loaded()], **infinity.listing(pool)}


@router.get("/config")
async def config(settings: Annotated[Settings, Depends(get_settings)]) -> dict[str, Any]:
    """The settings in force; nothing secret, no folder of this machine."""
    return settings.public()


async def _probed(entry: Entry) -> dict[str, Any]:
    """Let a model compute one short text, before all that waits."""
    model, start = entry.model, time.monotonic()
    assert model is not None  # only loaded entries are asked

    def compute() -> None:
        with using(Demand("probe", start + _PATIENCE)):
            if isinstance(model, Embedder):
                model.encode(_CANARY)
            else:
                model.score([(_CANARY, _CANARY)])

    try:
        # In a thread of its own kind: those of requests may all be waiting.
        await asyncio.wait_for(asyncio.to_thread(compute), _PATIENCE)
        error = None
    except Exception as failure:  # whatever it is, the answer is that the model can't compute
        error = getattr(failure, "code", None) or ("timeout" if isinstance(failure, TimeoutError) else "internal_error")
        logger.error("%s is not ready: %s: %s", entry.public, type(failure).__name__, failure)
    return {"id": entry.public, "ready": error is None, "seconds": round(time.monotonic() - start, 4), "error": error}


def _described(entry: Entry) -> dict[str, Any]:
    model = entry.model
    assert model is not None  # only loaded entries are described
    engine = model.engine
    described: dict[str, Any] = {
        "id": entry.public,
        "task": model.card.task,
        "architecture": model.card.architecture,
        "max_length": model.max_length,
        "fingerprint": model.fingerprint,
        "engine": {
            "name": engine.name,
            "device": engine.device,
            "precision": engine.precision,
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
