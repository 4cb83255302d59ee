"""`TensorReader`: a checkpoint's weights as torch tensors, one by one, each copied once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.functional import linear

from lagotto.cards.adapter import Adapter
from lagotto.cards.weights import Weights
from lagotto.engines.base import WeightFormat
from lagotto.engines.low_bits import check_shape
from lagotto.engines.torch.adapters import Merging
from lagotto.engines.torch.live import LiveAdapters, LiveLayer
from lagotto.engines.torch.low_bits import pack

_PREFIX = "model"  # of all names but those of heads, in a checkpoint that has a head


class Linear:
    """A linear layer: ``x W^T + b``, and what a live adapter adds to it."""

    def __init__(self, weight: Any, bias: Any = None, adapters: LiveLayer | None = None) -> None:
        self._weight = weight  # (out, in), in as many bits as it was packed in
        self._bias = bias  # (out,) or None
        self._adapters = adapters

    def __call__(self, x: Any) -> Any:
        """(..., in) -> (..., out)"""
        y = linear(x, self._weight, self._bias)
        return y if self._adapters is None else self._adapters.linear(x, y)


class TensorReader:
    """Reads tensors in one precision onto one device; nothing but the tensor at hand is held twice."""

    def __init__(
        self,
        weights: Weights,
        dtype: Any,
        device: str,
        linear: WeightFormat = "full",
        *,
        adapter: Adapter | None = None,
        adapters: Sequence[tuple[str, Adapter]] = (),
    ) -> None:
        """``linear``: how the matrices of linear layers are kept.

        ``adapter`` is merged into what is read, ``adapters`` go with the linear layers. Raises `CheckpointError` and
        `UnsupportedModelError` for adapters that do not fit.
        """
        self.weights, self._dtype, self._device, self._linear = weights, dtype, device, linear
        shapes = {name: weights.shape(name) for name in weights} if adapter or adapters else {}
        self.merging = Merging(adapter, shapes, prefix=_PREFIX)
        self.live = LiveAdapters(adapters, shapes, dtype, device, prefix=_PREFIX)

    def __call__(self, name: str, *shape: int) -> Any:
        """A tensor. Raises `CheckpointError` where it is missing or has another shape."""
        return self._tensor(name, shape, self._dtype)

    def exact(self, name: str, *shape: int) -> Any:
        """A tensor in float32, whatever the precision of the others."""
        return self._tensor(name, shape, torch.float32)

    def linear(self, name: str, size_out: int, size_in: int, bias: bool) -> Linear:
        """A linear layer."""
        weight = self._matrix(f"{name}.weight", size_out, size_in)
        return Linear(weight, self(f"{name}.bias", size_out) if bias else None, self.live.linear(f"{name}.weight"))

    def norm(self, name: str, size: int, offset: float) -> Any:
        """The weights of a norm, in float32, with what the architecture adds to them."""
        return self.exact(name, size) + offset

    def rows(self, name: str, rows: Sequence[int], *shape: int) -> Any:
        """Some rows of a matrix, in float32; the others are not read."""
        self.weights.check(name, shape)
        found = torch.from_numpy(self.weights.rows(name, rows))
        return self.merging.of_rows(name, rows, found).to(self._device)

    def checking(self) -> TensorReader:
        """A reader of the same weights that finds what is wrong with them and reads none."""
        return _ShapeReader(self.weights, self._dtype, self._device, self._linear)

    def _matrix(self, name: str, size_out: int, size_in: int) -> Any:
        """The matrix of a linear layer, in as many bits as it is kept in."""
        weight = self(name, size_out, size_in)
        return weight if self._linear == "full" else pack(weight, self._linear, name)

    def _tensor(self, name: str, shape: tuple[int, ...], dtype: Any) -> Any:
        self.weights.check(name, shape)
        return self.merging.of(name, self._placed(self.weights.bits(name), name)).to(self._device, dtype)

    def _placed(self, values: Any, name: str) -> Any:
        found = torch.from_numpy(np.array(values))  # a copy: the file's own bytes must not be written to
        if self.weights.stored_as(name) == "BF16" and values.dtype == np.uint16:
            found = found.view(torch.bfloat16)
        return found


class _ShapeReader(TensorReader):
    """Gives tensors without numbers, once it is clear that those in the files are what is asked for."""

    def _matrix(self, name: str, size_out: int, size_in: int) -> Any:
        check_shape(self._linear, self._device.partition(":")[0], name, size_out, size_in)
        return self(name, size_out, size_in)

    def _tensor(self, name: str, shape: tuple[int, ...], dtype: Any) -> Any:
        self.weights.check(name, shape)
        self.weights.dtype(name)  # raises for numbers that can't be read
        return torch.empty(shape, dtype=dtype, device="meta")
