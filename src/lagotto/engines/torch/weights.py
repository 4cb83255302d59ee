"""A checkpoint's folder as a torch module: by transformers' classes, in the precision wanted, nothing missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from lagotto.cards.checkpoint import Checkpoint
from lagotto.cards.weights import Weights
from lagotto.core.errors import CheckpointError, UnsupportedModelError

_SHOWN = 5  # names in a message


def open_module(checkpoint: Checkpoint, dtype: Any, device: str, attention: str | None = None) -> Any:
    """The module on its device, ready for inference.

    ``attention`` is the name of a registered attention function; transformers' own choice by default. Raises
    `UnsupportedModelError` for an architecture the installed transformers does not know, `CheckpointError` that names
    a weight which is missing or has another shape, `UnsafeWeightsError` for a pickle file with more than tensors.
    """
    import transformers

    weights = Weights.open(
        checkpoint.folder
    )  # reads headers alone; a pickle file passes our own interpreter before torch's
    if (checkpoint.folder / "adapter_config.json").is_file():
        raise CheckpointError(
            f"{checkpoint.folder} holds an adapter (adapter_config.json) beside weights; merge it into them and save "
            "the whole model, since transformers would load something else depending on what is installed"
        )
    config = _config(checkpoint, transformers)
    rerank = checkpoint.card.task == "rerank"
    kind = transformers.AutoModelForSequenceClassification if rerank else transformers.AutoModel
    chosen = {} if attention is None else {"attn_implementation": attention}
    with _quiet(transformers):
        module, info = kind.from_pretrained(
            str(checkpoint.folder),
            config=config,
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are in `info`, and refused below by name
            local_files_only=True,
            trust_remote_code=False,
            **chosen,
        )
    _check_complete(checkpoint, weights, module, info)
    return module.to(device).eval()


def _config(checkpoint: Checkpoint, transformers: Any) -> Any:
    try:
        config = transformers.AutoConfig.from_pretrained(
            str(checkpoint.folder), local_files_only=True, trust_remote_code=False
        )
    except ValueError as error:  # an unknown model_type
        raise UnsupportedModelError(
            f"{checkpoint.name}: transformers {transformers.__version__} can't build the architecture "
            f"{checkpoint.config.architecture!r} ({str(error).splitlines()[0]}); a newer transformers may"
        ) from None
    config.use_cache = False  # keys and values are for writing texts, not for reading them
    return config


def _check_complete(checkpoint: Checkpoint, weights: Weights, module: Any, info: dict[str, Any]) -> None:
    """A weight that is missing would be random. An embedder's pooler is not used, and may be."""
    rerank = checkpoint.card.task == "rerank"
    missing = sorted(name for name in info["missing_keys"] if rerank or "pooler" not in name.split("."))
    if missing:
        raise CheckpointError(f"{checkpoint.folder}: {_named(missing)} missing from the weights")
    # transformers 5 gives (name, found, asked), 4 the name alone
    wrong = sorted(entry if isinstance(entry, str) else entry[0] for entry in info["mismatched_keys"])
    if wrong:
        asked = tuple(module.get_parameter(wrong[0]).shape)
        found = next((weights.shape(name) for name in weights if name.endswith(wrong[0])), "another")
        raise CheckpointError(
            f"{checkpoint.folder}: weight {wrong[0]!r} has shape {found}, config.json asks for {asked}"
            + (f"; {len(wrong) - 1} more do not fit" if len(wrong) > 1 else "")
        )


def _named(names: Iterable[str]) -> str:
    known = list(names)
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return f"{', '.join(repr(name) for name in known[:_SHOWN])}{more} {'is' if len(known) == 1 else 'are'}"


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Without transformers' progress bar and its report of weights, which are an error here or not needed."""
    logging = transformers.utils.logging
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
