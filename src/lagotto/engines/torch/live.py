"""`LiveAdapters`: LoRA adapters that stay beside the weights of one base, one of them at work at a time, or none.

Where a merged adapter changes ``W``, a live one adds ``scale * (x A^T) B^T`` to what a layer gives of ``x``. The
factors have the base's precision; product and sum are accumulated in float32 and rounded once, as PEFT rounds its sum.
A linear layer that was trained as a whole, as PEFT trains a classifier's head, is computed again with its own matrix.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import embedding, linear

from lagotto.cards.adapter import Adapter, Change
from lagotto.core.errors import EngineError, UnsupportedModelError
from lagotto.engines.base import Adapted, Output, Plain, plain
from lagotto.engines.torch.adapters import check_shape, find, nothing_in


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """What one adapter adds to one layer, on the layer's device."""

    first: Any
    """(in, rank)"""
    second: Any
    """(rank, out)"""
    scale: float


@dataclass(frozen=True, slots=True, eq=False)
class Whole:
    """The linear layer that one adapter has in place of the base's."""

    weight: Any
    """(out, in)"""
    bias: Any
    """(out,) or None"""


class LiveLayer:
    """What each of the adapters makes of the output of one layer."""

    def __init__(self, adapters: LiveAdapters, parts: Mapping[str, Product | Whole]) -> None:
        self._adapters, self._parts = adapters, parts

    def linear(self, x: Any, y: Any) -> Any:
        """(..., in) and what the layer gives of it, (..., out) -> (..., out) with the adapter at work."""
        found = self._at_work()
        if isinstance(found, Whole):
            return linear(x, found.weight, found.bias)
        return y if found is None else _plus(y, x @ found.first, found, found.scale)

    def embedding(self, ids: Any, y: Any, factor: float = 1.0) -> Any:
        """(...) ids and their (..., out) -> the same with the adapter; ``factor`` is what the layer multiplies by."""
        found = self._at_work()
        assert not isinstance(found, Whole)  # tables are not replaced
        return y if found is None else _plus(y, embedding(ids, found.first), found, found.scale * factor)

    def _at_work(self) -> Product | Whole | None:
        return None if self._adapters.at_work is None else self._parts.get(self._adapters.at_work)


