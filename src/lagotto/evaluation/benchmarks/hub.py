"""Files of data set repositories on Hugging Face, in huggingface_hub's own cache.

Honours ``HF_ENDPOINT``, ``HF_HUB_OFFLINE``, ``HF_TOKEN`` and ``HF_HOME``. Repositories' own scripts are never run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lagotto.core.errors import InvalidInputError
from lagotto.data.records import read_records
from lagotto.evaluation.benchmarks.sources import UnreachableError


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Some files of a repository, as they were at one commit."""

    repository: str
    folder: Path
    files: tuple[Path, ...]

    @property
    def origin(self) -> str:
        """Repository and commit."""
        return f"huggingface.co/datasets/{self.repository}@{self.folder.name}"


def fetch(repository: str, patterns: Sequence[str], offline: bool) -> Snapshot:
    """The files that match the patterns, in the patterns' order. Raises `UnreachableError` if one has no file."""
    import huggingface_hub
    from huggingface_hub import constants, errors

    def unreachable(reason: str) -> UnreachableError:
        wanted = ", ".join(patterns)
        return UnreachableError(f"{constants.ENDPOINT}/datasets/{repository} ({wanted})", reason)

    try:
        found = huggingface_hub.snapshot_download(
            repository, repo_type="dataset", allow_patterns=list(patterns), local_files_only=offline
        )
    except errors.GatedRepoError:
        raise unreachable("its repository is gated: accept its terms in a browser and set HF_TOKEN") from None
    except errors.RepositoryNotFoundError:
        raise unreachable("its repository is not there, or is private and needs HF_TOKEN") from None
    except Exception as error:  # huggingface_hub's errors, and those of its HTTP client, which changes with its version
        raise unreachable(_offline() if offline else f"the hub could not be reached ({_short(error)})") from error
    files = [(pattern, sorted(Path(found).glob(pattern))) for pattern in patterns]
    if absent := [pattern for pattern, matches in files if not matches]:
        raise unreachable(_offline() if offline else f"its repository has no file {absent[0]}")
    return Snapshot(repository, Path(found), tuple(file for _, matches in files for file in matches))


def fetch_split(repository: str, config: str, split: str, offline: bool) -> Snapshot:
    """The files of a split, as the repository's README declares them for viewers and libraries."""
    from huggingface_hub import metadata_load

    readme = fetch(repository, ["README.md"], offline).files[0]
    configs = (metadata_load(readme) or {}).get("configs", ())
    declared = [item for entry in configs if entry.get("config_name") == config for item in entry.get("data_files", ())]
    paths = next((item["path"] for item in declared if item["split"] == split), None)
    if paths is None:
        raise InvalidInputError(
            f"{repository}: its README declares no files of split {split!r} in configuration {config!r}, so its layout "
            "is not the one this version of Lagotto knows; upgrade Lagotto, or tell its authors"
        )
    return fetch(repository, [paths] if isinstance(paths, str) else list(paths), offline)


def rows(files: Sequence[Path], *names: str) -> Iterator[tuple[Any, ...]]:
    """These fields of every record. Raises `InvalidInputError` for a record that lacks one."""
    for file in files:
        for place, fields in read_records(file):
            yield values(fields, names, f"{file}, {place}")


def values(fields: Mapping[str, Any], names: Sequence[str], where: str) -> tuple[Any, ...]:
    """These fields of one record. Raises `InvalidInputError` if it lacks one."""
    if missing := [name for name in names if name not in fields]:
        raise InvalidInputError(
            f"{where}: has no field {missing[0]!r}, but {', '.join(fields)}; its layout is not the one this version of "
            "Lagotto knows: upgrade Lagotto, or tell its authors"
        )
    return tuple(fields[name] for name in names)


def _offline() -> str:
    from huggingface_hub import constants

    return (
        "offline mode is on (HF_HUB_OFFLINE or offline=True), and its files are not all in the hub's cache "
        f"{constants.HF_HUB_CACHE}"
    )


def _short(error: BaseException) -> str:
    """First line of an error: hub clients append traces and links."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
