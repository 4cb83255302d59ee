"""In how many bits the torch engine keeps the weights of linear layers, and what that asks for. Imports no torch."""

from __future__ import annotations

from importlib.util import find_spec
from typing import get_args

from lagotto.core.errors import InvalidInputError, MissingDependencyError, UnsupportedModelError
from lagotto.engines.base import WeightFormat

GROUP = 64
"""Weights of a row that share a scale, in ``int4`` and ``nf4``; ``int8`` has one scale a row."""

_FORMATS: tuple[WeightFormat, ...] = get_args(WeightFormat)
_PACKAGES = {"int8": "torchao", "int4": "torchao", "nf4": "bitsandbytes"}
_CPU_ROWS = 16  # torch packs so many rows of int4 weights together on a CPU
_BYTES = {"int8": 1.0, "int4": 0.5 + 4 / GROUP, "nf4": 0.5 + 4 / GROUP}


def check_weights(weights: str) -> WeightFormat:
    """The format by its name. Raises `InvalidInputError` for one that does not exist."""
    for known in _FORMATS:
        if weights == known:
            return known
    raise InvalidInputError(f"weights is {weights!r}; allowed are {', '.join(_FORMATS)}")


def require_package(weights: WeightFormat) -> None:
    """Raise `MissingDependencyError` unless what packs such weights is installed. Imports nothing."""
    package = _PACKAGES.get(weights)
    if package is not None and find_spec(package) is None:
        raise MissingDependencyError(f'weights={weights!r} needs {package}: pip install "lagotto[torch,{package}]"')


def check_combination(weights: WeightFormat, device: str, precision: str) -> None:
    """Raise `UnsupportedModelError` for weights that are not multiplied on a device in a precision."""
    kind = device.partition(":")[0]
    if weights in ("int4", "nf4") and kind not in ("cpu", "cuda"):
        raise UnsupportedModelError(
            f"weights={weights!r} is run on cpu and cuda, device is {device!r}; pass weights='int8', or 'full'"
        )
    if weights == "int8" and precision == "f16":
        # torchao multiplies by the integers and scales the sum, which goes beyond 65,504.
        raise UnsupportedModelError("weights='int8' overflows in precision 'f16'; pass precision='bf16' or 'f32'")
    if weights == "int4" and kind == "cuda" and precision != "bf16":
        raise UnsupportedModelError(
            f"weights='int4' is multiplied in bf16 alone on a GPU, precision is {precision!r}; pass precision='bf16' "
            "(cards since Ampere have it), or weights='nf4'"
        )


def check_shape(weights: WeightFormat, device: str, name: str, rows: int, columns: int) -> None:
    """Raise `UnsupportedModelError` for a matrix (rows out, columns in) whose sizes a format does not divide."""
    if weights not in ("int4", "nf4"):
        return
    if columns % GROUP:
        raise UnsupportedModelError(
            f"weights={weights!r} takes rows in groups of {GROUP} numbers; {name!r} has rows of {columns}. Pass "
            "weights='int8', or 'full'"
        )
    if weights == "int4" and device == "cpu" and rows % _CPU_ROWS:
        raise UnsupportedModelError(
            f"weights='int4' takes {_CPU_ROWS} rows together on a CPU; {name!r} has {rows}. Pass weights='nf4', 'int8' "
            "or 'full'"
        )


def packed_size(weights: WeightFormat, size: int) -> int:
    """About what weights of ``size`` bytes, at two bytes a number, take when all of them are in linear layers."""
    return size if weights == "full" else int(size * _BYTES[weights] / 2)
