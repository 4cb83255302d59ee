"""The ``lagotto`` command: its verbs, and how errors leave it.

Verb modules import the library inside their functions, so that ``lagotto --help`` answers at once.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lagotto.cli import demo, doctor, embed, eval, keys, models, quantize, rerank, serve
from lagotto.core.errors import LagottoError

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it: 128 + SIGINT."""


class Verbs(TyperGroup):
    """The top of the command: turns expected errors into one line on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run a verb; `ctx` is Typer's own context, which it does not export under a lasting name."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo("lagotto: interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            # The reader left (`lagotto models list | head`); Python must not fail again when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except (LagottoError, OSError) as error:
            _complain(_message(error), debug=bool(ctx.params.get("debug")))
            raise typer.Exit(1) from None


app = typer.Typer(
    name="lagotto",
    cls=Verbs,
    help="Embed, rerank and serve retrieval models on your own machine.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from lagotto import __version__

        typer.echo(f"lagotto {__version__}")
        raise typer.Exit


@app.callback()
def _globals(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Options that stand before the verb; `Verbs.invoke` and the callback read them."""


app.command("demo")(demo.demo)
app.command("embed")(embed.embed)
app.command("rerank")(rerank.rerank)
app.command("serve")(serve.serve)
app.add_typer(models.app, name="models")
app.add_typer(keys.app, name="keys")
app.add_typer(eval.app, name="eval")
app.command("quantize")(quantize.quantize)
app.command("doctor")(doctor.doctor)


def main() -> None:
    """Run the command and leave the process with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal of another encoding still shows the rest
    try:
        app(prog_name="lagotto")
    except Exception as error:
        debug = "--debug" in sys.argv
        hint = "" if debug else " (this is a bug in lagotto; `lagotto --debug ...` shows where)"
        _complain(f"{type(error).__name__}: {_one_line(str(error))}{hint}", debug=debug)
        sys.exit(1)


def _complain(message: str, *, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    typer.echo(f"lagotto: error: {message}", err=True)


def _message(error: BaseException) -> str:
    """One line for an expected error; an OSError names its file."""
    if isinstance(error, OSError) and error.filename is not None:
        return _one_line(f"{os.fsdecode(error.filename)}: {error.strerror or type(error).__name__}")
    return _one_line(str(error)) or type(error).__name__


def _one_line(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    main()
