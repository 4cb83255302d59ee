"""``lagotto keys``: API keys for the server."""

from __future__ import annotations

import json
from typing import Annotated

import typer

app = typer.Typer(help="Make API keys for lagotto serve.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep ``create`` a verb of its own, though it is the only one."""


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the log will call the key.")],
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", metavar="SCOPE", help="embed, rerank, admin or metrics; may be given several times."),
    ] = None,
    requests_per_minute: Annotated[int | None, typer.Option("--requests-per-minute", min=1, metavar="N")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option("--tokens-per-minute", min=1, metavar="N")] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="DATE", help="Refused from this day or time on, e.g. 2027-01-31.")
    ] = None,
    priority: Annotated[
        str | None, typer.Option("--priority", metavar="P", help="interactive or bulk; default: by a request's size.")
    ] = None,
) -> None:
    """Print a fresh key, once, and the [[key]] table to paste into the settings file, which holds only its digest."""
    from pydantic import ValidationError

    from lagotto.core.errors import ConfigError
    from lagotto.server.key_settings import KeySettings, digest_of, new_key

    key = new_key()
    given = {
        "name": name,
        "hash": digest_of(key),
        "scopes": scope,
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "expires": expires,
        "priority": priority,
    }
    try:
        table = KeySettings.model_validate({field: value for field, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{first['loc'][0]}: {first['msg']} (came: {first['input']!r})") from None
    typer.echo("# The key. It is shown this once; give it to its user, and keep it nowhere.", err=True)
    typer.echo(key)
    typer.echo("# The table for the settings file:", err=True)
    lines = [
        f"{field} = {_value(field, value)}" for field, value in table.model_dump(mode="json", exclude_none=True).items()
    ]
    typer.echo("\n".join(["[[key]]", *lines]))


def _value(field: str, value: object) -> str:
    """JSON's strings, numbers and lists of them are TOML's too; a time stands without quotation marks."""
    return str(value) if field == "expires" else json.dumps(value)
