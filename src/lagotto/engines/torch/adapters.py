"""A LoRA adapter merged into weights when they are loaded, so that computing costs nothing more."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

import torch

from lagotto.cards.adapter import Adapter, Change
from lagotto.core.errors import CheckpointError


def merge(module: Any, adapter: Adapter) -> None:
    """Change a module's weights as an adapter says: added up in float32, stored as they were.

    Raises `CheckpointError` for a tensor that the module has not, or has in another shape, and for an adapter that
    changes nothing.
    """
    named = dict(module.named_parameters(remove_duplicate=False))
    changed = 0
    with torch.no_grad():
        for change in adapter.changes():
            weight = named[find(named, change, adapter, getattr(module, "base_model_prefix", ""))]
            check_shape(change, weight.shape, adapter)
            weight.copy_(merged(weight, change))
            changed += 1
    if not changed:
        raise nothing_in(adapter)


def replaced(module: Any, adapter: Adapter) -> set[str]:
    """The module's weights that an adapter holds as wholes. Raises `CheckpointError` for one that it has not."""
    prefix, names = getattr(module, "base_model_prefix", ""), dict(module.named_parameters(remove_duplicate=False))
    return {find(names, change, adapter, prefix) for change in adapter.changes() if change.whole is not None}


class Merging:
    """What an adapter changes of tensors that are read one by one. A change is forgotten when it was made."""

    def __init__(self, adapter: Adapter | None, shapes: Mapping[str, tuple[int, ...]], *, prefix: str = "") -> None:
        """``shapes`` are those of the base's tensors. Raises `CheckpointError` for an adapter that does not fit."""
        self._adapter = adapter
        self._changes: dict[str, Change] = {}
        for change in () if adapter is None else adapter.changes():
            assert adapter is not None
            name = find(shapes, change, adapter, prefix)
            check_shape(change, shapes[name], adapter)
            self._changes[name] = change
        if adapter is not None and not self._changes:
            raise nothing_in(adapter)

    def __contains__(self, name: str) -> bool:
        return name in self._changes

    def of(self, name: str, weight: Any) -> Any:
        """A tensor as the adapter leaves it, in float32; as it is where nothing changes it."""
        change = self._changes.pop(name, None)
        return weight if change is None else merged(weight, change)

    def of_rows(self, name: str, rows: Sequence[int], weight: Any) -> Any:
        """The same of some rows of a matrix, which may be read more than once."""
        change = self._changes.get(name)
        return weight if change is None else merged(weight, change.of_rows(rows))

    def check_made(self, later: str) -> None:
        """Raise `CheckpointError` for a change of a tensor that was not read, other than the one named."""
        left = next((name for name in self._changes if name != later), None)
        if left is not None:
            assert self._adapter is not None
            raise CheckpointError(f"{self._adapter.folder}: changes {left!r}, which is not used here")


def merged(weight: Any, change: Change) -> Any:
    """A weight as a change leaves it, in float32 and on its device."""
    if change.whole is not None:
        return torch.from_numpy(change.whole).to(weight.device)
    down, up = (torch.from_numpy(part).to(weight.device) for part in change.product())
    product = (up @ down) * change.scale
    return weight.float() + (product.T if change.transposed else product)


def find(named: Container[str], change: Change, adapter: Adapter, prefix: str = "") -> str:
    """The base's name of a tensor, which had another one where the trained model had a head around this one, or none.

    ``prefix``: how the base itself begins names of what is not its head. Raises `CheckpointError`.
    """
    name = change.name
    names = [name, name.removeprefix("model."), name.removeprefix(f"{prefix}."), f"{prefix}.{name}"]
    for tried in names:
        if tried in named:
            return tried
    raise CheckpointError(
        f"{adapter.folder}: changes {name!r}, which the base has not: it is not the model this adapter was trained on "
        f"({adapter.base!r}), or the adapter is for a head that is not used here"
    )


def check_shape(change: Change, shape: tuple[int, ...], adapter: Adapter) -> None:
    """Raise `CheckpointError` unless a change fits the base's tensor."""
    if change.shape != tuple(shape):
        raise CheckpointError(
            f"{adapter.folder}: {change.name!r} fits weights of shape {change.shape}, the base has {tuple(shape)}: it "
            f"is not the model this adapter was trained on ({adapter.base!r})"
        )


def nothing_in(adapter: Adapter) -> CheckpointError:
    """For an adapter that changes nothing."""
    return CheckpointError(f"{adapter.folder}: the adapter's file has no tensors")
