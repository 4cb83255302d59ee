"""`Group`: what a server shares with the other processes on its port. This one is alone; `workers` has the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lagotto.server.key_settings import KeySettings
from lagotto.server.quotas import Bucket
from lagotto.server.settings import Settings


class Group:
    """A group of one process: all of the settings are its own, and what is asked of the group it answers itself."""

    def own(self, settings: Settings) -> Settings:
        """This process' share of what settings grant to all: threads, memory, connections, what may wait."""
        return settings

    def bucket(self, key: KeySettings, kind: str, per_minute: int) -> Bucket:
        """What is left of a key's quota of a kind, ``"requests"`` or ``"tokens"``."""
        return Bucket(per_minute)

    def metrics(self, own: Callable[[], bytes]) -> bytes:
        """The figures of the whole group as text; ``own`` gives those of this process."""
        return own()

    def reload(self, own: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Let the whole group read its settings anew; ``own`` does so for this process. Tells what changed."""
        return own()
