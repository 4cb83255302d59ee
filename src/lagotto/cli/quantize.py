"""``lagotto quantize``: the int8 twin of a model, measured against it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lagotto.cli import options
from lagotto.cli.eval import MISSED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lagotto.quantization.report import QuantizationReport

_SHOWN = 5  # layers that are named one by one


def quantize(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=options.MODEL_HELP)],
    calibrate: Annotated[
        Path,
        typer.Option(
            "--calibrate",
            metavar="FILE_OR_DIR",
            help="Texts like those the model will read (jsonl, csv, tsv, parquet with text, or query and document; "
            "txt, a text a line), or a retrieval data set.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder to make.")],
    evaluate: Annotated[
        list[str] | None,
        typer.Option(
            "--eval", metavar="DATA", help="Labelled data (folder, benchmark) to measure nDCG@10 on. Repeats."
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option("--samples", metavar="N", help="Texts to calibrate on, and as many to compare by; 256."),
    ] = None,
    max_noise: Annotated[
        float | None,
        typer.Option(
            "--max-noise", metavar="X", help="Layers whose int8 output has more error than this stay as they are; 0.02."
        ),
    ] = None,
    min_cosine: Annotated[
        float | None,
        typer.Option("--min-cosine", metavar="X", help="Least mean cosine to float32 (embedders); 0.998."),
    ] = None,
    min_rank_correlation: Annotated[
        float | None,
        typer.Option(
            "--min-rank-correlation", metavar="X", help="Least rank correlation to float32 (rerankers); 0.99."
        ),
    ] = None,
    max_ndcg_loss: Annotated[
        float | None,
        typer.Option("--max-ndcg-loss", metavar="X", help="Most points of nDCG@10 lost on any --eval; 0.5."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Let the folder be used though it misses a limit; that is recorded in it.")
    ] = False,
    threads: options.Threads = None,
    models_dir: options.ModelsDir = None,
    cache_dir: options.CacheDir = None,
    offline: options.Offline = None,
    revision: options.Revision = None,
    card: options.Card = None,
    pooling: options.Pooling = None,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Make the int8 twin of a model, and measure what it keeps.

    The folder in --out is opened like any other model, on CPUs that multiply int8 in hardware (see `lagotto doctor`).
    A quality gate compares it with float32 on texts that were not calibrated on. Leaves with code 3 when a limit is
    missed and --force is not given; the folder then holds the report, and can't be opened.
    """
    from lagotto.models.loading import Options
    from lagotto.quantization.gate import Limits
    from lagotto.quantization.quantize import quantize as run

    limits = {"mean_cosine": min_cosine, "rank_correlation": min_rank_correlation, "ndcg_loss": max_ndcg_loss}
    choices: dict[str, Any] = {"samples": samples, "max_noise": max_noise}
    report = run(
        model,
        calibrate,
        out,
        evaluate_on=evaluate or (),
        limits=Limits(**{name: value for name, value in limits.items() if value is not None}),
        force=force,
        progress=not quiet,
        options=Options(
            threads=threads,
            models_dir=models_dir,
            cache_dir=cache_dir,
            offline=bool(offline),
            revision=revision,
            card=card,
            pooling=pooling,
        ),
        **{name: value for name, value in choices.items() if value is not None},
    )
    typer.echo(json.dumps(report.to_dict(), ensure_ascii=False) if as_json else _text(report))
    if not report.usable:
        typer.echo(f"{report.out} can't be opened: {report.verdict}", err=True)
        raise typer.Exit(MISSED)


def _text(report: QuantizationReport) -> str:
    from lagotto.cli.tables import table

    state = "accepted" if report.accepted else "forced, below the limits" if report.forced else "FAILED"
    return f"{table(('', 'value', 'limit'), list(_rows(report)), right=(1,))}\n\n{state}: {report.verdict}"


def _rows(report: QuantizationReport) -> Iterator[tuple[str, str, str]]:
    agreement, limits, made = report.agreement, report.limits, report.converted
    items = "texts" if agreement.cosine is not None else "pairs"
    yield f"{items} compared with float32", str(agreement.items), ""
    if agreement.cosine is not None:
        yield "mean cosine", f"{agreement.cosine['mean']:.5f}", f"at least {limits.mean_cosine:g}"
        names = {"p50": "median cosine", "p10": "10th percentile", "p1": "1st percentile", "min": "least cosine"}
        for key, name in names.items():
            yield name, f"{agreement.cosine[key]:.5f}", ""
    what = "similarities" if agreement.cosine is not None else "scores"
    yield f"correlation of {what}", f"{agreement.pearson:.5f}", ""
    least = f"at least {limits.rank_correlation:g}" if agreement.cosine is None else ""
    yield f"rank correlation of {what}", f"{agreement.spearman:.5f}", least
    for item in report.quality:
        change = f"{item.original:.4f} -> {item.int8:.4f}"
        yield f"nDCG@10 on {item.dataset}", change, f"a loss of {limits.ndcg_loss:g} points at most"
    yield "weights, MB", f"{made.bytes_before / 1e6:.1f} -> {made.bytes_after / 1e6:.1f}", ""
    yield "layers in int8", f"{len(made.layers) - len(made.kept)} of {len(made.layers)}", ""
    for layer in made.kept[:_SHOWN]:
        yield f"  kept: {layer.name}", f"{layer.noise:.4f}", "noise"
    if len(made.kept) > _SHOWN:
        yield f"  and {len(made.kept) - _SHOWN} more", "", ""
