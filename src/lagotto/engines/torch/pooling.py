"""One vector a text from its hidden states, on the device: pooling, then sentence-transformers' Dense modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lagotto.cards.folder import DenseModule
from lagotto.cards.schema import Pooling
from lagotto.cards.weights import Weights
from lagotto.core.errors import CheckpointError

_ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "identity": lambda x: x,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "gelu": torch.nn.functional.gelu,
}


def pool(states: Any, lengths: Any, pooling: Pooling, last: int = 1) -> Any:
    """(rows, tokens, hidden) states, (rows,) lengths -> (rows, hidden) float32; what is behind a length has no part.

    ``last`` is how many states ``last_tokens_mean`` averages; a shorter text has all of its own averaged.
    """
    if pooling == "cls":
        return states[:, 0].float()
    if pooling == "last_token":
        return states[torch.arange(len(states), device=states.device), lengths - 1].float()
    places = torch.arange(states.shape[1], device=states.device)
    real = (places < lengths[:, None])[..., None]
    if pooling == "last_tokens_mean":
        real &= (places >= lengths[:, None] - last)[..., None]
        lengths = lengths.clamp(max=last)
    if pooling == "max":
        return states.masked_fill(~real, -torch.inf).amax(dim=1).float()
    total = states.masked_fill(~real, 0).sum(dim=1, dtype=torch.float32)
    count = lengths[:, None].float()
    return total / (count.sqrt() if pooling == "mean_sqrt_len" else count)


class Dense:
    """A linear layer and its activation, in float32: (rows, in) -> (rows, out)."""

    def __init__(self, module: DenseModule, device: str) -> None:
        weights = Weights.open(module.folder)
        self._weight = _tensor(weights, "linear.weight", (module.out_features, module.in_features), device)
        self._bias = _tensor(weights, "linear.bias", (module.out_features,), device) if module.bias else None
        self._activation = _ACTIVATIONS[module.activation]

    def __call__(self, x: Any) -> Any:
        """The layer's values."""
        return self._activation(torch.nn.functional.linear(x, self._weight, self._bias))


def _tensor(weights: Weights, name: str, shape: tuple[int, ...], device: str) -> Any:
    if name not in weights:
        raise CheckpointError(f"{weights.source}: weight {name!r} {shape} is missing")
    found = weights.shape(name)
    if found != shape:
        raise CheckpointError(f"{weights.source}: weight {name!r} has shape {found}, config.json asks for {shape}")
    values: NDArray[np.float32] = np.array(weights[name], np.float32)
    return torch.from_numpy(values).to(device)
