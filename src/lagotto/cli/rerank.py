"""``lagotto rerank``: order the documents of a file by their relevance to a query."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lagotto.cli import llm, options
from lagotto.core.errors import ConfigError

if TYPE_CHECKING:
    from lagotto.cli.rows import Row
    from lagotto.core.values import Ranking
    from lagotto.models.ranker import Ranker


def rerank(
    query: Annotated[str, typer.Option("--query", "-Q", metavar="QUERY", help="What is asked.")],
    documents: options.Input = "-",
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="MODEL", help=f"{options.MODEL_HELP} Or --llm.")
    ] = None,
    top_n: Annotated[int | None, typer.Option("--top-n", "-n", min=1, metavar="N", help="Show the best N.")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="The model's own scores (logits) instead of 0 to 1.")] = False,
    input_format: options.InputFormat = "auto",
    field: options.Field = "text",
    id_field: options.IdField = None,
    max_length: options.MaxLength = None,
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
    adapter: options.Adapter = None,
    cutoff_layers: Annotated[
        int | None, typer.Option("--cutoff-layers", metavar="N", help="LLM rerankers: read the score after this layer.")
    ] = None,
    compress_layers: Annotated[
        str | None,
        typer.Option("--compress-layers", metavar="N,...", help="LLM rerankers: shorten passages after these layers,"),
    ] = None,
    compress_ratio: Annotated[
        int | None, typer.Option("--compress-ratio", metavar="N", help="so many tokens to one: 1, 2, 4 or 8.")
    ] = None,
    instruction: Annotated[
        str | None,
        typer.Option("--instruction", metavar="TEXT", help="LLM rerankers: the task, or a query prefix."),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option("--prompt", metavar="TEXT", help="LLM rerankers: the question about a pair, or its name."),
    ] = None,
    llm_url: llm.Url = None,
    llm_model: llm.Model = None,
    key_variable: llm.KeyVariable = None,
    key_file: llm.KeyFile = None,
    strategy: llm.Strategy = None,
    answers: llm.Answers = None,
    language: llm.Language = None,
    window: llm.Window = None,
    step: llm.Step = None,
    passes: llm.Passes = None,
    permutations: llm.Permutations = None,
    judgement: llm.Judgement = None,
    max_characters: llm.MaxCharacters = None,
    concurrency: llm.Concurrency = None,
    timeout: llm.Timeout = None,
    reasoning_model: llm.Reasoning = False,
    as_json: options.AsJson = False,
) -> None:
    """Rank documents, one a line or row, best first.

    The index counts documents from 0. On a terminal texts are cut to its width; --json prints all of each, a line of
    JSON a document. With --llm a language model is asked for the order, and what that cost is told on standard error.
    """
    from lagotto.cli.rows import open_source
    from lagotto.core.judged_values import JudgedRanking

    computing = {
        "engine": engine,
        "device": device,
        "precision": precision,
        "weights": weights,
        "threads": threads,
        "max_length": max_length,
        "revision": revision,
        "card": card,
        "adapter": adapter,
        "cache_dir": cache_dir,
        "models_dir": models_dir,
        "offline": offline,
        "cutoff_layers": cutoff_layers,
        "compress_layers": None if compress_layers is None else _numbers(compress_layers),
        "compress_ratio": compress_ratio,
        "instruction": instruction,
        "prompt": prompt,
    }
    asking = {
        "llm_model": llm_model,
        "key_variable": key_variable,
        "key_file": key_file,
        "strategy": strategy,
        "answers": answers,
        "language": language,
        "window": window,
        "step": step,
        "passes": passes,
        "permutations": permutations,
        "judgement": judgement,
        "max_characters": max_characters,
        "concurrency": concurrency,
        "timeout": timeout,
        "reasoning_model": reasoning_model or None,
    }
    _check(model, llm_url, computing, asking)
    rows = list(open_source(documents, input_format, field, id_field).rows())
    with closing(_open(model, llm_url, computing, asking)) as ranker:
        ranking = ranker.rank(query, [row.text for row in rows], top_n=top_n, normalize=not raw)
    if isinstance(ranking, JudgedRanking):
        typer.echo(str(ranking.report), err=True)
        if ranking.truncated:
            typer.echo(f"{len(ranking.truncated)} documents were cut to --max-characters", err=True)
    _show(ranking, rows, as_json)


def _check(model: str | None, llm_url: str | None, computing: Mapping[str, Any], asking: Mapping[str, Any]) -> None:
    """Raise `ConfigError` unless there is one model, of one kind, and no option of the other kind."""
    if (model is None) == (llm_url is None):
        raise ConfigError("give either --model, to compute here, or --llm and --llm-model, to ask a language model")
    others, what = (asking, "--llm") if llm_url is None else (computing, "--model")
    if lone := next((name for name, value in others.items() if value is not None), None):
        names = {"key_variable": "llm-key-variable", "key_file": "llm-key-file"}
        raise ConfigError(f"--{names.get(lone, lone).replace('_', '-')} is for {what}, which was not given")
    if llm_url is not None and asking["llm_model"] is None:
        raise ConfigError("--llm needs --llm-model, the name that the endpoint knows the model by")


def _open(model: str | None, llm_url: str | None, computing: Mapping[str, Any], asking: Mapping[str, Any]) -> Ranker:
    """Whichever reranker was named."""
    from dataclasses import fields

    from lagotto.models.judging.opening import open_llm_reranker
    from lagotto.models.reranker import Reranker
    from lagotto.models.score_options import ScoreOptions

    if llm_url is not None:
        more = dict(asking)
        return open_llm_reranker(llm_url, more.pop("llm_model"), more.pop("strategy") or "listwise", more)
    assert model is not None  # `_check` says so
    given = {name: value for name, value in computing.items() if value is not None}
    asked = {field.name: given.pop(field.name) for field in fields(ScoreOptions) if field.name in given}
    return Reranker(model, options=ScoreOptions(**asked), **given)


def _show(ranking: Ranking, rows: Sequence[Row], as_json: bool) -> None:
    from lagotto.cli.tables import cut, plain, table, terminal_columns

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


def _numbers(text: str) -> list[int]:
    """Numbers between commas. Raises `InvalidInputError` for anything else."""
    from lagotto.core.errors import InvalidInputError

    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InvalidInputError(f"--compress-layers is {text!r}; give layers as 24 or 16,24") from None
