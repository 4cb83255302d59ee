"""Imports without warnings that tell a user of Lagotto nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

_LOUD = ("torchao", "torch.utils._pytree", "bitsandbytes.backends.cpu.ops")


@contextmanager
def quiet_imports() -> Iterator[None]:
    """Without the warnings of kernels that are not used here, and of how torchao uses torch.

    transformers imports torchao too, wherever it is installed.
    """
    loud = {logger: logger.level for logger in map(logging.getLogger, _LOUD)}
    for logger in loud:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in loud.items():
            logger.setLevel(level)
