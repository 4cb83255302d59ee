"""Weights of linear layers in 8 or 4 bits; what they are multiplied with stays in bf16, f16 or f32.

torchao packs ``int8`` and ``int4``, bitsandbytes ``nf4`` (QLoRA, Dettmers et al. 2023). What is packed stands where the
full matrix stood, and `torch.nn.functional.linear` takes it: nothing else of a layer changes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch

from lagotto.core.errors import MissingDependencyError, UnsupportedModelError
from lagotto.core.memory import trim_heaps
from lagotto.engines.base import WeightFormat
from lagotto.engines.low_bits import GROUP, check_shape
from lagotto.engines.torch.quiet import quiet_imports

_AMPERE = 8  # the compute capability that int4's kernel on a GPU asks for
_FETCHING = "kernels"


def pack(weight: Any, weights: WeightFormat, name: str) -> Any:
    """(out, in) numbers on their device -> the same in fewer bits, for `torch.nn.functional.linear`.

    ``weights`` other than ``"full"``; ``name`` is for messages. Raises `UnsupportedModelError` for sizes or a GPU that
    the format does not take, `MissingDependencyError` for a library that does not work here.
    """
    check_shape(weights, weight.device.type, name, *weight.shape)
    if weights == "nf4":
        return Nf4Matrix(weight)
    return _int8(weight) if weights == "int8" else _int4(weight)


def pack_module(module: Any, weights: WeightFormat, device: str) -> None:
    """Replace the weights of a module's linear layers, one after another, each put on the device first.

    Poolers are left as they are: they belong to a classifier's head.
    """
    base = module.base_model
    for name, layer in base.named_modules():
        if isinstance(layer, torch.nn.Linear) and "pooler" not in name.split("."):
            full = layer.weight.detach().to(device)
            del layer.weight  # no parameter any more, so that nothing converts or moves it
            layer.weight = pack(full, weights, f"{name}.weight")
            del full
            trim_heaps()


class Nf4Matrix:
    """A matrix in bitsandbytes' 4-bit NormalFloat, `GROUP` numbers to a float32 scale."""

    def __init__(self, weight: Any) -> None:
        functional, self._multiply = _bitsandbytes()
        self.data, self.state = functional.quantize_4bit(weight, blocksize=GROUP, quant_type="nf4")
        self.shape, self.dtype, self.device = weight.shape, weight.dtype, weight.device

    @property
    def nbytes(self) -> int:
        """Bytes that numbers and scales take."""
        return int(self.data.nbytes + self.state.absmax.nbytes)

    def dequantize(self) -> Any:
        """(out, in) numbers that the bits stand for."""
        return _bitsandbytes()[0].dequantize_4bit(self.data, self.state)

    @classmethod
    def __torch_function__(cls, function: Any, kinds: Any, given: Any = (), named: Any = None) -> Any:
        """Stand in for a tensor in `torch.nn.functional.linear`, and in nothing else."""
        if function is not torch.nn.functional.linear:
            return NotImplemented
        return cls._linear(*given, **(named or {}))

    @staticmethod
    def _linear(input: Any, weight: Nf4Matrix, bias: Any = None) -> Any:
        return weight._multiply(input, weight.data, weight.state, bias=bias)


def _int8(weight: Any) -> Any:
    """A scale a row; symmetric."""
    with _importing("torchao"):
        from torchao.quantization import Int8Tensor, PerRow
    return Int8Tensor.from_hp(weight, PerRow())


def _int4(weight: Any) -> Any:
    """A scale and a zero a group, packed for torch's own kernels (tinygemm), which differ between CPU and GPU."""
    if weight.device.type == "cpu":
        with _importing("torchao"):
            from torchao.prototype.quantization.int4.int4_opaque_tensor import Int4OpaqueTensor
        return Int4OpaqueTensor.from_hp(weight, [1, GROUP])
    if torch.cuda.get_device_capability(weight.device)[0] < _AMPERE:
        raise UnsupportedModelError(f"weights='int4' needs a card since Ampere, {weight.device} is older; pass 'nf4'")
    with _importing("torchao"):
        from torchao.quantization import Int4TilePackedTo4dTensor
    with torch.cuda.device(weight.device):  # it asks the current one what it can do
        return Int4TilePackedTo4dTensor.from_hp(weight, [1, GROUP])


@cache
def _bitsandbytes() -> tuple[Any, Callable[..., Any]]:
    """Its functions, and its product of numbers and a packed matrix.

    Where the package `kernels` is installed, importing it fetches a compiled kernel from a hub, for a way of packing
    that is not used here. Nothing is fetched unasked, so that package is hidden from it.
    """
    hidden = {name: sys.modules.pop(name) for name in [_FETCHING] if name in sys.modules}
    sys.modules[_FETCHING] = None  # type: ignore[assignment]  # makes an import of it fail
    try:
        with _importing("bitsandbytes"):
            import bitsandbytes
            import bitsandbytes.functional
    finally:
        del sys.modules[_FETCHING]
        sys.modules.update(hidden)
    return bitsandbytes.functional, bitsandbytes.matmul_4bit


@contextmanager
def _importing(package: str) -> Iterator[None]:
    """Import with an error that says what is wrong."""
    try:
        with quiet_imports():
            yield
    except (ImportError, OSError, AttributeError) as error:
        raise MissingDependencyError(
            f'{package} does not work here, or not in this release ({error}): pip install -U "lagotto[torch,{package}]"'
        ) from None
