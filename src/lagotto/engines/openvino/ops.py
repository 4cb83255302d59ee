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


def activation(name: str, x: Node) -> Node:
    """``gelu`` (exact, by erf), ``gelu_new``/``gelu_pytorch_tanh`` (by tanh), ``relu``, ``tanh`` or ``identity``."""
    functions: dict[str, Callable[[Node], Node]] = {
        "gelu": lambda y: op.gelu(y, "ERF"),
        "gelu_new": lambda y: op.gelu(y, "TANH"),
        "gelu_pytorch_tanh": lambda y: op.gelu(y, "TANH"),
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

    def array(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """One tensor as float32. Raises `CheckpointError` when it is missing or has another shape."""
        try:
            tensor = self._tensors[name]
        except KeyError:
            raise CheckpointError(f"{self._where}: weight {name!r} {shape} is missing") from None
        if tuple(tensor.shape) != shape:
            raise CheckpointError(
                f"{self._where}: weight {name!r} has shape {tuple(tensor.shape)}, config.json asks for {shape}"
            )
        return np.ascontiguousarray(tensor, np.float32)

    def constant(self, name: str, shape: tuple[int, ...]) -> Node:
        """One tensor as a graph constant."""
        return op.constant(self.array(name, shape))

    def linear(self, x: Node, name: str, size_in: int, size_out: int, bias: bool = True) -> Node:
        """x W^T + b, (..., size_in) -> (..., size_out)."""
        y = op.matmul(x, self.constant(f"{name}.weight", (size_out, size_in)), False, True)
        return op.add(y, self.constant(f"{name}.bias", (size_out,))) if bias else y

    def layer_norm(self, x: Node, name: str, size: int, epsilon: float) -> Node:
        """Layer normalisation over the last axis."""
        x = op.mvn(x, integers(-1), True, epsilon, "INSIDE_SQRT")
        return op.add(op.multiply(x, self.constant(f"{name}.weight", (size,))), self.constant(f"{name}.bias", (size,)))
