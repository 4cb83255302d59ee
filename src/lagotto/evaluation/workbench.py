"""`Workbench`: the models an evaluation has open, and the rankings of legs that several systems share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lagotto.evaluation.cost import resident_bytes
from lagotto.evaluation.instructions import TaskHint
from lagotto.evaluation.pipeline import DenseLeg, Leg, Rerank, System
from lagotto.evaluation.progress import Silence, Watcher
from lagotto.evaluation.results import Lengths, Stage
from lagotto.evaluation.store import VectorStore
from lagotto.models.embedder import Embedder
from lagotto.models.loading import Options
from lagotto.models.reranker import Reranker


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """What a leg (or a whole system) found, and what it took."""

    scores: NDArray[np.float32]
    """(queries, k), best first; -inf behind the last hit."""
    places: NDArray[np.int64]
    """(queries, k) places in the corpus; -1 behind the last hit."""
    stages: tuple[Stage, ...] = ()
    lengths: tuple[Lengths, ...] = ()
    vector_bytes: int = 0
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class Workbench:
    """Opens each model once, for as long as a system needs it."""

    store: VectorStore
    options: Options = field(default_factory=Options)
    watcher: Watcher = field(default_factory=Silence)
    shared: frozenset[Leg] = frozenset()
    """Legs of more than one system, whose rankings are kept: a hybrid reuses what its parts found."""
    ranked: dict[tuple[Leg, str, TaskHint, int], Ranked] = field(default_factory=dict)
    """(leg, data set's fingerprint, task, hits) -> ranking."""
    _open: dict[DenseLeg | Rerank, Embedder | Reranker] = field(default_factory=dict)
    _bytes: dict[DenseLeg | Rerank, int] = field(default_factory=dict)
    """What each open model took of the process's memory when it was opened."""

    def embedder(self, leg: DenseLeg) -> Embedder:
        """The embedder of a leg."""
        options = asdict(self._options(leg, pooling=leg.pooling))
        model = self._opened(_key(leg), lambda: Embedder(leg.model, **options))
        assert isinstance(model, Embedder)  # the key's type says so
        return model

    def reranker(self, rerank: Rerank) -> Reranker:
        """The reranker of a system."""
        options = asdict(self._options(rerank))
        del options["pooling"]
        model = self._opened(_key(rerank), lambda: Reranker(rerank.model, **options))
        assert isinstance(model, Reranker)  # the key's type says so
        return model

    def fingerprints(self, system: System) -> dict[str, str]:
        """Model name -> fingerprint. Opens what is not open."""
        found = {leg.model: self.embedder(leg).fingerprint for leg in system.legs if isinstance(leg, DenseLeg)}
        if system.rerank is not None:
            found[system.rerank.model] = self.reranker(system.rerank).fingerprint
        return found

    def memory(self, system: System) -> tuple[int, int]:
        """Resident bytes without a system's models, and with them. Opens what is not open."""
        self.fingerprints(system)
        loaded = resident_bytes()
        return loaded - sum(self._bytes[key] for key in _keys(system)), loaded

    def keep_only(self, systems: Iterable[System]) -> None:
        """Close the models, and drop the rankings, that none of these systems uses, so that their memory returns."""
        systems = list(systems)
        needed = {key for system in systems for key in _keys(system)}
        for key in [key for key in self._open if key not in needed]:
            self._open.pop(key).close()
        legs = {leg for system in systems for leg in system.legs}
        self.ranked = {key: ranked for key, ranked in self.ranked.items() if key[0] in legs}

    def close(self) -> None:
        """Close every model."""
        self.keep_only(())

    def _opened(self, key: DenseLeg | Rerank, open_model: Callable[[], Embedder | Reranker]) -> Embedder | Reranker:
        if key not in self._open:
            self.watcher.say(f"opening {key.model}")
            before = resident_bytes()
            self._open[key] = open_model()
            self._bytes[key] = max(0, resident_bytes() - before)
        return self._open[key]

    def _options(self, part: DenseLeg | Rerank, **more: Any) -> Options:
        said = {key: value for key, value in (_chosen(part) | more).items() if value is not None}
        return replace(self.options, **said)


def _keys(system: System) -> set[DenseLeg | Rerank]:
    """The models of a system, as they are opened."""
    keys = {_key(leg) for leg in system.legs if isinstance(leg, DenseLeg)}
    return keys if system.rerank is None else {*keys, _key(system.rerank)}


def _key(part: DenseLeg | Rerank) -> DenseLeg | Rerank:
    """A model as it is opened; parts with equal keys share it."""
    if isinstance(part, Rerank):
        return Rerank(part.model, **_chosen(part))
    return DenseLeg(part.model, **_chosen(part), pooling=part.pooling)


def _chosen(part: DenseLeg | Rerank) -> dict[str, Any]:
    """What decides how a model is opened."""
    return {name: getattr(part, name) for name in ("precision", "max_length", "revision", "card")}
