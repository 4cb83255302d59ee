"""Devices as a caller names them: checked by their spelling alone, before any library is imported."""

from __future__ import annotations

import re

from lagotto.core.errors import InvalidInputError
from lagotto.engines.base import Device

_NAME = re.compile(r"cpu|mps|cuda(:\d{1,3})?")


def parse_devices(device: Device) -> tuple[str, ...]:
    """The devices that are named, in order; ``("auto",)`` where the choice is left open.

    Raises `InvalidInputError` for a name that no device has, for none, or for ``auto`` beside others.

    >>> parse_devices("cuda:0, cuda:1"), parse_devices(["cpu", "cpu"]), parse_devices("auto")
    (('cuda:0', 'cuda:1'), ('cpu', 'cpu'), ('auto',))
    """
    names = device.split(",") if isinstance(device, str) else list(device)
    found = tuple(name.strip() if isinstance(name, str) else name for name in names)
    if found == ("auto",):
        return found
    if not found or not all(isinstance(name, str) and _NAME.fullmatch(name) for name in found):
        raise InvalidInputError(
            f"device is {device!r}; allowed are auto, cpu, mps, cuda and cuda:N, and several of them as a list or "
            "divided by commas: 'cuda:0,cuda:1'"
        )
    return found
