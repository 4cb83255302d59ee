"""``lagotto rerank``: order the documents of a file by their relevance to a query."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from lagotto.cli import options


def rerank(
    model: options.Model,
    query: Annotated[str, typer.Option("--query", "-Q", metavar="QUERY", help="What is asked.")],
    documents: options.Input = "-",
    top_n: Annotated[int | None, typer.Option("--top-n", "-n", min=1, metavar="N", help="Show the best N.")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="The model's own scores (logits) instead of 0 to 1.")] = False,
    input_format: options.InputFormat = "auto",
    field: options.Field = "text",
    id_field: options.IdField = None,
    max_length: options.MaxLength = None,
    engine: options.Engine = None,
    device: options.Device = None,
    precision: options.Precision = None,
    threads: options.Threads = None,
    models_dir: options.ModelsDir = None,
    cache_dir: options.CacheDir = None,
    offline: options.Offline = None,
    revision: options.Revision = None,
    card: options.Card = None,
    as_json: options.AsJson = False,
) -> None:
    """Rank documents, one a line or row, best first.

    The index counts documents from 0. On a terminal texts are cut to its width; --json prints all of each, a line of
    JSON a document.
    """
    from lagotto.cli.rows import open_source
    from lagotto.cli.tables import cut, plain, table, terminal_columns
    from lagotto.models.reranker import Reranker

    rows = list(open_source(documents, input_format, field, id_field).rows())
    with Reranker(
        model,
        engine=engine or "auto",
        device=device or "auto",
        precision=precision or "auto",
        threads=threads,
        max_length=max_length,
        revision=revision,
        card=card,
        cache_dir=cache_dir,
        models_dir=models_dir,
        offline=bool(offline),
    ) as ranker:
        ranking = ranker.rank(query, [row.text for row in rows], top_n=top_n, normalize=not raw)
    if as_json:
        for rank, hit in enumerate(ranking, 1):
            fields = {"rank": rank, "score": hit.score, "index": hit.index, "id": rows[hit.index].id, "text": hit.text}
            typer.echo(json.dumps(fields, ensure_ascii=False))
        return
    lines = [(str(rank), f"{hit.score:.4f}", str(hit.index)) for rank, hit in enumerate(ranking, 1)]
    header = ("rank", "score", "index")
    taken = sum(max(len(line[i]) for line in (header, *lines)) + 2 for i in range(3))
    room = max(20, terminal_columns() - taken)
    shown = [(*line, cut(plain(hit.text), room)) for line, hit in zip(lines, ranking, strict=True)]
    typer.echo(table((*header, "text"), shown, right=(0, 1, 2)))
