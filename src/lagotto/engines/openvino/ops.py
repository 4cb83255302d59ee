"""Small graph pieces shared by every model: linear, layer norm, activations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from openvino import Node, opset13

from lagotto.core.errors import CheckpointError

op: Any = opset13  # the opset functions are generated and carry no useful types


def integers(*values: int) -> Node:
    """An int64 vector constant."""
    return op.constant(np.array(values, np.int64))


def scalar(value: float) -> Node:
    """A float32 scalar constant."""
    return op.constant(np.float32(value))


def unseen(seen: Node) -> Node:
    """What is added to attention's scores: 0 where ``seen`` is true, and far below any score elsewhere.

    Yet finite, as bf16 has float32's range.
    """
    return op.select(seen, scalar(0.0), scalar(-1e9))


def count(shape: Node, axis: int) -> Node:
    """0, 1, 2 ... as many as an axis of an int64 shape is long: (length,) int32."""
    length = op.convert(op.gather(shape, op.constant(axis), op.constant(0)), "i32")
    return op.range(op.constant(0, np.int32), length, op.constant(1, np.int32), "i32")


def activation(name: str, x: Node) -> Node:
    """``gelu`` (exact, by erf), ``gelu_new``/``gelu_pytorch_tanh``/``gelu_tanh`` (by tanh), ``silu``, ``relu``,
    ``tanh`` or ``identity``.
    """
    functions: dict[str, Callable[[Node], Node]] = {
        "gelu": lambda y: op.gelu(y, "ERF"),
        "gelu_new": lambda y: op.gelu(y, "TANH"),
        "gelu_pytorch_tanh": lambda y: op.gelu(y, "TANH"),
        "gelu_tanh": lambda y: op.gelu(y, "TANH"),
        "silu": op.swish,
        "relu": op.relu,
        "tanh": op.tanh,
        "identity": lambda y: y,
    }
    return functions[name](x)


class Parameters:
    """A checkpoint's tensors as graph constants, each checked for its shape as it is used."""

    def __init__(self, tensors: Mapping[str, NDArray[Any]], where: str) -> None:
        self._tensors = tensors
        self._where = where
        self._rounded: dict[tuple[str, bytes], Node] = {}

    def array(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """One tensor as float32. Raises `CheckpointError` when it is missing, has another shape or no real numbers."""
        tensor = self._tensor(name, shape)
        if not np.issubdtype(tensor.dtype, np.floating):
            raise CheckpointError(
                f"{self._where}: weight {name!r} holds whole numbers ({tensor.dtype}), which mean something only "
                "beside a weight_scale"
            )
        return np.ascontiguousarray(tensor, np.float32)

    def _tensor(self, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
        try:
            tensor = self._tensors[name]
        except KeyError:
            raise CheckpointError(f"{self._where}: weight {name!r} {shape} is missing") from None
        if tuple(tensor.shape) != shape:
            raise CheckpointError(
                f"{self._where}: weight {name!r} has shape {tuple(tensor.shape)}, config.json asks for {shape}"
            )
        return tensor

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def constant(self, name: str, shape: tuple[int, ...]) -> Node:
        """One tensor as a graph constant."""
        return op.constant(self.array(name, shape))

    def linear(self, x: Node, name: str, size_in: int, size_out: int, bias: bool = True) -> Node:
        """x W^T + b, (..., size_in) -> (..., size_out); in int8 where the checkpoint's weight is."""
        if f"{name}.weight_scale" in self:
            y = self._int8_product(x, name, size_in, size_out)
        else:
            y = op.matmul(x, self.constant(f"{name}.weight", (size_out, size_in)), False, True)
        return op.add(y, self.constant(f"{name}.bias", (size_out,))) if bias else y

    def layer_norm(self, x: Node, name: str, size: int, epsilon: float) -> Node:
        """Layer normalisation over the last axis."""
        x = op.mvn(x, integers(-1), True, epsilon, "INSIDE_SQRT")
        return op.add(op.multiply(x, self.constant(f"{name}.weight", (size,))), self.constant(f"{name}.bias", (size,)))

    def _int8_product(self, x: Node, name: str, size_in: int, size_out: int) -> Node:
        """The product of a quantised layer (see `lagotto.cards.quantized`), in the form that OpenVINO runs in int8."""
        steps = self._scales(f"{name}.input_scale", size_in)
        key = (x.get_friendly_name(), steps.tobytes())
        if key not in self._rounded:  # query, key and value share their input
            scaled = op.multiply(x, op.constant(1 / steps))
            low, high = scalar(-128), scalar(127)
            self._rounded[key] = op.fake_quantize(scaled, low, high, low, high, 256)
        whole = self._tensor(f"{name}.weight", (size_out, size_in))
        if whole.dtype != np.int8:
            raise CheckpointError(f"{self._where}: weight '{name}.weight' is {whole.dtype}, its scale asks for int8")
        scale = op.constant(self._scales(f"{name}.weight_scale", size_out).reshape(size_out, 1))
        weight = op.multiply(op.convert(op.constant(np.ascontiguousarray(whole)), "f32"), scale)
        return op.matmul(self._rounded[key], weight, False, True)

    def _scales(self, name: str, size: int) -> NDArray[np.float32]:
        scales = self.array(name, (size,))
        if not (np.isfinite(scales) & (scales > 0)).all():
            raise CheckpointError(f"{self._where}: weight {name!r} holds a number that is no scale: it must be above 0")
        return scales
