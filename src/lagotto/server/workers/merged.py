"""Figures of several processes as those of one: what is counted is added up, what is a state of all is not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

_LARGEST = frozenset(
    ["lagotto_build_info", "lagotto_model_loaded", "lagotto_models_loaded", "lagotto_engine_oldest_wait"]
)
"""Families whose largest value is that of the whole; all others are added up."""
_SHARED = {"tier": "disk"}
"""Labels of what all processes share, so that each tells the same."""
_PADDING = "lagotto_engine_padding_share"

Key = tuple[str, tuple[tuple[str, str], ...]]


def merged(parts: Sequence[Iterable[Metric]]) -> list[Metric]:
    """Families of several processes as one list, in the order in which they come first."""
    families: dict[str, Metric] = {}
    values: dict[str, dict[Key, Sample]] = {}
    for family in (family for part in parts for family in part):
        families.setdefault(family.name, family)
        found = values.setdefault(family.name, {})
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            before = found.get(key)
            found[key] = sample if before is None else _both(family.name, before, sample)
    padding = values.get(_PADDING)
    if padding is not None:
        values[_PADDING] = {key: _padding(sample, values) for key, sample in padding.items()}
    return [_family(family, values[name].values()) for name, family in families.items()]


def counted(families: Iterable[Metric]) -> list[Metric]:
    """What of a process that has ended still counts: a counter must not fall."""
    return [family for family in families if family.type in ("counter", "histogram")]


def text_of(families: Sequence[Metric]) -> bytes:
    """Families in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Given(families))
    return generate_latest(registry)


def _both(family: str, one: Sample, other: Sample) -> Sample:
    if one.name.endswith("_created"):
        return one._replace(value=min(one.value, other.value))
    if family in _LARGEST or _SHARED.items() <= one.labels.items():
        return one._replace(value=max(one.value, other.value))
    return one._replace(value=one.value + other.value)


def _padding(sample: Sample, values: dict[str, dict[Key, Sample]]) -> Sample:
    """The share of padding in what all have computed."""
    labels = tuple(sorted(sample.labels.items()))
    tokens, padded = (
        values[f"lagotto_engine_{name}"][(f"lagotto_engine_{name}_total", labels)].value
        for name in ("tokens", "padded_tokens")
    )
    return sample._replace(value=1 - tokens / padded if padded else 0.0)


def _family(family: Metric, samples: Iterable[Sample]) -> Metric:
    found = Metric(family.name, family.documentation, family.type, family.unit)
    found.samples = list(samples)
    return found


class _Given(Collector):
    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """The families it was given."""
        yield from self._families
