"""``lagotto models``: which models there are, what is known of one, fetch one, check one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lagotto.cli import options
from lagotto.core.errors import ModelNotFoundError

if TYPE_CHECKING:
    from lagotto.cards.schema import ModelCard, Task

app = typer.Typer(help="List, show, fetch and check models.", no_args_is_help=True, rich_markup_mode=None)

_RUNS = {"openvino": "yes", "torch": "with torch", None: "later"}

Name = Annotated[str, typer.Argument(metavar="MODEL", help=options.MODEL_HELP)]


@app.command("list")
def list_models(
    runs: Annotated[bool, typer.Option("--runs", help="Only those that this version runs.")] = False,
    task: Annotated[str | None, typer.Option("--task", metavar="TASK", help="embed or rerank.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """List the models known by name, starter models included."""
    from lagotto.cli.tables import table

    if task not in (None, "embed", "rerank"):
        raise typer.BadParameter(f"{task!r} is not a task; choose embed or rerank", param_hint="--task")
    found = [model for model in _known() if task in (None, model["task"]) and (model["runs"] or not runs)]
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False, indent=2))
        return
    header = ("model", "task", "runs", "dimension", "tokens", "languages", "licence")
    rows = [
        (
            str(model["name"]),
            str(model["task"]),
            _RUNS[model["engine"]],
            str(model["dimension"] or "-"),
            str(model["max_length"]),
            _languages(model["languages"]),
            str(model["licence"] or "-"),
        )
        for model in found
    ]
    typer.echo(table(header, rows, right=(3, 4)))


@app.command("show")
def show(name: Name, as_json: options.AsJson = False) -> None:
    """Show what is known of one model, without fetching it."""
    facts = _facts(name)
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False, indent=2))
        return
    columns = max(len(key) for key in facts)
    for key, value in facts.items():
        if value not in (None, "", [], {}):
            typer.echo(f"{key:<{columns}}  {_shown(value)}")


@app.command("pull")
def pull(
    name: Name,
    revision: options.Revision = None,
    hub: options.Hub = None,
    models_dir: options.ModelsDir = None,
    cache_dir: options.CacheDir = None,
    offline: options.Offline = None,
    as_json: options.AsJson = False,
) -> None:
    """Fetch or convert a model if need be, and print its folder."""
    from lagotto.cards.checkpoint import runs
    from lagotto.cards.registry import find_card
    from lagotto.models.loading import resolve

    card = find_card(name.partition("@")[0])
    if card is not None and not runs(card):
        typer.echo(f"note: {card.name} is listed but not run by this version", err=True)
    folder = resolve(
        name,
        revision=revision,
        hub=hub,
        models_dir=models_dir,
        cache_dir=cache_dir,
        offline=bool(offline),
        say=lambda message: typer.echo(message, err=True),
    ).resolve()
    typer.echo(json.dumps({"model": name, "folder": str(folder)}) if as_json else str(folder))


@app.command("verify")
def verify(
    name: Name,
    engine: options.Engine = None,
    device: options.Device = None,
    precision: options.Precision = None,
    threads: options.Threads = None,
    models_dir: options.ModelsDir = None,
    cache_dir: options.CacheDir = None,
    offline: options.Offline = None,
    revision: options.Revision = None,
    card: options.Card = None,
    pooling: options.Pooling = None,
    as_json: options.AsJson = False,
) -> None:
    """Check a model's files and what it computes.

    Looks whether files can be read, all numbers are finite, card and files agree, a starter model is as it was
    converted, and vectors (or scores) are the same alone, in a batch and in float32. Leaves
    with code 1 if any check failed.
    """
    from lagotto.cli.verify import checks
    from lagotto.models.loading import Options

    chosen = Options(
        engine=engine or "auto",
        device=device or "auto",
        precision=precision or "auto",
        threads=threads,
        models_dir=models_dir,
        cache_dir=cache_dir,
        offline=bool(offline),
        revision=revision,
        card=card,
        pooling=pooling,
    )
    done = []
    for check in checks(name, chosen):
        done.append(check)
        if not as_json:
            typer.echo(f"{'ok    ' if check.ok else 'FAILED'}  {check.name:<10}  {check.detail}")
    ok = all(check.ok for check in done)
    if as_json:
        found = {"model": name, "ok": ok, "checks": [asdict(check) for check in done]}
        typer.echo(json.dumps(found, ensure_ascii=False))
    if not ok:
        raise typer.Exit(1)


def _known() -> list[dict[str, Any]]:
    from lagotto.cards.registry import load_cards
    from lagotto.cards.starter_models import STARTERS

    found = [_card_facts(card) for card in load_cards().values()]
    for starter in STARTERS.values():
        card = starter.model_card()
        if card is not None:
            found.append(_card_facts(card) | {"name": f"starter:{starter.name}", "note": starter.note})
    return found


def _facts(name: str) -> dict[str, Any]:
    from lagotto.cards.registry import find_card, suggest
    from lagotto.cards.starter import is_installed
    from lagotto.cards.starter_models import STARTERS

    starter = STARTERS.get(name.removeprefix("starter:")) if name.startswith("starter:") else None
    card = starter.model_card() if starter else find_card(name.partition("@")[0])
    if card is None and not starter and Path(name).expanduser().is_dir():
        return _folder_facts(name)
    if card is None:
        close = suggest(name)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise ModelNotFoundError(f"{name!r} is no listed model, no starter model and no folder here{hint}")
    facts = _card_facts(card)
    if starter:
        facts |= {
            "name": f"starter:{starter.name}",
            "source": starter.card,
            "package": starter.requirement,
            "installed": is_installed(starter),
            "size_mb": starter.size_mb,
            "note": starter.note,
        }
    return facts


def _folder_facts(name: str) -> dict[str, Any]:
    from lagotto.cards.checkpoint import open_checkpoint
    from lagotto.cards.folder import read_folder
    from lagotto.cards.sources import Source

    folder = Path(name).expanduser()
    task: Task = "rerank" if read_folder(folder).reranker else "embed"
    checkpoint = open_checkpoint(Source(name, folder, row=None), task)
    facts = _card_facts(checkpoint.card) | {"folder": str(folder.resolve()), "max_length": checkpoint.max_length}
    return facts if checkpoint.quantized is None else facts | {"int8": asdict(checkpoint.quantized)}


def _card_facts(card: ModelCard) -> dict[str, Any]:
    """A card as JSON has it, whether it runs, and on which engine."""
    from lagotto.cards.checkpoint import runs_on

    facts = {name: getattr(card, name) for name in card.__dataclass_fields__}
    facts |= {"query": asdict(card.query), "document": asdict(card.document)}
    plain = {key: dict(value) if isinstance(value, Mapping) else value for key, value in facts.items()}
    return {"name": plain.pop("name"), "runs": runs_on(card) is not None, "engine": runs_on(card), **plain}


def _languages(codes: tuple[str, ...]) -> str:
    return ", ".join(codes[:3]) + (f" and {len(codes) - 3} more" if len(codes) > 3 else "") or "-"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value))
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)