class LiveAdapters:
    """The adapters of one model on one device. Not thread-safe: one thread computes.

    A model takes what they change layer by layer (`linear`, `embedding`), and then asks `check_taken`.
    """

    def __init__(
        self,
        adapters: Sequence[tuple[str, Adapter]],
        shapes: Mapping[str, tuple[int, ...]],
        dtype: Any,
        device: str,
        *,
        prefix: str = "",
    ) -> None:
        """``shapes`` are those of the base's tensors, ``prefix`` is that of `find`.

        Raises `CheckpointError` for an adapter that does not fit.
        """
        self.names = frozenset(name for name, _ in adapters)
        self.at_work: str | None = None
        """The adapter that is computed with at this moment."""
        self._place = {"dtype": dtype, "device": device}
        self._changes: dict[str, dict[str, Change]] = {}  # by the tensor's name, then by the adapter's
        self._folders = {name: adapter.folder for name, adapter in adapters}
        for name, adapter in adapters:
            changes = list(adapter.changes())
            if not changes:
                raise nothing_in(adapter)
            for change in changes:
                tensor = find(shapes, change, adapter, prefix)
                check_shape(change, shapes[tensor], adapter)
                self._changes.setdefault(tensor, {})[name] = change

    def linear(self, name: str) -> LiveLayer | None:
        """What is added to a linear layer with this (out, in) tensor; None where no adapter changes it."""
        return self._layer(name, transposed=False)

    def embedding(self, name: str) -> LiveLayer | None:
        """The same for a table of (ids, out)."""
        return self._layer(name, transposed=True)

    def attach(self, module: Any) -> None:
        """Let a module of transformers' compute with them. Raises `UnsupportedModelError` for layers of other kinds."""
        for name in list(self._changes):
            path, _, kind = name.rpartition(".")
            owner = module.get_submodule(path)
            if kind == "weight" and isinstance(owner, torch.nn.Linear):
                wholes = self._wholes(path, owner.bias)
                products = self._taken(name, transposed=False) if self._changes.get(name) else {}
                _hook_linear(owner, LiveLayer(self, {**products, **wholes}))
            elif kind == "weight" and isinstance(owner, torch.nn.Embedding):
                _hook_embedding(owner, self.embedding(name))
        self.check_taken()

    def check_taken(self) -> None:
        """Raise `UnsupportedModelError` for a change that no layer has asked for."""
        for tensor, changes in self._changes.items():
            name, change = next(iter(changes.items()))
            if change.whole is not None:
                raise self._refused(name, tensor, "is replaced as a whole (modules_to_save)")
            raise self._refused(name, tensor, "belongs to no layer that an adapter can be beside")

    @contextmanager
    def chosen(self, output: Output) -> Iterator[Plain]:
        """Set the adapter of what is asked to work, and tell what is asked of it."""
        name = output.adapter if isinstance(output, Adapted) else None
        if name is not None and name not in self.names:
            raise EngineError(f"this engine has no adapter {name!r}, only {', '.join(sorted(self.names)) or 'none'}")
        self.at_work = name
        try:
            yield plain(output)
        finally:
            self.at_work = None

    def _layer(self, name: str, *, transposed: bool) -> LiveLayer | None:
        found = self._taken(name, transposed=transposed)
        return LiveLayer(self, found) if found else None

    def _taken(self, name: str, *, transposed: bool) -> dict[str, Product]:
        """What adapters add to a tensor's layer; one that replaces it is left for `check_taken`."""
        changes = self._changes.pop(name, {})
        if wholes := {key: change for key, change in changes.items() if change.whole is not None}:
            self._changes[name] = wholes
        return {key: self._product(change, transposed) for key, change in changes.items() if change.whole is None}

    def _wholes(self, path: str, bias: Any) -> dict[str, Whole]:
        """The linear layers that adapters have in place of the one at a path; ``bias`` is what it has itself."""
        weights, biases = (self._changes.pop(f"{path}.{kind}", {}) for kind in ("weight", "bias"))
        found = {}
        for name, change in weights.items():
            if change.whole is not None:
                own = biases.pop(name, None)
                found[name] = Whole(self._placed(change.whole), bias if own is None else self._placed(own.whole))
        if left := {name: change for name, change in weights.items() if name not in found}:
            self._changes[f"{path}.weight"] = left
        if biases:
            self._changes[f"{path}.bias"] = biases
        return found

    def _placed(self, values: Any) -> Any:
        return torch.from_numpy(values).to(**self._place)

    def _product(self, change: Change, transposed: bool) -> Product:
        """``transposed``: whether the layer multiplies by its tensor as it is, (in, out)."""
        down, up = (torch.from_numpy(part) for part in change.product())
        first, second = (down.T, up.T) if change.transposed == transposed else (up, down)
        return Product(first.contiguous().to(**self._place), second.contiguous().to(**self._place), change.scale)

    def _refused(self, adapter: str, tensor: str, why: str) -> UnsupportedModelError:
        return UnsupportedModelError(
            f"adapter {adapter!r} ({self._folders[adapter]}): {tensor!r} {why}, which can't be done for some calls "
            "and not for others; merge this adapter into a model of its own, with adapter="
        )


def _plus(y: Any, narrow: Any, product: Product, scale: float) -> Any:
    """(..., out) + scale * (..., rank) (rank, out)"""
    flat = torch.addmm(y.flatten(0, -2), narrow.flatten(0, -2), product.second, alpha=scale)
    return flat.view(y.shape)


def _hook_linear(module: Any, layer: LiveLayer) -> None:
    module.register_forward_hook(lambda _, given, y: layer.linear(given[0], y))


def _hook_embedding(module: Any, layer: LiveLayer | None) -> None:
    if layer is None:
        return
    factor = float(getattr(module, "embed_scale", 1.0))  # of Gemma 3, which multiplies in the layer itself
    module.register_forward_hook(lambda _, given, y: layer.embedding(given[0], y, factor))
