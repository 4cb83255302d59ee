"""`frequencies`: how fast the pairs of numbers of a head turn with the position, for every engine."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lagotto.cards.decoder_config import Rotary


def frequencies(rotary: Rotary, width: int) -> NDArray[np.float32]:
    """(width / 2,) radians a position, rounded to float32 step by step as transformers does (``modeling_rope_utils``).

    ``linear`` slows all turns. ``llama3`` (Llama 3.1) leaves fast turns as they are, slows those that the training
    length has not seen a full turn of, and goes from one to the other between them.
    """
    turns = 1 / np.float32(rotary.theta) ** (np.arange(0, width, 2, dtype=np.float32) / np.float32(width))
    if rotary.low is None:
        return np.asarray(turns / np.float32(rotary.factor), np.float32)
    seen = rotary.original * turns / (2 * math.pi)  # full turns within the training length
    share = ((seen - rotary.low) / (rotary.high - rotary.low)).clip(0, 1)
    return np.asarray(turns * (share + (1 - share) / rotary.factor), np.float32)
