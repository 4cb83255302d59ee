"""The seam every engine fills: `Engine`, and what it says about itself."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from lagotto.batch.sequences import Batch
from lagotto.core.errors import InvalidInputError

Precision = Literal["f32", "bf16", "f16", "int8"]
"""Arithmetic of the matrix products; results always come as float32.

f16 is the torch engine's alone; int8 is for folders of int8 weights, on the CPU."""

WeightFormat = Literal["full", "int8", "int4", "nf4"]
"""How the torch engine keeps the weights of linear layers: in the precision they are multiplied in, or in less."""

Device = str | Sequence[str]
"""``"auto"``, ``"cpu"``, ``"mps"``, ``"cuda"``, ``"cuda:1"``; several as ``"cuda:0,cuda:1"`` or as a list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """How a language model scores pairs. A value: rows of equal scoring may share a batch, others may not."""

    yes: int | None = None
    """The token whose logit is the score; None where each layer has a head of its own."""
    no: int | None = None
    """The token whose logit is taken from it."""
    cutoff_layers: tuple[int, ...] = ()
    """After how many layers a score is read, one for each; empty: after the last one."""
    compress_layers: tuple[int, ...] = ()
    """After how many layers a pair's passage is shortened,"""
    compress_ratio: int = 1
    """and how many of its tokens become one."""
    closing: int = 0
    """Tokens behind the passage, which are not shortened."""
    compat: bool = False
    """Scores as upstream's code computes them, mistakes included."""


Plain = Literal["pooled", "states"] | Scoring
"""What a model gives: one vector (or logit) a row, the last hidden state of every token, or a language model's scores
of pairs."""


@dataclass(frozen=True, slots=True)
class Adapted:
    """What is asked of a model while one of its live adapters is at work.

    A value, as `Scoring` is: rows of one adapter may share a batch, and the same row of two adapters is two rows.
    """

    output: Plain
    adapter: str
    """Its name in `Checkpoint.adapters`."""


Output = Plain | Adapted
"""What is asked of a batch."""

TOKEN_BUDGET = 768
"""Padded tokens a batch on a CPU: enough to keep matrix products busy, few enough that activations stay in the cache.

Seen at width 384 on two Zen 4 cores in bf16: 512 to 768 tokens give the most, 4,096 a quarter less."""

PAIR_TOKENS = 2048
"""The same for language models that score pairs: the query is computed once a batch, whatever the number of its pairs,
and where passages are shortened on the way, enough must be left to keep matrix products busy."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine runs on and with."""

    name: str
    device: str
    precision: Precision
    threads: int
    parallel: int
    """Batches computed at the same time."""
    output: int
    """Numbers a sequence gives: the vector's length, or 1 for a score."""
    token_budget: int = TOKEN_BUDGET
    """Padded tokens a batch should have at most."""
    weights: WeightFormat = "full"
    """How the weights of linear layers are kept."""

    @property
    def arithmetic(self) -> str:
        """The precision, and how weights are kept where that is another: ``bf16, nf4 weights``."""
        return self.precision if self.weights == "full" else f"{self.precision}, {self.weights} weights"


@dataclass(frozen=True, slots=True)
class QueueStats:
    """What waits in front of an engine, and what it has done since it was opened."""

    waiting: int
    """Rows (texts, pairs or windows) that wait."""
    waiting_tokens: int
    """Their tokens, padding not counted."""
    oldest_wait: float
    """Seconds that the oldest of them has waited; 0 when none waits."""
    batches: int
    """Batches computed."""
    rows: int
    """Rows computed."""
    tokens: int
    """Their tokens, padding not counted."""
    padded_tokens: int
    """The same, padding counted: computed by the CPU engine in attention alone, by torch in all layers."""
    merged: int
    """Batches that held rows of more than one call."""
    shared: int
    """Rows that were not computed again because the same row was waiting or running."""
    expired: int
    """Rows dropped because their deadline had passed."""
    cancelled: int
    """Rows dropped because their call was taken back, or had failed in another part."""
    failed: int
    """Batches whose computing ended with an error."""
    tokens_per_second: float
    """How fast it computes when it has enough to do, as its last full batches tell; 0 before the first of them."""
    restarts: int = 0
    """Worker processes that died and were started again; 0 where the engine has none."""


class Engine(Protocol):
    """Computes batches. Thread-safe: any number of threads may submit."""

    @property
    def info(self) -> EngineInfo:
        """What it runs on and with."""
        ...

    def submit(self, batch: Batch, output: Output = "pooled") -> Future[NDArray[np.float32]]:
        """Queue a batch; the future gives (rows, output) float32: pooled vectors not yet normalised, or logits.

        With ``"states"`` it gives (rows, tokens, hidden). A token behind a row's length has a state too, for which it
        looked at the tokens within the length; these do not see it. (Torch's packed batches leave such tokens out:
        models that have them are not run there.) The tokens' axis may be longer than the batch's. Only embedders have
        states. With a `Scoring`, the only thing to ask of a reranker that is a language model, it gives (rows, layers).
        `Adapted` gives what it asks for, by an adapter of the checkpoint.
        Never waits: callers bound what they have in flight. The call's `Demand` says how urgent it is; a row
        still queued at its deadline ends its batch with `DeadlineExceededError`, a breakdown with `EngineError`.
        Raises `ClosedError`.
        """
        ...

    def stats(self) -> QueueStats:
        """What waits, and what was done."""
        ...

    def close(self) -> None:
        """Finish what was started, then free the weights. May be called twice."""
        ...


def plain(output: Output) -> Plain:
    """What is asked, whatever the adapter."""
    return output.output if isinstance(output, Adapted) else output


def check_precision(precision: str) -> None:
    """Raise `InvalidInputError` unless the precision is one that exists."""
    allowed = ("auto", *get_args(Precision))
    if precision not in allowed:
        raise InvalidInputError(f"precision is {precision!r}; allowed are {', '.join(allowed)}")
