"""What the server says about itself: ``/health``, ``/models``, ``/config``."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends

import lagotto
from lagotto.models.embedder import Embedder
from lagotto.server.dialects import infinity
from lagotto.server.pool import Entry, ModelPool
from lagotto.server.settings import Settings
from lagotto.server.state import get_pool, get_settings

router = APIRouter(tags=["System"])


@router.get("/health")
async def health() -> dict[str, str]:
    """200 once the models named at start are loaded."""
    return {"status": "ok", "version": lagotto.__version__}


@router.get("/models")
async def models(pool: Annotated[ModelPool, Depends(get_pool)]) -> dict[str, Any]:
    """The models in memory, and what each runs on; beside it the list that Infinity's clients look for here."""
    return {"models": [_described(entry) for entry in pool.loaded()], **infinity.listing(pool)}


@router.get("/config")
async def config(settings: Annotated[Settings, Depends(get_settings)]) -> dict[str, Any]:
    """The settings in force; nothing secret, no folder of this machine."""
    return settings.public()


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
