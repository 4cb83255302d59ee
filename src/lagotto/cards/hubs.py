"""Fetch a checkpoint from a hub: Hugging Face by default, ModelScope as an extra. Only the files that are used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from lagotto.cards.adapter import CONFIG_FILE, WEIGHT_FILES
from lagotto.core.errors import ConfigError, MissingDependencyError, ModelNotFoundError

SMALL_FILES = (
    "config.json",
    "quantization.json",
    "modules.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "artifact.metadata",
    "[0-9]_*/*.json",
    "[0-9]_*/vocab.txt",
    "[0-9]_*/model.safetensors",
    "[0-9]_*/pytorch_model.bin",
    "[0-9]_*/model.int8.safetensors",
)
SAFETENSORS = ("model.safetensors", "model.safetensors.index.json", "model-*.safetensors", "model.int8.safetensors")
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*.bin")
SPARSE_FILES = ("sparse_linear.safetensors", "sparse_linear.pt")
MULTI_VECTOR_FILES = ("colbert_linear.safetensors", "colbert_linear.pt")
HEAD_FILES = (*SPARSE_FILES, *MULTI_VECTOR_FILES)
"""BGE-M3 keeps its two extra heads beside the weights."""

Fetch = Callable[[Sequence[str]], Path]
"""Brings the files that match the patterns and returns the folder they lie in."""


def fetch_huggingface(repo: str, revision: str | None, offline: bool, cache: Path | None = None) -> Path:
    """Folder of a Hugging Face repository's checkpoint files, in huggingface_hub's own cache.

    Honours ``HF_ENDPOINT``, ``HF_HUB_OFFLINE``, ``HF_TOKEN`` and ``HF_HOME``; offline, no connection is tried.
    Raises `ModelNotFoundError` for an unknown repository or revision, a gated one, or a file that is not cached.
    """
    import huggingface_hub
    from huggingface_hub import constants, errors

    offline = offline or constants.HF_HUB_OFFLINE
    name = f"{repo}@{revision}" if revision else repo

    def fetch(patterns: Sequence[str]) -> Path:
        folder = huggingface_hub.snapshot_download(
            repo, revision=revision, allow_patterns=list(patterns), local_files_only=offline, cache_dir=cache
        )
        return Path(str(folder))

    try:
        return _fetch_checkpoint(fetch)
    except errors.GatedRepoError:
        raise ModelNotFoundError(
            f"{name} is gated: accept its terms on {constants.ENDPOINT}/{repo} and set HF_TOKEN"
        ) from None
    except errors.RevisionNotFoundError:
        raise ModelNotFoundError(f"{repo} has no revision {revision!r} on {constants.ENDPOINT}") from None
    except errors.RepositoryNotFoundError:
        raise ModelNotFoundError(
            f"{constants.ENDPOINT} has no public model {repo!r}; check the spelling, or set HF_TOKEN if it is private"
        ) from None
    except errors.HFValidationError as error:
        raise ModelNotFoundError(f"{name!r} is not a valid hub id: {error}") from None
    except (errors.LocalEntryNotFoundError, FileNotFoundError) as error:
        reason = "offline mode is on (HF_HUB_OFFLINE or offline=True)" if offline else _short(error)
        raise ModelNotFoundError(
            f"{name}: its files are not in the cache {cache or constants.HF_HUB_CACHE}, and {reason}. "
            f"Run `lagotto models pull {name}` where there is a connection, or name a folder"
        ) from None
    except (errors.HfHubHTTPError, OSError) as error:
        raise ModelNotFoundError(f"{name} could not be fetched from {constants.ENDPOINT}: {_short(error)}") from error


def fetch_modelscope(repo: str, revision: str | None, offline: bool, cache: Path | None = None) -> Path:
    """Folder of a ModelScope repository's checkpoint files. Needs the ``modelscope`` extra."""
    try:
        from modelscope import snapshot_download
    except ImportError:
        raise MissingDependencyError(
            'modelscope is needed to fetch from ModelScope: pip install "lagotto[modelscope]"'
        ) from None

    def fetch(patterns: Sequence[str]) -> Path:
        return Path(
            snapshot_download(
                repo, revision=revision, allow_patterns=list(patterns), local_files_only=offline, cache_dir=cache
            )
        )

    try:
        return _fetch_checkpoint(fetch)
    except Exception as error:  # modelscope raises bare requests, ValueError and its own errors
        raise ModelNotFoundError(f"{repo} could not be fetched from ModelScope: {_short(error)}") from error


HUBS: dict[str, Callable[[str, str | None, bool, Path | None], Path]] = {
    "huggingface": fetch_huggingface,
    "modelscope": fetch_modelscope,
}


def fetch(hub: str, repo: str, revision: str | None, offline: bool, cache: Path | None = None) -> Path:
    """Fetch from the hub of that name. Raises `ConfigError` for a hub that does not exist."""
    if hub not in HUBS:
        raise ConfigError(f"hub {hub!r} is not known; allowed are {', '.join(HUBS)}")
    return HUBS[hub](repo, revision, offline, cache)


def _fetch_checkpoint(fetch: Fetch) -> Path:
    """Safetensors where the repository has them, pickles only where it does not: never both.

    An adapter's files are fetched where there is no model, since beside one they would change how it is read.
    """
    folder = fetch([*SMALL_FILES, *SAFETENSORS, *HEAD_FILES])
    if any(folder.glob("model*.safetensors")):
        return folder
    if (folder / "config.json").is_file() or (folder / "modules.json").is_file():
        return fetch([*SMALL_FILES, *PICKLES, *HEAD_FILES])
    folder = fetch([*SMALL_FILES, *PICKLES, *HEAD_FILES, CONFIG_FILE, WEIGHT_FILES[0]])
    if (folder / CONFIG_FILE).is_file() and not (folder / WEIGHT_FILES[0]).is_file():
        return fetch([*SMALL_FILES, CONFIG_FILE, WEIGHT_FILES[1]])
    return folder


def _short(error: BaseException) -> str:
    """First line of an error: hub clients append traces and links."""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}".rstrip(": ")
