"""Watch what goes into the linear layers of an encoder, to choose the steps of int8 for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import Node

from lagotto.batch.sequences import Batch
from lagotto.cards.checkpoint import Checkpoint
from lagotto.engines.openvino.compiled import Settings
from lagotto.engines.openvino.graph import build, encoder_prefix
from lagotto.engines.openvino.ops import Parameters, op
from lagotto.engines.openvino.packing import pack

_LAYERS = "encoder.layer."  # the layers that do the work; poolers, classifiers and Dense modules are small

_HALF = 65504.0  # the largest number of float16


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
    """What went into linear layers that share their input."""

    layers: tuple[str, ...]
    """The layers, by the names of the checkpoint's tensors without ``.weight``."""
    largest: NDArray[np.float32]
    """(in,) largest absolute value of each channel."""
    rows: NDArray[np.float16]
    """(sampled tokens, in)."""


def observe(
    checkpoint: Checkpoint,
    batches: Sequence[Batch],
    threads: int,
    *,
    rows: int = 1024,
    done: Callable[[int], None] | None = None,
) -> list[Observed]:
    """Run batches of one sequence each in float32, and keep of every layer's input the extremes and some rows.

    An embedder's last layer is computed for all tokens, so that its steps fit whatever is asked of it later. About
    ``rows`` rows are kept, evenly over the batches: a large model of 24 layers needs 350 MB for 1,024.
    """
    prefix = encoder_prefix(checkpoint)
    seen: dict[str, tuple[Node, list[str]]] = {}

    class Watched(Parameters):
        """Remembers what goes into each layer."""

        def linear(self, x: Node, name: str, size_in: int, size_out: int, bias: bool = True) -> Node:
            if name.startswith(_LAYERS):
                seen.setdefault(x.get_friendly_name(), (x, []))[1].append(prefix + name)
            return super().linear(x, name, size_in, size_out, bias)

    model = build(checkpoint, states=checkpoint.card.task == "embed", parameters=Watched)
    first = len(model.outputs)
    model.add_results([op.result(x) for x, _ in seen.values()])
    settings = Settings("f32", threads, streams=1)
    request = ov.Core().compile_model(model, "CPU", settings.properties()).create_infer_request()
    names = [port.get_any_name() for port in request.model_inputs]
    share = max(1, -(-rows // len(batches)))
    largest = [np.zeros(0, np.float32)] * len(seen)
    kept: list[list[NDArray[np.float16]]] = [[] for _ in seen]
    random = np.random.default_rng(0)
    for batch in batches:
        values = pack(batch, checkpoint.config, multiple=1)
        results = request.infer({name: values[name] for name in names}, share_inputs=True)
        for place in range(len(seen)):
            x = results[first + place]  # (tokens, in): one sequence, nothing made up
            extremes = np.abs(x).max(axis=0)
            largest[place] = np.maximum(largest[place], extremes) if len(largest[place]) else extremes
            chosen = random.choice(len(x), min(share, len(x)), replace=False)
            kept[place].append(np.clip(x[chosen], -_HALF, _HALF).astype(np.float16))
        if done is not None:
            done(1)
    return [
        Observed(tuple(layers), largest[place], np.concatenate(kept[place]))
        for place, (_, layers) in enumerate(seen.values())
    ]
