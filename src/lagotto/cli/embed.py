"""``lagotto embed``: a file of texts to a file of vectors."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lagotto.cli import options
from lagotto.core.errors import InvalidInputError

if TYPE_CHECKING:
    from lagotto.batch.long_texts import LongTexts
    from lagotto.cli.resume import Work
    from lagotto.cli.rows import Row, Source
    from lagotto.core.values import Embeddings

Role = Literal["text", "query", "document"]


def embed(
    model: options.Model,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT", help="File to write: .npy, .npz, .parquet or .jsonl.")
    ],
    input: options.Input = "-",
    input_format: options.InputFormat = "auto",
    field: options.Field = "text",
    id_field: options.IdField = None,
    role: Annotated[
        Role, typer.Option("--as", help="text: as it stands; query, document: written as the model's card says.")
    ] = "text",
    prompt: Annotated[str | None, typer.Option("--prompt", help="Put before every text as it stands.")] = None,
    instruction: Annotated[
        str | None, typer.Option("--instruction", help="Put in by the template of the model's card.")
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", metavar="NAME", help="A task that the model's card names.")
    ] = None,
    examples: Annotated[
        Path | None,
        typer.Option(
            "--examples", metavar="FILE", help="JSON of worked examples (query, response, instruct) for --as query."
        ),
    ] = None,
    outputs: Annotated[
        list[str] | None,
        typer.Option(
            "--outputs",
            metavar="KIND",
            help="dense, sparse or multivector; may be given several times. Default: what the model gives.",
        ),
    ] = None,
    dimensions: Annotated[
        int | None, typer.Option("--dimensions", min=1, metavar="N", help="Keep the first N numbers of each vector.")
    ] = None,
    normalize: Annotated[
        bool | None, typer.Option("--normalize/--no-normalize", help="Unit length, or not; default: the model's habit.")
    ] = None,
    max_length: options.MaxLength = None,
    truncation: Annotated[
        Literal["right", "left", "error", "windows"],
        typer.Option("--truncation", help="What happens to a longer text; windows: it is read whole, part by part."),
    ] = "right",
    window: Annotated[
        int | None,
        typer.Option("--window", min=1, metavar="N", help="Tokens of a window; default: those of --max-length."),
    ] = None,
    overlap: Annotated[
        int | None, typer.Option("--overlap", min=0, metavar="N", help="Tokens that windows share; default: 64.")
    ] = None,
    combine: Annotated[
        Literal["mean", "max"] | None, typer.Option("--combine", help="How windows become one; default: mean.")
    ] = None,
    engine: options.Engine = None,
    device: options.Device = None,
    precision: options.Precision = None,
    weights: options.Weights = None,
    threads: options.Threads = None,
    models_dir: options.ModelsDir = None,
    cache_dir: options.CacheDir = None,
    offline: options.Offline = None,
    revision: options.Revision = None,
    card: options.Card = None,
    pooling: options.Pooling = None,
    adapter: options.Adapter = None,
    compat: options.Compat = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Throw away what an unfinished run left in OUT.partial.")
    ] = False,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Turn a file of texts into a file of vectors.

    Reads txt, jsonl, csv or parquet of any size, writes npy, npz, parquet or jsonl (sparse weights and token vectors:
    npz or jsonl).

    Finished parts are kept in OUT.partial: after an interruption, a crash or a kill the same command goes on where it
    stopped, and the output has the same bytes as if nothing had happened. Standard input can't be resumed.
    """
    from lagotto import __version__
    from lagotto.cli.outputs import check_holds, writer_for
    from lagotto.cli.resume import Work
    from lagotto.cli.rows import open_source
    from lagotto.models.embedder import Embedder
    from lagotto.models.examples import read_examples_file

    long = _long_texts(truncation, {"size": window, "overlap": overlap, "combine": combine})
    source = open_source(input, input_format, field, id_field)
    writer = writer_for(output)
    identity = source.identity()
    if identity is not None and output.exists() and os.path.samefile(input, output):
        raise InvalidInputError(f"{output} is the input; write to another file")
    with Embedder(
        model,
        engine=engine or "auto",
        device=device or "auto",
        precision=precision or "auto",
        weights=weights or "full",
        threads=threads,
        max_length=max_length,
        truncation=long,
        revision=revision,
        card=card,
        pooling=pooling,
        adapter=adapter,
        compat=compat,
        cache_dir=cache_dir,
        models_dir=models_dir,
        offline=bool(offline),
    ) as embedder:
        choices: dict[str, Any] = {
            "prompt": prompt,
            "instruction": instruction,
            "task": task,
            "examples": None if examples is None else [asdict(one) for one in read_examples_file(examples)],
            "dimensions": dimensions,
            "normalize": normalize,
            "outputs": outputs or None,
        }
        sides = {"query": embedder.encode_queries, "document": embedder.encode_documents}
        nothing = sides.get(role, embedder.encode)([], **choices)
        written = check_holds(output, writer, nothing)
        width = nothing.dense.shape[1]
        job = {
            "lagotto": __version__,
            "model": embedder.fingerprint,
            "input": identity,
            "read": [source.format, field, id_field],
            "write": output.suffix.lower(),
            "as": role,
            **choices,
            "outputs": written,
            "max_length": embedder.max_length,
            "truncation": str(long),
        }
        with Work(output, job, writer, resumable=identity is not None, restart=restart) as work:
            before, started = work.rows, time.perf_counter()
            with closing(source.rows()) as rows, _bar(source, before, quiet) as done, _goes_on(work, identity):
                _compute(work, rows, lambda texts: embedder.stream(texts, role=role, **choices, progress=done))
            if source.identity() != identity:
                raise InvalidInputError(f"{input} was changed while it was read; run again with --restart")
            if not work.rows:
                work.add([], nothing)
            work.finish(width)
            summary = {
                "output": str(output),
                "model": embedder.name,
                "fingerprint": embedder.fingerprint,
                "outputs": written,
                "dimension": width or None,
                **_numbers(work, before, time.perf_counter() - started),
            }
    if as_json:
        typer.echo(json.dumps(summary, ensure_ascii=False))
    elif not quiet:
        typer.echo(_line(summary), err=True)


