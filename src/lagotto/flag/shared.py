"""What FlagEmbedding's classes share: devices, instructions, tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lagotto.core.errors import MissingDependencyError

Devices = str | int | list[str] | list[int] | None


def instructed(template: str, instruction: str, text: str) -> str:
    """FlagEmbedding's formatting; a backslash-n typed on a command line means a line break."""
    return template.replace("\\n", "\n").format(instruction, text)


def device_of(devices: Devices) -> str:
    """What FlagEmbedding's ``devices`` is as ``device``: a number names a CUDA device, None leaves the choice open."""
    wanted = devices if isinstance(devices, list) else [devices]
    names = [f"cuda:{one}" if isinstance(one, int) else "auto" if one is None else one for one in wanted]
    return ",".join(names)


def tensor_of(vectors: NDArray[np.float32]) -> Any:
    """The same numbers as a torch tensor. Raises `MissingDependencyError` without torch."""
    try:
        import torch
    except ImportError:
        raise MissingDependencyError("convert_to_numpy=False needs torch: pip install torch") from None
    return torch.from_numpy(np.ascontiguousarray(vectors))
