"""`evaluate`: systems on data sets, measured, compared and written down."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from lagotto import __version__
from lagotto.core.errors import InvalidInputError
from lagotto.core.hardware import available_cpus, cpu_name
from lagotto.core.paths import cache_dir
from lagotto.evaluation.comparison import compare_systems
from lagotto.evaluation.datasets.open import Data, MtebTask, open_data
from lagotto.evaluation.datasets.pairs import PairData
from lagotto.evaluation.datasets.retrieval import RetrievalData
from lagotto.evaluation.examples import examples
from lagotto.evaluation.measures import RETRIEVAL, Measure, measuring_library, parse_measure
from lagotto.evaluation.output import Output, cell_key, check_files
from lagotto.evaluation.pair_tasks import applies, evaluate_pairs
from lagotto.evaluation.pipeline import RERANK_TOP_K, RESCORE_TOP_K, TOP_K, Bm25Leg, DenseLeg, LLMRerank, Rerank, System
from lagotto.evaluation.pipeline_file import read_pipelines
from lagotto.evaluation.progress import Silence, Terminal, Watcher
from lagotto.evaluation.results import DatasetInfo, Example, Report, Result, SystemInfo
from lagotto.evaluation.retrieval import evaluate_retrieval
from lagotto.evaluation.statistics import Means, Sample
from lagotto.evaluation.store import VectorStore
from lagotto.evaluation.systems import Weights, build_systems
from lagotto.evaluation.workbench import Workbench
from lagotto.models.loading import Options

ANSWERS = ("answer_recall@20", "answer_recall@100")
"""What a set without judgements but with answers is measured by."""

Names = str | Path | Sequence[str | Path]


def evaluate(
    data: str | Path | Data | Sequence[str | Path | Data],
    *,
    model: Names = (),
    reranker: Names = (),
    bm25: bool = False,
    hybrid: bool = False,
    sparse: bool = False,
    multivector: bool = False,
    fuse: Sequence[Weights] = (),
    rescore: Sequence[Weights] = (),
    pipeline: str | Path | Sequence[System] = (),
    dimensions: Sequence[int] = (),
    quantization: Sequence[str] = (),
    measures: Sequence[str] = (),
    baseline: str | None = None,
    split: str | None = None,
    language: str = "auto",
    top_k: int = TOP_K,
    rescore_top_k: int = RESCORE_TOP_K,
    rerank_top_k: int = RERANK_TOP_K,
    ignore_identical_ids: bool = False,
    out: str | Path | None = None,
    cache: bool = True,
    progress: bool = False,
    options: Options | None = None,
) -> Report:
    """How good models and pipelines are on data sets, against each other.

    - ``data``: folders, files of pairs, benchmark names (`lagotto.evaluation.datasets.open.open_data`), or data in
      memory. ``split`` and ``ignore_identical_ids`` are for retrieval folders.
    - Systems are those of ``pipeline`` (a TOML file, or `System` values), then those that ``model``, ``reranker``,
      ``bm25``, ``hybrid``, ``sparse``, ``multivector``, ``fuse``, ``rescore``, ``dimensions`` and ``quantization``
      stand for (`build_systems`). Without any, BM25.
    - ``measures`` by their usual names (``ndcg@10``, ``map``); the benchmark's own, or the usual ones, by default.
      The first is the primary one. ``baseline`` names the system that others are compared with, the first by default.
    - ``out``: a folder for report.html, report.md, report.json, runs and qrels; what is finished there is not computed
      again. ``cache=False`` keeps no embeddings beyond this call. ``options`` says how models are found and run.

    Returns a `Report` of plain values. Raises `InvalidInputError` and `ConfigError` before work starts wherever
    possible, and what opening models raises.

    >>> report = evaluate("./my-data", model="BAAI/bge-base-en-v1.5")                      # doctest: +SKIP
    >>> report.result("bge-base-en-v1.5", "my-data").metrics["ndcg@10"].value              # doctest: +SKIP
    0.41
    """
    measuring_library()  # says now that it is missing, and not after the models have worked
    chosen = options or Options()
    watcher: Watcher = Terminal() if progress else Silence()
    asked = tuple(parse_measure(name) for name in measures)
    systems = _systems(
        pipeline,
        models=_names(model),
        rerankers=_names(reranker),
        bm25=bm25,
        hybrid=hybrid,
        sparse=sparse,
        multivector=multivector,
        fuse=fuse,
        rescore=rescore,
        dimensions=dimensions,
        quantization=quantization,
        language=language,
        top_k=top_k,
        rescore_top_k=rescore_top_k,
        rerank_top_k=rerank_top_k,
    )
    systems = _baseline_first(systems, baseline)
    sets = open_data(
        [data] if isinstance(data, str | Path | Data) else data,
        split=split,
        cache=chosen.cache_dir,
        offline=chosen.offline,
        ignore_identical_ids=ignore_identical_ids,
        say=watcher.say,
    )
    _check_applicable(systems, sets)
    if out is not None:
        check_files([system.name for system in systems], [data.name for data in sets])
    with ExitStack() as stack:
        output = stack.enter_context(Output(Path(out))) if out is not None else None
        folder = cache_dir(chosen.cache_dir) / "vectors"
        if not cache:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="lagotto-vectors-")))
        legs = Counter(leg for system in systems for leg in system.legs)
        shared = frozenset(leg for leg, count in legs.items() if count > 1)
        planned = frozenset(leg for leg in legs if not isinstance(leg, Bm25Leg))
        bench = Workbench(VectorStore(folder), chosen, watcher, shared, planned)
        stack.callback(bench.close)
        report = _Evaluation(bench, systems, sets, asked, output).run()
        if output is not None:
            output.write(report)
    return report


class _Evaluation:
    """One call of `evaluate`: cells, then what is said over all of them."""

    def __init__(
        self,
        bench: Workbench,
        systems: Sequence[System],
        sets: Sequence[Data],
        measures: Sequence[Measure],
        output: Output | None,
    ) -> None:
        self._bench, self._systems, self._sets = bench, systems, sets
        self._asked, self._output = measures, output
        self._measures = {data.name: _measures(measures, data) for data in sets if isinstance(data, RetrievalData)}
        self._results: dict[tuple[str, str], Result] = {}
        self._samples: dict[tuple[str, str], dict[str, Sample]] = {}
        self._models: dict[str, dict[str, str]] = {}

    def run(self) -> Report:
        """Every cell, system by system, so that only the models in use are in memory."""
        for number, system in enumerate(self._systems):
            self._bench.keep_only(self._systems[number:])
            self._models[system.name] = self._bench.fingerprints(system)
            for data in self._sets:
                self._cell(system, data)
        infos = tuple(_info(data) for data in self._sets)
        names = [system.name for system in self._systems]
        return Report(
            systems=tuple(SystemInfo(s.name, s.describe(), self._models[s.name]) for s in self._systems),
            datasets=infos,
            results=tuple(
                self._results[name, info.name] for info in infos for name in names if (name, info.name) in self._results
            ),
            comparisons=compare_systems(names[0], names, infos, self._samples),
            examples=self._examples(),
            environment=_environment(self._bench.options),
        )

    def _cell(self, system: System, data: Data) -> None:
        if isinstance(data, RetrievalData):
            if not system.legs:
                return
            result = self._retrieval(system, data)
            self._samples[system.name, data.name] = {
                name: Means(np.array(list(values.values()))) for name, values in result.per_query.items()
            }
        elif isinstance(data, PairData):
            if not applies(system, data):
                return
            result, samples = evaluate_pairs(self._bench, system, data, [m for m in self._asked if not m.by_answers])
            self._samples[system.name, data.name] = dict(samples)
        else:
            found = self._mteb(system, data)
            if found is None:
                return
            result = found
        self._results[system.name, data.name] = result
        name, value = next(iter(result.metrics.items()))
        self._bench.watcher.say(
            f"{data.name}: {system.name}: {name} {value.value:.4f} ({value.low:.4f} to {value.high:.4f})"
        )

    def _retrieval(self, system: System, data: RetrievalData) -> Result:
        measures = self._measures[data.name]
        if self._output is None:
            return evaluate_retrieval(self._bench, system, data, measures)
        names = [measure.name for measure in measures]
        key = cell_key(system, self._models[system.name], self._bench.options, data, names)
        result = self._output.finished(key, system.name, data)
        if result is None:
            result = evaluate_retrieval(self._bench, system, data, measures)
            self._output.keep(key, result, data)
        return result

    def _mteb(self, system: System, data: MtebTask) -> Result | None:
        from lagotto.evaluation.mteb.run import run_task

        part = _for_mteb(system)
        if part is None:
            return None
        folder = self._output.folder / "mteb" if self._output else None
        if isinstance(part, DenseLeg):
            result = run_task(data.name, self._bench.embedder(part), folder=folder, dimensions=part.dimensions)
        else:
            result = run_task(data.name, self._bench.reranker(part), folder=folder)
        return replace(result, system=system.name)

    def _examples(self) -> dict[str, tuple[Example, ...]]:
        found = {}
        for data in self._sets:
            if isinstance(data, RetrievalData):
                results = [self._results.get((system.name, data.name)) for system in self._systems]
                if shown := examples(data, [result for result in results if result is not None]):
                    found[data.name] = shown
        return found


_FOR_MODELS = ("dimensions", "quantization", "sparse", "multivector", "fuse", "rescore")
_HOW = {"language": "auto", "top_k": TOP_K, "rescore_top_k": RESCORE_TOP_K, "rerank_top_k": RERANK_TOP_K}


def _systems(pipeline: str | Path | Sequence[System], **asked: Any) -> tuple[System, ...]:
    """The systems of a pipeline, then those of `build_systems`, whose arguments ``asked`` are."""
    if not asked["models"] and (lone := [name for name in _FOR_MODELS if asked[name]]):
        raise InvalidInputError(f"{lone[0]} is for a model's vectors; name a model too")
    told = read_pipelines(Path(pipeline)) if isinstance(pipeline, str | Path) else tuple(pipeline)
    built: tuple[System, ...] = ()
    if any(asked[name] for name in ("models", "rerankers", "bm25", "hybrid")) or not told:
        built = build_systems(**asked)
    elif any(asked[name] != usual for name, usual in _HOW.items()):
        raise InvalidInputError(f"{', '.join(_HOW)} are for systems made from models; a pipeline file says its own")
    systems = (*told, *built)
    names = [system.name for system in systems]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InvalidInputError(f"two systems are called {twice!r}; give one another name")
    return systems


def _baseline_first(systems: tuple[System, ...], baseline: str | None) -> tuple[System, ...]:
    if baseline is None:
        return systems
    if baseline not in (names := [system.name for system in systems]):
        raise InvalidInputError(f"baseline {baseline!r} is none of the systems: {', '.join(map(repr, names))}")
    return tuple(sorted(systems, key=lambda system: system.name != baseline))


def _check_applicable(systems: Sequence[System], sets: Sequence[Data]) -> None:
    for data in sets:
        _check_whole(data)
        if isinstance(data, RetrievalData):
            fits = any(system.legs for system in systems)
        elif isinstance(data, PairData):
            fits = any(applies(system, data) for system in systems)
        else:
            fits = any(_for_mteb(system) is not None for system in systems)
        if not fits:
            names = ", ".join(repr(system.name) for system in systems)
            raise InvalidInputError(
                f"none of the systems ({names}) can do {data.name!r}; "
                "retrieval needs something that retrieves, sets of pairs need an embedder's dense vectors alone"
            )


def _measures(asked: Sequence[Measure], data: RetrievalData) -> Sequence[Measure]:
    """What a retrieval set is measured by: what was asked for, as far as it can be had; else its own, or the usual."""
    if not asked:
        return [parse_measure(name) for name in data.measures or (RETRIEVAL if data.qrels else ANSWERS)]
    wanted = [measure for measure in asked if (data.answers if measure.by_answers else data.qrels)]
    if not wanted:
        names = ", ".join(measure.name for measure in asked)
        has = "judgements, so ask for ndcg@10" if data.qrels else f"answers, so ask for {ANSWERS[0]}"
        raise InvalidInputError(f"{names} can't be measured on {data.name!r}: it has only {has}, say")
    return wanted


def _check_whole(data: Data) -> None:
    """Raise `InvalidInputError` for data in memory that nothing can be measured on; files were checked when read."""
    if isinstance(data, RetrievalData):
        judged = sum(1 for query in data.queries if query in data.qrels or query in data.answers)
        if not len(data.corpus) or not judged:
            raise InvalidInputError(
                f"{data.name!r} has {len(data.corpus)} documents and {judged} queries with judgements or answers; "
                "there must be some of both"
            )
    elif isinstance(data, PairData):
        sizes = len(data.left), len(data.right), len(data.left if data.kind == "bitext" else data.gold)
        if not len(data) or len(set(sizes)) > 1:
            raise InvalidInputError(
                f"{data.name!r} has {sizes[0]} left texts, {sizes[1]} right ones, {sizes[2]} values"
            )
        if data.kind == "pair_classification" and set(data.gold) != {0.0, 1.0}:
            raise InvalidInputError(f"{data.name!r}: labels must be 1 (same) and 0, and both must be there")


def _for_mteb(system: System) -> DenseLeg | Rerank | None:
    """What mteb can measure of a system: full vectors of texts written as the card says, or a reranker alone."""
    leg = system.embedder
    if leg is None:
        # A language model orders documents query by query; mteb hands over pairs.
        return None if system.legs or isinstance(system.rerank, LLMRerank) else system.rerank
    told = leg.query_prompt, leg.document_prompt, leg.query_instruction
    return leg if leg.quantization == "f32" and told == (None, None, None) else None


def _info(data: Data) -> DatasetInfo:
    if isinstance(data, MtebTask):
        from lagotto.evaluation.mteb.tasks import dataset_info

        return dataset_info(data.name)
    return data.info()


def _environment(options: Options) -> dict[str, str]:
    return {
        "lagotto": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_name(),
        "threads": str(options.threads or available_cpus()),
        "precision": options.precision + ("" if options.weights == "full" else f", {options.weights} weights"),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _names(value: Names) -> list[str]:
    return [str(name) for name in ([value] if isinstance(value, str | Path) else value)]