def _long_texts(truncation: Literal["right", "left", "error", "windows"], windows: dict[str, Any]) -> LongTexts:
    from lagotto.batch.long_texts import Windows

    given = {name: value for name, value in windows.items() if value is not None}
    if truncation == "windows":
        return Windows(**given)
    if given:
        raise InvalidInputError("--window, --overlap and --combine are for windows; add --truncation windows")
    return truncation


def _compute(work: Work, rows: Iterator[Row], vectors: Callable[[Iterator[str]], Iterator[Embeddings]]) -> None:
    """Skip what is finished, compute the rest, add it part by part.

    Parts are the chunks of `Embedder.stream`. Each of them begins a new chunk, so a run that goes on behind a finished
    part cuts the rest of the input exactly as a run without interruption would.
    """
    for _ in islice(rows, work.rows):
        pass
    waiting: deque[int | str] = deque()  # ids of texts that are read and not yet computed

    def texts() -> Iterator[str]:
        for row in rows:
            waiting.append(row.id)
            yield row.text

    for part in vectors(texts()):
        work.add([waiting.popleft() for _ in range(len(part))], part)


@contextmanager
def _bar(source: Source, done: int, quiet: bool) -> Iterator[Callable[[int], None] | bool]:
    """A progress bar on a terminal; nothing in a log file."""
    if quiet or not _on_terminal():
        yield False
        return
    from tqdm import tqdm

    with tqdm(total=source.estimate(), initial=done, unit="text", file=sys.stderr) as bar:

        def advance(texts: int) -> None:
            bar.update(texts)

        yield advance


def _on_terminal() -> bool:
    return sys.stderr.isatty()


@contextmanager
def _goes_on(work: Work, identity: object) -> Iterator[None]:
    """Tell who interrupts what is kept."""
    try:
        yield
    except KeyboardInterrupt:
        if identity is not None:
            typer.echo(f"{work.rows} texts are kept in {work.folder}; the same command goes on from there", err=True)
        raise


def _numbers(work: Work, before: int, seconds: float) -> dict[str, int | float]:
    computed = work.rows - before
    return {
        "texts": work.rows,
        "resumed": before,
        "tokens": work.tokens,
        "truncated": work.truncated,
        "seconds": round(seconds, 3),
        "texts_per_second": round(computed / seconds, 1) if seconds else 0.0,
    }


def _line(summary: dict[str, Any]) -> str:
    resumed = f", {summary['resumed']} of them before" if summary["resumed"] else ""
    return (
        f"{summary['output']}: {summary['texts']} texts{resumed}, {summary['tokens']} tokens, "
        f"{summary['truncated']} truncated, {summary['texts_per_second']} texts/s"
    )
