"""``lagotto eval``: how good models and pipelines are; ``eval compare``: two runs against each other."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lagotto.cli import options
from lagotto.core.errors import ConfigError, InvalidInputError

if TYPE_CHECKING:
    from lagotto.evaluation.results import Comparison, Report

MISSED = 3
"""Exit code when a system stays below what ``--min`` asks for."""

app = typer.Typer(help="Measure models and pipelines on benchmarks or your own data.", invoke_without_command=True)


@app.callback()
def evaluate(
    context: typer.Context,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data", "-d", metavar="DATA", help="Folder, file of pairs or benchmark (beir/scifact). Repeats."
        ),
    ] = None,
    model: options.Models = None,
    reranker: Annotated[
        list[str] | None,
        typer.Option("--reranker", "-r", metavar="MODEL", help="Rerank what the others find. Repeats."),
    ] = None,
    pipeline: Annotated[
        Path | None, typer.Option("--pipeline", metavar="FILE", help="TOML file of [[system]] pipelines.")
    ] = None,
    bm25: Annotated[bool, typer.Option("--bm25", help="BM25 as a further system.")] = False,
    hybrid: Annotated[
        bool, typer.Option("--hybrid", help="Each model fused with BM25 (RRF), further systems.")
    ] = False,
    sparse: Annotated[bool, typer.Option("--sparse", help="Each model's sparse vectors, further systems.")] = False,
    multivector: Annotated[
        bool, typer.Option("--multivector", help="Each model's token vectors (ColBERT's search), further systems.")
    ] = False,
    fuse: Annotated[
        list[str] | None,
        typer.Option(
            "--fuse", metavar="WEIGHTS", help="Each model's outputs together, as dense=0.2,sparse=0.8. Repeats."
        ),
    ] = None,
    rescore: Annotated[
        list[str] | None,
        typer.Option(
            "--rescore",
            metavar="WEIGHTS",
            help="The best of these again by dense=0.15,sparse=0.5,multivector=0.35. Repeats.",
        ),
    ] = None,
    dimensions: Annotated[
        list[int] | None,
        typer.Option("--dimensions", min=1, metavar="N", help="Each model cut to N numbers too (Matryoshka). Repeats."),
    ] = None,
    quantization: Annotated[
        list[str] | None,
        typer.Option(
            "--quantization", metavar="KIND", help="Each model's vectors as f16, int8 or binary too. Repeats."
        ),
    ] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option(
            "--measure", metavar="NAME", help="ndcg@10, map, mrr@10, recall@100 ...; the first leads. Repeats."
        ),
    ] = None,
    minimum: Annotated[
        list[str] | None,
        typer.Option("--min", metavar="[DATA:]MEASURE=X", help="Exit with 3 unless every system reaches X. Repeats."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Folder for the report; finished work is kept there."),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option("--baseline", metavar="SYSTEM", help="What the others are tested against; the first.")
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", metavar="NAME", help="test, or the only one there is.")
    ] = None,
    language: Annotated[
        str, typer.Option("--language", metavar="CODE", help="BM25's language: en, zh ...; auto tells by the texts.")
    ] = "auto",
    top_k: Annotated[int, typer.Option("--top-k", min=1, metavar="K", help="Hits kept of every query.")] = 1000,
    rescore_top_k: Annotated[
        int, typer.Option("--rescore-top-k", min=1, metavar="K", help="Hits that are scored again by weights.")
    ] = 200,
    rerank_top_k: Annotated[
        int, typer.Option("--rerank-top-k", min=1, metavar="K", help="Hits that a reranker reads again.")
    ] = 100,
    ignore_identical_ids: Annotated[
        bool, typer.Option("--ignore-identical-ids", help="A document with the query's id is no hit (ArguAna, Quora).")
    ] = False,
    cache: Annotated[bool, typer.Option("--cache/--no-cache", help="Keep embeddings for later runs.")] = True,
    engine: options.Engine = None,
    device: options.Device = None,
    precision: options.Precision = None,
    weights: options.Weights = None,
    threads: options.Threads = None,
    max_length: options.MaxLength = None,
    models_dir: options.ModelsDir = None,
    cache_dir: options.CacheDir = None,
    offline: options.Offline = None,
    card: options.Card = None,
    pooling: options.Pooling = None,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Measure models and pipelines on benchmarks or your own data.

    Every model is a system; a reranker, BM25, hybrids, cut and quantised vectors make further ones. Without any, BM25.
    The report in --out (report.html opens without a connection) holds figures with 95 % intervals, tests against the
    first system, cost, and the queries on which systems differ. The same command goes on where it was interrupted.
    """
    if context.invoked_subcommand is not None:
        _refuse_options(context)
        return
    from lagotto.evaluation.evaluate import evaluate as run
    from lagotto.models.loading import Options

    goals = [_goal(text) for text in minimum or ()]
    report = run(
        data or [],
        model=model or [],
        reranker=reranker or [],
        pipeline=pipeline or (),
        bm25=bm25,
        hybrid=hybrid,
        sparse=sparse,
        multivector=multivector,
        fuse=[_weights("--fuse", text) for text in fuse or ()],
        rescore=[_weights("--rescore", text) for text in rescore or ()],
        dimensions=dimensions or (),
        quantization=quantization or (),
        measures=measure or (),
        baseline=baseline,
        split=split,
        language=language,
        top_k=top_k,
        rescore_top_k=rescore_top_k,
        rerank_top_k=rerank_top_k,
        ignore_identical_ids=ignore_identical_ids,
        out=out,
        cache=cache,
        progress=not quiet,
        options=Options(
            engine=engine or "auto",
            device=device or "auto",
            precision=precision or "auto",
            weights=weights or "full",
            threads=threads,
            max_length=max_length,
            models_dir=models_dir,
            cache_dir=cache_dir,
            offline=bool(offline),
            card=card,
            pooling=pooling,
        ),
    )
    typer.echo(json.dumps(report.to_dict(), ensure_ascii=False) if as_json else _table(report))
    if out is not None and not quiet:
        typer.echo(f"the report is in {out / 'report.html'}", err=True)
    if missed := [line for goal in goals for line in _missed(goal, report)]:
        typer.echo("\n".join(missed), err=True)
        raise typer.Exit(MISSED)


