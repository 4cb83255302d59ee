"""`Work`: the folder ``OUT.partial``, where an embedding job keeps what it has finished, so that a rerun goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from lagotto.cli.outputs import Ids, Shape, Writer, sync
from lagotto.core.errors import ConfigError
from lagotto.core.paths import write_atomically
from lagotto.core.values import Embeddings

_OWN = ("manifest.jsonl", ".manifest.jsonl.*", "part-*", "result")


@dataclass(frozen=True, slots=True)
class Part:
    """A line of the manifest: one finished part."""

    file: str
    size: int
    rows: int
    tokens: int
    truncated: int


class Work:
    """Finished parts of one job, and the manifest that lists them.

    The manifest's first line says which job it is (model fingerprint, options, input); each further line names a part
    whose file was already complete when the line was written. A process may be killed at any moment: a part without
    its line, or half a line, is as if it had not been.

    Raises `ConfigError` when the folder holds another job, or another process works in it.
    """

    def __init__(
        self, output: Path, job: Mapping[str, Any], writer: Writer, *, resumable: bool = True, restart: bool = False
    ) -> None:
        self.folder = output.with_name(output.name + ".partial")
        self._output, self._job, self._writer, self._resumable = output, dict(job), writer, resumable
        self._manifest = self.folder / "manifest.jsonl"
        self._closing = ExitStack()
        self.folder.mkdir(exist_ok=True)
        self.parts: list[Part] = []
        self._removed = False
        try:
            self._lock()
            self._open(restart)
        except BaseException:
            self._closing.close()
            raise

    @property
    def rows(self) -> int:
        """Rows finished so far, in this run and before it."""
        return sum(part.rows for part in self.parts)

    @property
    def tokens(self) -> int:
        """Tokens of these rows."""
        return sum(part.tokens for part in self.parts)

    @property
    def truncated(self) -> int:
        """How many of these rows were truncated."""
        return sum(part.truncated for part in self.parts)

    def add(self, ids: Ids, values: Embeddings) -> None:
        """Write a part, and only then say in the manifest that it is there."""
        path = self.folder / f"part-{len(self.parts):06d}"
        self._writer.write_part(path, ids, values)
        sync(path)
        size, tokens = path.stat().st_size, int(values.tokens.sum())
        part = Part(path.name, size, len(values), tokens, int(values.truncated.sum()))
        with self._manifest.open("ab") as file:
            file.write(_line(asdict(part)))
            file.flush()
            os.fsync(file.fileno())
        self.parts.append(part)

    def finish(self, dimension: int) -> None:
        """Put the parts together, put the result in its place in one step, and remove the folder."""
        result = self.folder / "result"
        self._writer.assemble([self.folder / part.file for part in self.parts], result, Shape(self.rows, dimension))
        sync(result)
        os.replace(result, self._output)
        self._remove()

    def __enter__(self) -> Work:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._removed and not (self.parts and self._resumable):
            self._remove()  # nothing in it that a later run could use
        self._closing.close()

    def _lock(self) -> None:
        from filelock import FileLock, Timeout

        lock = FileLock(self.folder / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise ConfigError(f"another process is writing {self._output} (it holds {self.folder / 'lock'})") from None
        self._closing.callback(lock.release)

    def _open(self, restart: bool) -> None:
        """Take over the parts that are there, or begin anew where there is nothing to take over."""
        if self._manifest.exists() and not restart:
            header, *lines = self._manifest.read_bytes().splitlines(keepends=True) or [b""]
            parts, size = self._whole_parts(lines)
            if parts:
                self._check(header)
            if parts and self._resumable:
                self.parts = parts
                os.truncate(self._manifest, len(header) + size)
                return
        self._clear()
        write_atomically(self._manifest, _line(self._job))

    def _whole_parts(self, lines: Sequence[bytes]) -> tuple[list[Part], int]:
        """The parts up to the first that is not whole, and how many bytes of the manifest tell of them."""
        parts: list[Part] = []
        size = 0
        for line in lines:
            part = _read_part(line)
            if part is None or not _is_whole(self.folder / part.file, part.size):
                break
            parts.append(part)
            size += len(line)
        return parts, size

    def _check(self, header: bytes) -> None:
        try:
            found = dict(json.loads(header))
        except (ValueError, TypeError):
            raise ConfigError(f"{self._manifest} is damaged; start over with --restart") from None
        differing = [key for key in {**self._job, **found} if self._job.get(key) != found.get(key)]
        if differing:
            changes = "; ".join(
                f"{key} was {_short(found.get(key))}, is {_short(self._job.get(key))}" for key in differing
            )
            raise ConfigError(
                f"{self.folder} holds unfinished work of another job: {changes}. "
                "Give the same model, options and input to go on with it, or --restart to throw it away"
            )

    def _clear(self) -> None:
        # The manifest goes first: without it, no later run takes the rest for finished parts.
        for pattern in _OWN:
            for path in self.folder.glob(pattern):
                path.unlink()

    def _remove(self) -> None:
        self._removed = True
        self._clear()
        self._closing.close()
        with suppress(OSError):  # another process may have begun there, or someone put a file of their own
            (self.folder / "lock").unlink(missing_ok=True)
            self.folder.rmdir()


def _read_part(line: bytes) -> Part | None:
    try:
        return Part(**json.loads(line)) if line.endswith(b"\n") else None
    except (ValueError, TypeError):
        return None


def _is_whole(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else text[:117] + "..."
