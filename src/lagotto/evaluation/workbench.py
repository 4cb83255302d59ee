"""`Workbench`: the models an evaluation has open, and the rankings of legs that several systems share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lagotto.core.memory import resident_bytes
from lagotto.evaluation.instructions import TaskHint
from lagotto.evaluation.pipeline import RERANK_TOP_K, Encoder, EncoderLeg, Leg, LLMRerank, Rerank, Rescore, System
from lagotto.evaluation.progress import Silence, Watcher
from lagotto.evaluation.results import Lengths, Stage
from lagotto.evaluation.store import VectorStore
from lagotto.models.embedder import Embedder
from lagotto.models.judging.reranker import LLMReranker
from lagotto.models.loading import Options
from lagotto.models.reranker import Reranker
from lagotto.models.token_outputs import OutputName

_Key = Encoder | Rerank | LLMRerank
"""A model as it is opened."""
_Model = Embedder | Reranker | LLMReranker


@dataclass(frozen=True, slots=True, eq=False)
class Encoding:
    """What it took to encode the texts of one side for one model; legs that use several of its outputs share it."""

    encoder: Encoder
    stage: Stage
    lengths: Lengths
    warnings: tuple[str, ...]

    def with_other(self, other: Encoding) -> Encoding:
        """The same with another leg's part of it: both come from one pass, which takes as long as the longer one."""
        longer = max((self.stage, other.stage), key=lambda stage: stage.seconds)
        cached = min(self.stage.cached, other.stage.cached)
        return replace(self, stage=replace(longer, cached=cached))


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """What a leg (or a whole system) found, and what it took."""

    scores: NDArray[np.float32]
    """(queries, k), best first; -inf behind the last hit."""
    places: NDArray[np.int64]
    """(queries, k) places in the corpus; -1 behind the last hit."""
    encodings: tuple[Encoding, ...] = ()
    steps: tuple[Stage, ...] = ()
    """Work beside encoding: searching, fusing, reranking."""
    vector_bytes: int = 0
    notes: tuple[str, ...] = ()
    """Warnings beside those of the encodings."""

    @property
    def stages(self) -> tuple[Stage, ...]:
        """All work, encoding first."""
        return (*(encoding.stage for encoding in self.encodings), *self.steps)

    @property
    def lengths(self) -> tuple[Lengths, ...]:
        """How long the texts were for each model."""
        return tuple(encoding.lengths for encoding in self.encodings)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to tell the user."""
        return (*(line for encoding in self.encodings for line in encoding.warnings), *self.notes)

    def after(self, scores: NDArray[np.float32], places: NDArray[np.int64], step: Stage, *notes: str) -> Ranked:
        """What was made of it in one step more."""
        return replace(self, scores=scores, places=places, steps=(*self.steps, step), notes=(*self.notes, *notes))


def joined(encodings: Iterable[Encoding]) -> tuple[Encoding, ...]:
    """Each encoding once, however many legs it was made for."""
    found: dict[tuple[Encoder, str], Encoding] = {}
    for encoding in encodings:
        key = encoding.encoder, encoding.stage.name
        found[key] = found[key].with_other(encoding) if key in found else encoding
    return tuple(found.values())


@dataclass(slots=True)
class Workbench:
    """Opens each model once, for as long as a system needs it."""

    store: VectorStore
    options: Options = field(default_factory=Options)
    watcher: Watcher = field(default_factory=Silence)
    shared: frozenset[Leg] = frozenset()
    """Legs of more than one system, whose rankings are kept: a hybrid reuses what its parts found."""
    planned: frozenset[EncoderLeg] = frozenset()
    """Every leg of the evaluation that an embedder is needed for."""
    ranked: dict[tuple[Leg, str, TaskHint, int], Ranked] = field(default_factory=dict)
    """(leg, data set's fingerprint, task, hits) -> ranking."""
    _open: dict[_Key, _Model] = field(default_factory=dict)
    _bytes: dict[_Key, int] = field(default_factory=dict)
    """What each open model took of the process's memory when it was opened."""

    def embedder(self, part: Encoder) -> Embedder:
        """The embedder of a leg, or of what rescores."""
        options = asdict(self._options(part, pooling=part.pooling))
        model = self._opened(_key(part), lambda: Embedder(part.model, **options))
        assert isinstance(model, Embedder)  # the key's type says so
        return model

    def reranker(self, rerank: Rerank) -> Reranker:
        """The reranker of a system."""
        # What is said of the embedders of an evaluation is no slip where its rerankers are opened.
        options = replace(self._options(rerank), pooling=None, compat=False).for_reranker()
        model = self._opened(_key(rerank), lambda: Reranker(rerank.model, **options))
        assert isinstance(model, Reranker)  # the key's type says so
        return model

    def judge(self, rerank: LLMRerank) -> LLMReranker:
        """The language model of a system."""
        model = self._opened(_key(rerank), rerank.open)
        assert isinstance(model, LLMReranker)  # the key's type says so
        return model

    def outputs(self, part: Encoder) -> frozenset[OutputName]:
        """What is made of a corpus in one pass: the outputs that any planned leg wants of this embedder."""
        encoder = part.encoder
        return frozenset(leg.output for leg in self.planned if leg.encoder == encoder)

    def fingerprints(self, system: System) -> dict[str, str]:
        """Model name -> fingerprint. Opens what is not open.

        Raises what opening raises, and `ModelNotFoundError` or `UnsupportedModelError` for outputs a model lacks.
        """
        found = {}
        for part in system.encoders:
            embedder = self.embedder(part)
            found[part.model] = embedder.fingerprint
            wanted = part.outputs if isinstance(part, Rescore) else {part.output, *self.outputs(part)}
            if wanted != {"dense"}:
                embedder.encode((), outputs=wanted)  # says now, and not after hours of work, that a head is missing
        if isinstance(system.rerank, LLMRerank):
            found[system.rerank.model] = self.judge(system.rerank).fingerprint
        elif system.rerank is not None:
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

    def _opened(self, key: _Key, open_model: Callable[[], _Model]) -> _Model:
        if key not in self._open:
            self.watcher.say(f"opening {key.model}")
            before = resident_bytes()
            self._open[key] = open_model()
            self._bytes[key] = max(0, resident_bytes() - before)
        return self._open[key]

    def _options(self, part: Encoder | Rerank, **more: Any) -> Options:
        said = {key: value for key, value in (_chosen(part) | more).items() if value is not None}
        return replace(self.options, **said)


def _keys(system: System) -> set[_Key]:
    """The models of a system, as they are opened."""
    keys: set[_Key] = {_key(part) for part in system.encoders}
    return keys if system.rerank is None else {*keys, _key(system.rerank)}


def _key(part: _Key) -> _Key:
    """A model as it is opened; parts with equal keys share it."""
    if isinstance(part, LLMRerank):
        return replace(part, top_k=RERANK_TOP_K)
    if isinstance(part, Rerank):
        return Rerank(part.model, **_chosen(part))
    return Encoder(part.model, **_chosen(part), pooling=part.pooling)


def _chosen(part: Encoder | Rerank) -> dict[str, Any]:
    """What decides how a model is opened."""
    return {name: getattr(part, name) for name in ("precision", "max_length", "revision", "card", "adapter")}
