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
from lagotto.core.paths import write_atomically
from lagotto.engines.base import Precision

logger = logging.getLogger(__name__)

GRAPH_VERSION = 1
"""Raise it whenever the graph builder changes what it builds, so that no older compiled graph is used."""
_DIGEST = hashlib.sha256().digest_size


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
    if (blob := _read(path)) is not None:
        try:
            tensor = ov.Tensor(blob, shared_memory=True)
            return Compiled(core.import_model(tensor, "CPU", settings.properties()), blob)
        except RuntimeError as error:
            logger.warning("compiled graph %s can't be loaded and is made anew (%s)", path, error)
    compiled = core.compile_model(build(), "CPU", settings.properties())
    _write(path, compiled)
    return Compiled(compiled, None)


def _key(settings: Settings, fingerprint: str) -> str:
    parts = [GRAPH_VERSION, ov.get_version(), cpu_name(), sorted(cpu_flags()), settings, fingerprint]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:40]


def _read(path: Path) -> NDArray[np.uint8] | None:
    """The blob, mapped and checked; the file's last bytes are its digest."""
    try:
        if path.stat().st_size <= _DIGEST:
            raise ValueError("it is empty")
        data = np.memmap(path, np.uint8, mode="c")  # OpenVINO wants writable memory; copy-on-write keeps the file
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        logger.warning("compiled graph %s can't be read and is made anew (%s)", path, error)
        return None
    blob, digest = data[:-_DIGEST], data[-_DIGEST:]
    if hashlib.sha256(blob.data).digest() == digest.tobytes():
        return blob
    logger.warning("compiled graph %s is damaged and is made anew", path)
    return None


def _write(path: Path, compiled: ov.CompiledModel) -> None:
    stream = io.BytesIO()
    try:
        compiled.export_model(stream)
        blob = stream.getbuffer()
        write_atomically(path, blob, hashlib.sha256(blob).digest())
    except OSError as error:
        logger.warning("compiled graphs can't be kept in %s (%s)", path.parent, error)
