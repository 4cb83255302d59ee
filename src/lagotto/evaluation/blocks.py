"""`Block`: what a model gave for a few thousand texts, and the file that keeps it, in one of three forms."""

from __future__ import annotations

import io
import logging
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from lagotto.core.paths import write_atomically
from lagotto.core.token_values import MultiVectors, SparseVectors

logger = logging.getLogger(__name__)

Arrays = Mapping[str, NDArray[np.generic]]
Dense = NDArray[np.float32]
"""(n, dimension) vectors, or (n,) logits."""
V = TypeVar("V", Dense, SparseVectors, MultiVectors)

_WORK = ("tokens", "truncated", "seconds")


@dataclass(frozen=True, slots=True, eq=False)
class Block(Generic[V]):
    """Vectors of texts, or scores of pairs, with what computing them took."""

    values: V
    tokens: NDArray[np.int32]
    """(n,) tokens the model saw."""
    truncated: NDArray[np.bool_]
    """(n,) whether a part was cut off."""
    seconds: float
    cached: bool

    def __len__(self) -> int:
        return len(self.values)


class Form(Protocol[V]):
    """How values of one kind lie in a file."""

    @property
    def names(self) -> tuple[str, ...]:
        """The arrays that a file must hold."""
        ...

    def arrays(self, values: V) -> Arrays:
        """Values as arrays."""
        ...

    def values(self, arrays: Arrays) -> V:
        """Arrays as values."""
        ...

    def concatenate(self, parts: Sequence[V]) -> V:
        """One value of any number of parts."""
        ...


class DenseForm:
    """One array, as it is."""

    names: tuple[str, ...] = ("values",)

    def arrays(self, values: Dense) -> Arrays:
        """As it is."""
        return {"values": values}

    def values(self, arrays: Arrays) -> Dense:
        """As it was."""
        return arrays["values"]  # type: ignore[return-value]  # the file's own type, which was float32

    def concatenate(self, parts: Sequence[Dense]) -> Dense:
        """(0, 0) of none."""
        return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)


class SparseForm:
    """Compressed sparse rows."""

    names: tuple[str, ...] = ("indptr", "indices", "values", "vocabulary")

    def arrays(self, values: SparseVectors) -> Arrays:
        """The parts of the rows."""
        size = np.array(values.vocabulary, np.int64)
        return {"indptr": values.indptr, "indices": values.indices, "values": values.values, "vocabulary": size}

    def values(self, arrays: Arrays) -> SparseVectors:
        """Rows of the parts."""
        size = int(arrays["vocabulary"])
        return SparseVectors(arrays["indptr"], arrays["indices"], arrays["values"], size)  # type: ignore[arg-type]

    def concatenate(self, parts: Sequence[SparseVectors]) -> SparseVectors:
        """No rows of no vocabulary, of none."""
        return SparseVectors.concatenate(parts) if parts else SparseVectors.from_rows([], 0)


class MultiVectorForm:
    """Token vectors in float16, half the space: a score of unit vectors changes by less than 0.001."""

    names: tuple[str, ...] = ("values", "offsets")

    def arrays(self, values: MultiVectors) -> Arrays:
        """Rounded to float16."""
        return {"values": values.half().vectors, "offsets": values.offsets}

    def values(self, arrays: Arrays) -> MultiVectors:
        """Still in float16; their rows come out as float32."""
        return MultiVectors(arrays["values"], arrays["offsets"])  # type: ignore[arg-type]  # the file's own types

    def concatenate(self, parts: Sequence[MultiVectors]) -> MultiVectors:
        """No texts of no dimension, of none."""
        return MultiVectors.concatenate(parts) if parts else MultiVectors.from_rows([], 0)


DENSE, SPARSE, MULTI_VECTOR = DenseForm(), SparseForm(), MultiVectorForm()


def read_block(path: Path, form: Form[V]) -> Block[V] | None:
    """A whole block, or None; the archive's own checksums tell a damaged one."""
    try:
        # Opened here, since numpy leaves a file open that turns out to be no archive.
        with path.open("rb") as raw, np.load(raw) as file:
            arrays = {name: file[name] for name in form.names}
            tokens, truncated, seconds = (file[name] for name in _WORK)
    except FileNotFoundError:
        return None
    # RuntimeError: the archive's header says that it is encrypted, or packed in an unknown way.
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
        logger.warning("%s is damaged (%s) and is computed again", path, error)
        return None
    return Block(form.values(arrays), tokens, truncated, float(seconds), cached=True)


def read_values(path: Path, form: Form[V]) -> V:
    """The values of a block that was written, or read, before. Raises `OSError` if it is gone since."""
    with np.load(path) as file:
        return form.values({name: file[name] for name in form.names})


def write_block(path: Path, block: Block[V], form: Form[V]) -> None:
    """Write a block in one step: it is there whole, or not at all."""
    buffer = io.BytesIO()
    work = {"tokens": block.tokens, "truncated": block.truncated, "seconds": np.float64(block.seconds)}
    np.savez(buffer, allow_pickle=False, **form.arrays(block.values), **work)  # type: ignore[arg-type]
    write_atomically(path, buffer.getbuffer())
