"""A LoRA adapter merged into a module's weights when it is loaded, so that computing costs nothing more."""

from __future__ import annotations

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
            weight = _find(named, change.name, getattr(module, "base_model_prefix", ""), adapter)
            value = _value(weight, change)
            if value.shape != weight.shape:
                raise CheckpointError(
                    f"{adapter.folder}: {change.name!r} fits weights of shape {tuple(value.shape)}, the base has "
                    f"{tuple(weight.shape)}: it is not the model this adapter was trained on ({adapter.base!r})"
                )
            weight.copy_(value if change.whole is not None else weight.float() + value)
            changed += 1
    if not changed:
        raise CheckpointError(f"{adapter.folder}: the adapter's file has no tensors")


def _find(named: dict[str, Any], name: str, prefix: str, adapter: Adapter) -> Any:
    """A weight by the name it had in the model that was trained, which may have had a head around this one, or none."""
    for tried in (name, name.removeprefix("model."), name.removeprefix(f"{prefix}."), f"{prefix}.{name}"):
        if tried in named:
            return named[tried]
    raise CheckpointError(
        f"{adapter.folder}: changes {name!r}, which the base has not: it is not the model this adapter was trained on "
        f"({adapter.base!r}), or the adapter is for a head that is not used here"
    )


def _value(weight: Any, change: Change) -> Any:
    """What is put in place of the weight, or added to it, on its device."""
    if change.whole is not None:
        return torch.from_numpy(change.whole).to(weight.device)
    assert change.up is not None
    assert change.down is not None
    up, down = (torch.from_numpy(part).to(weight.device) for part in (change.up, change.down))
    product = (up @ down) * change.scale
    return product.T if change.transposed else product
