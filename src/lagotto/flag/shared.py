"""What FlagEmbedding's classes share: devices, instructions, tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lagotto.core.errors import MissingDependencyError, UnsupportedModelError

Devices = str | int | list[str] | list[int] | None


def instructed(template: str, instruction: str, text: str) -> str:
    """FlagEmbedding's formatting; a backslash-n typed on a command line means a line break."""
    return template.replace("\\n", "\n").format(instruction, text)


def device_of(devices: Devices) -> str:
    """The device that FlagEmbedding's ``devices`` stands for. Raises `UnsupportedModelError` for several."""
    wanted = devices if isinstance(devices, list) else [devices]
    if len(wanted) != 1:
        raise UnsupportedModelError(f"devices {devices!r}: this version computes on one device, 'cpu'")
    return "auto" if wanted[0] is None else str(wanted[0])


def tensor_of(vectors: NDArray[np.float32]) -> Any:
    """The same numbers as a torch tensor. Raises `MissingDependencyError` without torch."""
    try:
        import torch
    except ImportError:
        raise MissingDependencyError("convert_to_numpy=False needs torch: pip install torch") from None
    return torch.from_numpy(np.ascontiguousarray(vectors))
