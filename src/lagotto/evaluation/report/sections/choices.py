"""Tables of which one is read at a time: folds for everyone, and a chooser where the page's script runs."""

from __future__ import annotations

from collections.abc import Sequence

from lagotto.evaluation.report.markup import Html, both, element, fold, option, say
from lagotto.evaluation.report.words import Words


def choices(name: str, tables: Sequence[tuple[Words, Html]]) -> Html:
    """Labelled tables, the first open. ``name`` is the chooser's, and is kept in the page's address."""
    if len(tables) == 1:
        return tables[0][1]
    options = [option(label, str(place)) for place, (label, _) in enumerate(tables)]
    chooser = element(
        "p",
        element("label", say("choose.measure"), for_=f"choose-{name}"),
        element("select", *options, id=f"choose-{name}"),
        class_="chooser",
        hidden=True,
    )
    folds = [fold(both(label), content, open=place == 0) for place, (label, content) in enumerate(tables)]
    return element("div", chooser, *folds, class_="choices", data_name=name)
