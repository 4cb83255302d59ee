"""`KeyRing`: the API keys of a server, and whether a request's is one of them."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from lagotto.core.errors import AuthenticationError, ConfigError, PermissionDeniedError, RateLimitError
from lagotto.server.group import Group
from lagotto.server.key_settings import KeySettings, Scope, digest_of
from lagotto.server.quotas import Bucket
from lagotto.server.settings import Settings

ENVIRONMENT_KEY = "environment"
"""The name of the key that ``LAGOTTO_API_KEY`` holds."""
_ALL: tuple[Scope, ...] = ("embed", "rerank", "admin", "metrics")


@dataclass(frozen=True, slots=True)
class Key:
    """One key in use: its table, and what is left of its quotas."""

    settings: KeySettings
    requests: Bucket | None
    tokens: Bucket | None

    @property
    def name(self) -> str:
        """What the log calls it."""
        return self.settings.name

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """What it allows."""
        return self.settings.scopes

    def require(self, scope: Scope) -> None:
        """Raise `PermissionDeniedError` unless the key allows it."""
        if scope not in self.scopes:
            allowed = ", ".join(self.scopes) or "nothing"
            raise PermissionDeniedError(f"the API key {self.name!r} does not allow {scope!r}; it allows {allowed}")

    def spend(self) -> None:
        """Count one request. Raises `RateLimitError` where the minute's requests or tokens are used up."""
        waits = {"tokens": self.tokens.wait() if self.tokens else 0.0}
        if not waits["tokens"] and self.requests:
            waits["requests"] = self.requests.take()
        for kind, seconds in waits.items():
            if seconds:
                raise RateLimitError(
                    f"the API key {self.name!r} has used up its {kind} of this minute; come again in {seconds:.1f} s",
                    retry_after=seconds,
                )

    def charge(self, tokens: int) -> None:
        """Count the tokens of a request, known when it has been computed."""
        if self.tokens is not None:
            self.tokens.charge(tokens)


class KeyRing:
    """All keys. Without any, requests need none."""

    def __init__(
        self,
        settings: Settings,
        before: KeyRing | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        group: Group | None = None,
    ) -> None:
        """``before`` is the ring this one replaces: quotas of keys that stay as they were go on.

        ``group`` keeps the quotas, which are those of all its processes; by default this one is alone.

        Raises `ConfigError` where two keys have one name or one digest.
        """
        tables = list(settings.key)
        if settings.api_key is not None:
            digest = digest_of(settings.api_key.get_secret_value())
            tables.append(KeySettings(name=ENVIRONMENT_KEY, hash=digest, scopes=_ALL))
        _check(tables)
        kept = {key.settings: key for key in (before.keys if before else [])}
        self.keys: list[Key] = [kept.get(table) or _opened(table, group or Group()) for table in tables]
        self._now = now

    def __bool__(self) -> bool:
        return bool(self.keys)

    def find(self, presented: str | None) -> Key:
        """The key that was presented. Raises `AuthenticationError`.

        All digests are compared, each in constant time, so that the time tells nothing about them.
        """
        if presented is None:
            raise AuthenticationError(
                "this server asks for an API key; send it as 'Authorization: Bearer KEY' or as 'x-api-key: KEY'"
            )
        digest, found = digest_of(presented).encode(), None
        for key in self.keys:
            if hmac.compare_digest(key.settings.hash.encode(), digest):
                found = key
        if found is None:
            raise AuthenticationError("this API key is not known here; check it, or ask the operator for one")
        if found.settings.expires is not None and self._now() >= found.settings.expires:
            raise AuthenticationError(f"the API key {found.name!r} has expired; ask the operator for a new one")
        return found


def presented_key(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The key of a request: ``Authorization: Bearer KEY``, the same without ``Bearer``, or ``x-api-key: KEY``."""
    found = dict(headers)
    given = found.get(b"authorization", b"").decode("latin-1").strip()
    scheme, space, credentials = given.partition(" ")
    if space and scheme.lower() == "bearer":
        return credentials.strip()
    if given and not space:
        return given
    plain = found.get(b"x-api-key", b"").decode("latin-1").strip()
    return plain or None


def _opened(table: KeySettings, group: Group) -> Key:
    quotas = {"requests": table.requests_per_minute, "tokens": table.tokens_per_minute}
    buckets = {kind: group.bucket(table, kind, amount) if amount else None for kind, amount in quotas.items()}
    return Key(table, buckets["requests"], buckets["tokens"])


def _check(tables: list[KeySettings]) -> None:
    for what in ("name", "hash"):
        values = [getattr(table, what) for table in tables]
        twice = next((table.name for table in tables if values.count(getattr(table, what)) > 1), None)
        if twice is not None:
            raise ConfigError(f"two API keys have the same {what} (one is called {twice!r}); each needs its own")
