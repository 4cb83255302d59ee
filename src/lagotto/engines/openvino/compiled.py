"""Compile a graph for the CPU, and keep compiled graphs on disk so that the next start is quick."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from lagotto.core.hardware import cpu_flags, cpu_name
from lagotto.engines.base import Precision
from lagotto.engines.openvino import blobs

logger = logging.getLogger(__name__)

GRAPH_VERSION = 2
"""Raise it whenever the graph builder changes what it builds, so that no older compiled graph is used."""
_KERNELS = 1000
"""Compiled kernels that are kept for each stream, one an operation and shape, some 20 for each shape of a batch.

OpenVINO's own bound is 5,000: texts of ever other lengths then take memory for hours, 1 MB for some ten kernels.
With 1,000 a server's processor time was the same, with 500 some 5 % more.
"""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a graph is compiled."""

    precision: Precision
    threads: int
    streams: int

    def properties(self) -> dict[str, Any]:
        """OpenVINO's names for the settings."""
        return {
            "INFERENCE_PRECISION_HINT": self._hint(),
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": self.streams,
            "ENABLE_CPU_PINNING": False,  # pinned threads collide when several models or processes share the cores
            "CPU_RUNTIME_CACHE_CAPACITY": _KERNELS,
        }

    def _hint(self) -> str:
        """What is not done in int8 (norms, attention) is done in bf16 where the CPU has it."""
        if self.precision == "int8":
            return "bf16" if supports_bf16() else "f32"
        return self.precision


def supports_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware; elsewhere bf16 would be slower than float32."""
    return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@dataclass(frozen=True, slots=True)
class Compiled:
    """A compiled graph, and the memory it may still read."""

    model: ov.CompiledModel
    memory: NDArray[np.uint8] | None
    """The mapped cache file: weights are used in place, so it must live as long as the model. None: not cached."""


def compile_cached(build: Callable[[], ov.Model], settings: Settings, fingerprint: str, cache: Path) -> Compiled:
    """The compiled graph, from the cache where it is there.

    A damaged file is found by its digest, logged and made anew; a folder that can't be written is logged and costs
    only time.
    """
    core = ov.Core()
    path = cache / "compiled" / f"{_key(settings, fingerprint)}.blob"
    if (blob := blobs.read(path)) is not None:
        try:
            tensor = ov.Tensor(blob, shared_memory=True)
            return Compiled(core.import_model(tensor, "CPU", settings.properties()), blob)
        except RuntimeError as error:
            logger.warning("compiled graph %s can't be loaded and is made anew (%s)", path, error)
    compiled = core.compile_model(build(), "CPU", settings.properties())
    stream = io.BytesIO()
    compiled.export_model(stream)
    blobs.write(path, stream.getbuffer())
    return Compiled(compiled, None)


def _key(settings: Settings, fingerprint: str) -> str:
    parts = [GRAPH_VERSION, ov.get_version(), cpu_name(), sorted(cpu_flags()), settings, fingerprint]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:40]