@app.command("compare")
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="TREC runs; the first is the baseline.")],
    qrels: Annotated[
        Path | None, typer.Option("--qrels", metavar="FILE", help="Judgements (TREC, BEIR, FlagEmbedding).")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", "-d", metavar="DIR", help="Data set whose judgements count.")
    ] = None,
    split: Annotated[str | None, typer.Option("--split", metavar="NAME", help="Split of --data.")] = None,
    measure: Annotated[list[str] | None, typer.Option("--measure", metavar="NAME", help="Repeats.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Compare run files: means, differences with intervals, a paired randomisation test, Holm's correction.

    The judgements of runs that lie in a report's folder are found there.
    """
    from lagotto.evaluation.comparison import compare_runs
    from lagotto.evaluation.datasets.retrieval import read_retrieval
    from lagotto.evaluation.measures import RETRIEVAL, parse_measure
    from lagotto.evaluation.runs import read_qrels, read_run

    measures = [parse_measure(name) for name in measure or RETRIEVAL]
    if answered := [item.name for item in measures if item.by_answers]:
        raise InvalidInputError(f"{answered[0]} looks into documents, which run files do not hold; ask for recall@20")
    if qrels is not None and data is not None:
        raise InvalidInputError("give --qrels or --data, not both")
    if split is not None and data is None:
        raise InvalidInputError("--split is one of --data; give --data too")
    scored = {run: read_run(path) for run, path in _run_names(runs).items()}
    if data is not None:
        found = read_retrieval(data, split)
        judged, name = {query: dict(docs) for query, docs in found.qrels.items()}, found.name
    else:
        path = qrels or _beside(runs[0])
        judged, name = read_qrels(path), path.stem
    means, comparisons = compare_runs(scored, judged, measures, name)
    if as_json:
        typer.echo(json.dumps({"means": means, "comparisons": [asdict(c) for c in comparisons]}, ensure_ascii=False))
        return
    from lagotto.cli.tables import table

    names = [item.name for item in measures]
    rows = [(run, *(f"{values[measure]:.4f}" for measure in names)) for run, values in means.items()]
    typer.echo(table(("run", *names), rows, right=range(1, len(names) + 1)))
    typer.echo("")
    typer.echo(_comparison_table(comparisons))


@app.command("benchmarks")
def benchmarks(
    fetch: Annotated[
        list[str] | None,
        typer.Option(
            "--fetch", metavar="NAME", help="Bring a benchmark to this machine and say where it lies. Repeats."
        ),
    ] = None,
    cache_dir: options.CacheDir = None,
) -> None:
    """List the named benchmarks, or fetch some; a fetched folder can be copied to a machine without a connection."""
    from lagotto.core.paths import cache_dir as cache_of
    from lagotto.evaluation.benchmarks.prepare import prepare
    from lagotto.evaluation.benchmarks.registry import all_names, expand

    if not fetch:
        typer.echo("\n".join(all_names()))
        return
    for name in fetch:
        for one in expand(name):
            folder = prepare(one, cache=cache_of(cache_dir), say=lambda line: typer.echo(line, err=True))
            typer.echo(str(folder))


def _refuse_options(context: typer.Context) -> None:
    """Raise `ConfigError` for options of `eval` itself before one of its verbs, which would not hear of them."""
    for parameter in context.command.params:
        source = context.get_parameter_source(str(parameter.name))
        if source is not None and source.name == "COMMANDLINE":
            verb = context.invoked_subcommand
            raise ConfigError(f"{parameter.opts[0]} stands before {verb}; options of eval {verb} stand behind its name")


def _goal(text: str) -> tuple[str | None, str, float]:
    """(data set or None, measure, least value) of a ``--min``."""
    from lagotto.evaluation.measures import parse_measure

    found = re.fullmatch(r"(?:(.+):)?([^:=]+)=([0-9.eE+-]+)", text.strip())
    try:
        if found is None:
            raise ValueError
        value = float(found[3])
    except ValueError:
        raise ConfigError(f"--min is {text!r}; say MEASURE=VALUE or DATA:MEASURE=VALUE, as ndcg@10=0.35") from None
    try:
        measure = parse_measure(found[2]).name
    except InvalidInputError:
        measure = found[2].strip()  # spearman, accuracy ...: what sets of pairs are measured by
    return found[1], measure, value


def _weights(option: str, text: str) -> dict[str, float]:
    """Output -> weight of its score, as in ``dense=0.2,sparse=0.8``."""
    found: dict[str, float] = {}
    for item in text.split(","):
        name, mark, number = (part.strip() for part in item.partition("="))
        try:
            if not name or not mark or name in found:
                raise ValueError
            found[name] = float(number)
        except ValueError:
            raise ConfigError(f"{option} is {text!r}; say OUTPUT=WEIGHT,..., as dense=0.2,sparse=0.8") from None
    return found


def _missed(goal: tuple[str | None, str, float], report: Report) -> list[str]:
    dataset, measure, least = goal
    cells = {key: value for key, value in report.values(measure).items() if dataset is None or key[1] == dataset}
    if not cells:
        where = "any data set" if dataset is None else repr(dataset)
        raise ConfigError(f"--min: {measure} was not measured on {where}; ask for it with --measure {measure}")
    return [
        f"{system} on {name}: {measure} is {value:.4f}, below {least:g}"
        for (system, name), value in cells.items()
        if not value >= least
    ]


def _table(report: Report) -> str:
    """Systems by data sets, the primary measure of each, with what differs from the baseline marked."""
    from lagotto.cli.tables import table

    marks = {
        (item.dataset, item.system, item.measure): "▲" if item.difference.value > 0 else "▼"
        for item in report.comparisons
        if item.significant
    }
    rows = []
    for result in report.results:
        for number, (name, value) in enumerate(result.metrics.items()):
            rows.append(
                (
                    result.dataset if not number else "",
                    result.system if not number else "",
                    name,
                    f"{value.value:.4f}",
                    f"{value.low:.4f} to {value.high:.4f}",
                    marks.get((result.dataset, result.system, name), ""),
                )
            )
    return table(("data", "system", "measure", "value", "95 % interval", ""), rows, right=(3,))


def _comparison_table(comparisons: tuple[Comparison, ...]) -> str:
    from lagotto.cli.tables import table

    rows = [
        (
            item.system,
            item.measure,
            f"{item.difference.value:+.4f}",
            f"{item.difference.low:+.4f} to {item.difference.high:+.4f}",
            f"{item.p_value:.4f}",
            f"{item.p_holm:.4f}",
            f"{item.wins}/{item.ties}/{item.losses}",
        )
        for item in comparisons
    ]
    header = ("run", "measure", "difference", "95 % interval", "p", "p (Holm)", "wins/ties/losses")
    return table(header, rows, right=(2, 4, 5))


def _beside(run: Path) -> Path:
    """The judgements of a run in a report's folder: ``runs/DATA/x.trec`` -> ``qrels/DATA.qrels``."""
    found = run.resolve().parent.parent.parent / "qrels" / f"{run.resolve().parent.name}.qrels"
    if not found.is_file():
        raise InvalidInputError(f"no judgements are known for {run}; name them with --qrels FILE or --data DIR")
    return found


def _run_names(paths: list[Path]) -> dict[str, Path]:
    """Runs by file name, by the whole path where two are alike."""
    stems = [path.stem for path in paths]
    named = {path.stem if stems.count(path.stem) == 1 else str(path): path for path in paths}
    if len({path.resolve() for path in paths}) < len(paths):
        raise InvalidInputError("a run was named twice; a comparison needs different runs")
    return named
