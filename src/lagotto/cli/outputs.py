"""Write vectors to npy, npz, parquet or jsonl: each finished part to a file of its own, then all parts to one file."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, get_args

import numpy as np
import orjson

from lagotto.cli.npz import join, save
from lagotto.core.errors import InvalidInputError, MissingDependencyError
from lagotto.core.values import Embeddings
from lagotto.models.token_outputs import OutputName

Ids = Sequence[int | str]
"""All of one kind, one for each row."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Size of the whole output."""

    rows: int
    dimension: int


class Writer(Protocol):
    """One output format. The same parts give the same bytes, whenever and in however many runs they were written."""

    outputs: frozenset[str]
    """What of `Embeddings` it can hold."""

    def write_part(self, path: Path, ids: Ids, part: Embeddings) -> None:
        """Write one part."""
        ...

    def assemble(self, parts: Sequence[Path], result: Path, shape: Shape) -> None:
        """Put all parts together; there may be none."""
        ...


class NpyWriter:
    """A (rows, dimension) float32 matrix, as `numpy.save` writes it; ids are not kept."""

    outputs = frozenset({"dense"})

    def write_part(self, path: Path, ids: Ids, part: Embeddings) -> None:
        """The numbers alone."""
        path.write_bytes(np.ascontiguousarray(part.dense, "<f4").data)

    def assemble(self, parts: Sequence[Path], result: Path, shape: Shape) -> None:
        """A header, then the parts one after another: no matrix is ever in memory."""
        header = {"descr": "<f4", "fortran_order": False, "shape": (shape.rows, shape.dimension)}
        with result.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            _append(file, parts)


class NpzWriter:
    """Named arrays, as `numpy.load` reads them: ids, tokens, truncated, and those of each output."""

    outputs = frozenset(get_args(OutputName))

    def write_part(self, path: Path, ids: Ids, part: Embeddings) -> None:
        """The arrays of this part, of ragged ones the lengths in place of the offsets."""
        arrays = {"ids": np.array(ids, None if ids else np.int64), "tokens": part.tokens, "truncated": part.truncated}
        if part.dense.shape[1]:
            arrays["dense"] = part.dense
        if part.sparse is not None:
            arrays["sparse_indptr"] = np.diff(part.sparse.indptr)
            arrays["sparse_indices"], arrays["sparse_values"] = part.sparse.indices, part.sparse.values
            arrays["sparse_vocabulary"] = np.array(part.sparse.vocabulary)
        if part.multivector is not None:
            arrays["multivector_offsets"] = np.diff(part.multivector.offsets)
            arrays["multivector_vectors"] = part.multivector.vectors
        save(path, arrays)

    def assemble(self, parts: Sequence[Path], result: Path, shape: Shape) -> None:
        """Each array from all parts; one part's array is in memory at a time."""
        join(parts, result, running=("sparse_indptr", "multivector_offsets"))


class JsonlWriter:
    """A JSON object a line: id; embedding, sparse and multivector, where there are any; tokens, truncated."""

    outputs = frozenset(get_args(OutputName))

    def write_part(self, path: Path, ids: Ids, part: Embeddings) -> None:
        """The lines of this part."""
        options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
        dense = np.ascontiguousarray(part.dense)
        tokens, truncated = part.tokens.tolist(), part.truncated.tolist()
        with path.open("wb") as file:
            for i, key in enumerate(ids):
                row: dict[str, Any] = {"id": key}
                if dense.shape[1]:
                    row["embedding"] = dense[i]
                if part.sparse is not None:
                    row["sparse"] = dict(zip(("indices", "values"), part.sparse.row(i), strict=True))
                if part.multivector is not None:
                    row["multivector"] = part.multivector.row(i)
                row |= {"tokens": tokens[i], "truncated": truncated[i]}
                file.write(orjson.dumps(row, option=options))

    def assemble(self, parts: Sequence[Path], result: Path, shape: Shape) -> None:
        """The parts one after another."""
        with result.open("wb") as file:
            _append(file, parts)


