"""The loaders by the names that ``benchmarks.toml`` calls them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lagotto.evaluation.benchmarks.from_air_bench import open_air_bench
from lagotto.evaluation.benchmarks.from_bright import open_bright
from lagotto.evaluation.benchmarks.from_ir_datasets import open_ir_datasets
from lagotto.evaluation.benchmarks.from_mkqa import open_mkqa
from lagotto.evaluation.benchmarks.from_mldr import open_mldr
from lagotto.evaluation.benchmarks.registry import Benchmark
from lagotto.evaluation.benchmarks.sources import Source

LOADERS: Mapping[str, Callable[[Benchmark, bool], Source]] = {
    "air_bench": open_air_bench,
    "bright": open_bright,
    "ir_datasets": open_ir_datasets,
    "mkqa": open_mkqa,
    "mldr": open_mldr,
}


def open_source(benchmark: Benchmark, offline: bool) -> Source:
    """A benchmark's source; raises `UnreachableError` where it is not here and can't be fetched."""
    return LOADERS[benchmark.loader](benchmark, offline)
