"""Systems against a baseline: differences, tests, and their correction for how many there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from lagotto.core.errors import InvalidInputError
from lagotto.evaluation.measures import Measure, per_query
from lagotto.evaluation.results import Comparison, DatasetInfo
from lagotto.evaluation.statistics import Means, Outcome, Sample, compare, compare_means, holm

Samples = Mapping[tuple[str, str], Mapping[str, Sample]]
"""(system, data set) -> measure -> what its figure rests on."""


_Part = tuple[DatasetInfo, Means, Means]
"""A data set with the values of a system and of the baseline."""


def mean_name(over: int) -> str:
    """What `Comparison.dataset` holds for the mean over several data sets, where a group counts as one."""
    return f"mean of {over} data sets"


def compare_systems(
    baseline: str, systems: Sequence[str], datasets: Sequence[DatasetInfo], samples: Samples
) -> tuple[Comparison, ...]:
    """Every other system against the baseline on every data set, on the mean of every group, and of those of one kind.

    A data set with a `group` counts in the mean as one share of its group, as BEIR averages CQADupStack's forums.
    """
    found: list[Comparison] = []
    for system in systems:
        if system == baseline:
            continue
        shared: dict[tuple[str, str], list[_Part]] = {}
        for info in datasets:
            mine, theirs = samples.get((system, info.name), {}), samples.get((baseline, info.name), {})
            for measure in mine:
                if measure not in theirs:
                    continue
                a, b = mine[measure], theirs[measure]
                found.append(_comparison(info.name, measure, baseline, system, compare(a, b)))
                if isinstance(a, Means) and isinstance(b, Means):
                    shared.setdefault((info.kind, measure), []).append((info, a, b))
        for (_, measure), parts in shared.items():
            for name, members in _means(parts):
                groups = [info.group or info.name for info, _, _ in members]
                weights = [1 / groups.count(group) for group in groups]
                test = compare_means([a for _, a, _ in members], [b for _, _, b in members], weights)
                found.append(_comparison(name, measure, baseline, system, test))
    order = {info.name: place for place, info in enumerate(datasets)}
    found.sort(key=lambda item: order.get(item.dataset, len(order)))  # stable: systems keep their order in each
    return corrected(found)


def _means(parts: Sequence[_Part]) -> Iterator[tuple[str, Sequence[_Part]]]:
    """What means are compared: those of groups, by the group's name, and that of all where it is of two or more."""
    units: dict[str, list[_Part]] = {}
    for part in parts:
        units.setdefault(part[0].group or part[0].name, []).append(part)
    yield from ((name, members) for name, members in units.items() if len(members) > 1)
    if len(units) > 1:
        yield mean_name(len(units)), parts


def compare_runs(
    runs: Mapping[str, Mapping[str, Mapping[str, float]]],
    qrels: Mapping[str, Mapping[str, int]],
    measures: Sequence[Measure],
    dataset: str,
) -> tuple[dict[str, dict[str, float]], tuple[Comparison, ...]]:
    """Runs by name against the first: (run -> measure -> mean), and the comparisons."""
    if len(runs) < 2:
        raise InvalidInputError(f"{len(runs)} run was given; a comparison needs two or more")
    samples: dict[tuple[str, str], dict[str, Sample]] = {}
    for name, run in runs.items():
        if not any(query in qrels for query in run):
            raise InvalidInputError(
                f"run {name!r} has no query that is judged; run and judgements do not belong together"
            )
        values = per_query(run, qrels, measures)
        samples[name, dataset] = {measure: Means(np.array(list(v.values()))) for measure, v in values.items()}
    names = list(runs)
    info = DatasetInfo(dataset, "retrieval", "", 0, len(qrels), sum(map(len, qrels.values())), "")
    means = {name: {m: sample.value for m, sample in samples[name, dataset].items()} for name in names}
    return means, compare_systems(names[0], names, [info], samples)


def corrected(found: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """The same comparisons with `p_holm` over all of one measure."""
    out = list(found)
    for measure in dict.fromkeys(item.measure for item in found):
        places = [place for place, item in enumerate(found) if item.measure == measure]
        for place, p_value in zip(places, holm([found[place].p_value for place in places]), strict=True):
            out[place] = replace(out[place], p_holm=p_value)
    return tuple(out)


def _comparison(dataset: str, measure: str, baseline: str, system: str, test: Outcome) -> Comparison:
    return Comparison(
        dataset=dataset,
        measure=measure,
        baseline=baseline,
        system=system,
        difference=test.difference,
        p_value=test.p_value,
        p_holm=test.p_value,
        wins=test.wins,
        losses=test.losses,
        ties=test.ties,
    )