class ParquetWriter:
    """Columns id, embedding (a list of fixed size, float32), tokens, truncated; a row group for each part."""

    outputs = frozenset({"dense"})

    def __init__(self) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            raise MissingDependencyError('parquet output needs pyarrow: pip install "lagotto[parquet]"') from None
        self._arrow, self._parquet = pyarrow, pyarrow.parquet

    def write_part(self, path: Path, ids: Ids, part: Embeddings) -> None:
        """An Arrow file with the rows of this part."""
        arrow = self._arrow
        schema = self._schema(part.dense.shape[1], arrow.string() if ids and isinstance(ids[0], str) else arrow.int64())
        numbers = arrow.array(np.ascontiguousarray(part.dense).reshape(-1))
        columns = [
            arrow.array(ids, schema.field("id").type),
            arrow.FixedSizeListArray.from_arrays(numbers, type=schema.field("embedding").type),
            arrow.array(part.tokens),
            arrow.array(part.truncated),
        ]
        with arrow.OSFile(str(path), "wb") as file, arrow.ipc.new_file(file, schema) as out:
            out.write_batch(arrow.record_batch(columns, schema=schema))

    def assemble(self, parts: Sequence[Path], result: Path, shape: Shape) -> None:
        """One row group after another."""
        tables = (self._read(path) for path in parts)
        first = next(tables, None)
        schema = self._schema(shape.dimension, self._arrow.int64()) if first is None else first.schema
        with self._parquet.ParquetWriter(result, schema) as out:
            if first is not None:
                out.write_table(first)
            for table in tables:
                out.write_table(table)

    def _read(self, path: Path) -> Any:
        with self._arrow.memory_map(str(path)) as file:
            return self._arrow.ipc.open_file(file).read_all()

    def _schema(self, dimension: int, id_type: Any) -> Any:
        arrow = self._arrow
        item = arrow.field("item", arrow.float32(), nullable=False)
        return arrow.schema(
            [
                arrow.field("id", id_type, nullable=False),
                arrow.field("embedding", arrow.list_(item, dimension), nullable=False),
                arrow.field("tokens", arrow.int32(), nullable=False),
                arrow.field("truncated", arrow.bool_(), nullable=False),
            ]
        )


WRITERS: dict[str, type[Writer]] = {
    ".npy": NpyWriter,
    ".npz": NpzWriter,
    ".parquet": ParquetWriter,
    ".jsonl": JsonlWriter,
}


def writer_for(output: Path) -> Writer:
    """The writer for a file's ending; says before any work is done what would fail after it.

    Raises `InvalidInputError` for another ending or a folder, FileNotFoundError where the folder to write to is not
    there, `MissingDependencyError` without pyarrow.
    """
    if output.suffix.lower() not in WRITERS:
        raise InvalidInputError(f"{output}: the ending tells the format; allowed are {', '.join(WRITERS)}")
    if output.is_dir():
        raise InvalidInputError(f"{output} is a folder; name a file")
    output.resolve().parent.stat()
    return WRITERS[output.suffix.lower()]()


def check_holds(output: Path, writer: Writer, values: Embeddings) -> list[str]:
    """The names of what there is to write. Raises `InvalidInputError` where the format has no place for it."""
    there = {
        "dense": values.dense.shape[1] > 0,
        "sparse": values.sparse is not None,
        "multivector": values.multivector is not None,
    }
    names = [name for name, present in there.items() if present]
    if not writer.outputs.issuperset(names):
        fitting = [ending for ending, kind in WRITERS.items() if kind.outputs.issuperset(names)]
        held, wanted = " and ".join(sorted(writer.outputs)), " and ".join(names)
        raise InvalidInputError(
            f"{output}: this format holds {held} output, and {wanted} is to be written; "
            f"name a file that ends in {' or '.join(fitting)}"
        )
    return names


def _append(file: Any, parts: Sequence[Path]) -> None:
    for path in parts:
        with path.open("rb") as part:
            shutil.copyfileobj(part, file, 1 << 20)


def sync(path: Path) -> None:
    """Make sure a file's content is on the disk and not only on its way there."""
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
