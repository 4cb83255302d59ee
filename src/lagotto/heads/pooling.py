"""One vector from the hidden states of one text, for where the states are wanted anyway."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lagotto.cards.schema import Pooling
from lagotto.core.errors import UnsupportedModelError


def pool(states: NDArray[np.float32], pooling: Pooling) -> NDArray[np.float32]:
    """(tokens, hidden) -> (hidden,), padding left out before. Raises `UnsupportedModelError` for no pooling.

    >>> pool(np.array([[1.0, 2.0], [3.0, 6.0]], np.float32), "mean").tolist()
    [2.0, 4.0]
    """
    ways: dict[Pooling, Callable[[], NDArray[np.float32]]] = {
        "cls": lambda: states[0],
        "last_token": lambda: states[-1],
        "max": lambda: states.max(axis=0),
        "mean": lambda: states.mean(axis=0),
        "mean_sqrt_len": lambda: states.sum(axis=0) / np.float32(np.sqrt(len(states))),
    }
    if pooling not in ways:
        raise UnsupportedModelError(f"pooling {pooling!r} gives no vector")
    return ways[pooling]()
