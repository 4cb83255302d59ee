"""What routes share: the pool of models and the settings, kept on the app."""

from __future__ import annotations

from typing import cast

from fastapi import Request

from lagotto.server.pool import ModelPool
from lagotto.server.settings import Settings


def get_pool(request: Request) -> ModelPool:
    """The app's models."""
    return cast(ModelPool, request.app.state.pool)


def get_settings(request: Request) -> Settings:
    """The app's settings."""
    return cast(Settings, request.app.state.settings)
