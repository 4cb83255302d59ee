"""When a batch does not fit the device's memory it is computed in halves, and later batches are kept as small."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from lagotto.batch.sequences import Batch
from lagotto.core.errors import OutOfMemoryError
from lagotto.engines.base import Output

logger = logging.getLogger(__name__)

Compute = Callable[[Batch, Output], NDArray[np.float32]]


class WithinMemory:
    """Computes a batch in as many parts as the memory asks for; what fitted is remembered."""

    def __init__(self, compute: Compute, device: str) -> None:
        self._compute, self._device = compute, device
        self.limit: int | None = None
        """Padded tokens a part may have; None until the memory was once too small."""

    def __call__(self, batch: Batch, output: Output) -> NDArray[np.float32]:
        """The batch's values. Raises `OutOfMemoryError` where one row alone does not fit; other errors as they are."""
        waiting, done = deque(self._cut(batch)), []
        while waiting:
            part = waiting.popleft()
            try:
                done.append(self._compute(part, output))
                continue
            except torch.OutOfMemoryError as error:
                reason = str(error).strip().partition("\n")[0]
            # Not in the handler: there the traceback still holds the failed pass's tensors.
            waiting.extendleft(reversed(self._halves(part, reason)))
        return done[0] if len(done) == 1 else np.concatenate(done)

    def _cut(self, batch: Batch) -> list[Batch]:
        rows, tokens = batch.ids.shape
        if self.limit is None or rows * tokens <= self.limit:
            return [batch]
        step = max(1, self.limit // tokens)
        return [_rows(batch, start, start + step) for start in range(0, rows, step)]

    def _halves(self, batch: Batch, reason: str) -> list[Batch]:
        rows, tokens = batch.ids.shape
        if self._device.startswith("cuda"):
            torch.cuda.empty_cache()
        if rows == 1:
            raise OutOfMemoryError(
                f"one text of {int(batch.lengths[0])} tokens does not fit the memory of {self._device} ({reason}). "
                "Pass a smaller max_length, precision='bf16', or a device with more memory; other programs may "
                "hold some of it"
            )
        half = rows // 2
        self.limit = max(tokens, (rows - half) * tokens)
        logger.warning(
            "%s ran out of memory on a batch of %d texts, padded to %d tokens each; batches have at most %d tokens "
            "from now on (%s)",
            *(self._device, rows, tokens, self.limit, reason),
        )
        return [_rows(batch, 0, half), _rows(batch, half, rows)]


def _rows(batch: Batch, start: int, end: int) -> Batch:
    part = slice(start, end)
    return Batch(batch.ids[part], batch.lengths[part], batch.second[part], batch.pad_id)
