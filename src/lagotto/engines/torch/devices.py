"""Which devices torch has here, and which arithmetic suits them."""

from __future__ import annotations

from typing import Any

import torch

from lagotto.core.errors import UnsupportedModelError
from lagotto.core.hardware import cpu_flags
from lagotto.engines.base import PAIR_TOKENS, TOKEN_BUDGET, Precision

ACCELERATOR_TOKENS = 16_384
"""Padded tokens a batch on a GPU: enough to keep its matrix products busy, some 1 GB of activations at width 1024."""

_DTYPES: dict[Precision, Any] = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
_CPU_BF16 = ("avx512_bf16", "amx_bf16", "bf16")  # x86's two, and Arm's as Linux names it


def choose_devices(asked: tuple[str, ...]) -> tuple[str, ...]:
    """The devices to use: ``auto`` is CUDA's first, else Apple's, else the CPU.

    Raises `UnsupportedModelError` for a device that is not here.
    """
    if asked == ("auto",):
        return ("cuda:0" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu",)
    return tuple(_present(name) for name in asked)


def _present(name: str) -> str:
    kind, _, number = name.partition(":")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UnsupportedModelError(
            "device 'mps' is not here: it is the GPU of a Mac, with a torch built for it. Pass device='cpu'"
        )
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not count:
            raise UnsupportedModelError(
                f"device {name!r} is not here: torch {torch.__version__} finds no CUDA device. Pass device='cpu', or "
                "install a torch built for CUDA and its driver"
            )
        if int(number or 0) >= count:
            raise UnsupportedModelError(f"device {name!r} is not here: there are cuda:0 to cuda:{count - 1}")
        return f"cuda:{int(number or 0)}"
    return name


def choose_precision(asked: str, device: str) -> Precision:
    """``auto`` is bf16 where the device has it in hardware; else f16 on a GPU and f32 on a CPU."""
    for precision in _DTYPES:
        if asked == precision:
            return precision
    if device.startswith("cuda"):
        # Cards before Ampere (compute capability 8) compute bf16 in software, and torch calls that supported too.
        return "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "f16"
    if device == "mps":
        return "f16"
    return "bf16" if cpu_flags() & set(_CPU_BF16) else "f32"


def dtype_of(precision: Precision) -> Any:
    """torch's name of a precision."""
    return _DTYPES[precision]


def token_budget(device: str, pairs: bool) -> int:
    """Padded tokens a batch should have at most; ``pairs``: of a language model that scores them."""
    if device != "cpu":
        return ACCELERATOR_TOKENS
    return PAIR_TOKENS if pairs else TOKEN_BUDGET


def describe_devices() -> dict[str, str]:
    """What torch can use here, for `lagotto doctor`: each device's name and memory."""
    found = {"torch": str(torch.__version__)}
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        facts = torch.cuda.get_device_properties(number)
        half = choose_precision("auto", f"cuda:{number}")
        found[f"cuda:{number}"] = f"{facts.name}, {facts.total_memory / 1e9:.0f} GB, precision auto is {half}"
    if torch.backends.mps.is_available():
        found["mps"] = "the GPU of this Mac, precision auto is f16"
    found["cpu"] = f"precision auto is {choose_precision('auto', 'cpu')}"
    return found
