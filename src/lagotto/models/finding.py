"""The files of a model and of its adapters, by the names that a caller gave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lagotto.cards.adapter import Adapter, is_adapter, read_adapter
from lagotto.cards.sources import Places, Source, locate
from lagotto.core.errors import InvalidInputError, ModelNotFoundError

if TYPE_CHECKING:
    from lagotto.models.loading import Options


def find_source(name: str | Path, options: Options, places: Places) -> tuple[Source, Adapter | None]:
    """The files of a model, and its adapter: the one that was asked for, or the folder of the name itself.

    An adapter by its own name brings the base that its adapter_config.json names. Raises what `locate` and
    `read_adapter` raise, `InvalidInputError` for two adapters at once.
    """
    source = locate(name, places, options.revision)
    if not is_adapter(source.folder):
        if options.adapter is None:
            return source, None
        return source, read_adapter(locate(options.adapter, places).folder)
    adapter = read_adapter(source.folder)
    if options.adapter is not None:
        raise InvalidInputError(f"{source.name} is an adapter itself; give its base as the model, and one adapter")
    try:
        base = locate(adapter.base, places, adapter.revision)
    except (ModelNotFoundError, InvalidInputError) as error:
        raise ModelNotFoundError(
            f"{source.name} is an adapter of {adapter.base!r}, which is not found ({error}); give the base as the "
            "model, and the adapter as adapter="
        ) from None
    return replace(base, name=source.name), adapter


def find_adapters(options: Options, places: Places, merged: Adapter | None) -> tuple[tuple[str, Adapter], ...]:
    """The live adapters that were asked for, by name.

    Raises what `locate` and `read_adapter` raise, `InvalidInputError` for names that are none, or beside a merged one.
    """
    if not isinstance(options.adapters, Mapping | None):
        raise InvalidInputError(f"adapters is {options.adapters!r}; give a mapping of names to folders or hub ids")
    asked = options.adapters or {}
    if asked and merged is not None:
        raise InvalidInputError(
            "adapter merges one into the weights, adapters keep several beside them; give one of the two, and the base "
            "itself as the model"
        )
    for name in asked:
        check_adapter_name(name)
    return tuple((name, read_adapter(locate(source, places).folder)) for name, source in asked.items())


def check_adapter_name(name: object) -> None:
    """Raise `InvalidInputError` for what can't be the name of a live adapter."""
    if not isinstance(name, str) or not name or name != name.strip() or not name.isprintable():
        raise InvalidInputError(f"adapter name {name!r} is none; give printable characters without white space around")
