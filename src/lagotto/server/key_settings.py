"""`KeySettings`: one ``[[key]]`` table of the settings file, and how keys and their digests are made."""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, date, datetime, time
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Scope = Literal["embed", "rerank", "admin", "metrics"]
"""What a key may do: ask for vectors, for ranking, look after the server, read its metrics."""
SCOPES: tuple[Scope, ...] = ("embed", "rerank")
"""What a key may do unless its table says otherwise."""

_PREFIX = "lgt_"  # so that scanners for lost secrets can tell what it is


class KeySettings(BaseModel):
    """One API key: who it is for, what it may do and how much of it, and until when."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9._@-]{1,64}$")
    """What the log and the metrics call it; never the key itself."""
    hash: str = Field(pattern=r"^sha256:[0-9a-f]{64}$", repr=False)
    """``sha256:`` and the digest of the key."""
    scopes: tuple[Scope, ...] = SCOPES
    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)
    expires: datetime | None = None
    """The key is refused from then on; a day means its beginning, a time without a zone is UTC."""
    priority: Literal["interactive", "bulk"] | None = None
    """The priority of its requests that name none; by default their size decides."""

    @field_validator("expires", mode="before")
    @classmethod
    def _day(cls, value: Any) -> Any:
        is_day = isinstance(value, date) and not isinstance(value, datetime)
        return datetime.combine(value, time(), UTC) if is_day else value

    @field_validator("expires")
    @classmethod
    def _zone(cls, value: datetime | None) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


def new_key() -> str:
    """A fresh key: 256 random bits."""
    return _PREFIX + secrets.token_urlsafe(32)


def digest_of(key: str) -> str:
    """What is kept of a key.

    A plain SHA-256 is enough here, and salt or a slow hash would add nothing: keys are 256 random bits, so nobody can
    try them out, and every request has to be checked.
    """
    return "sha256:" + hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
