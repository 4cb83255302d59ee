"""A checkpoint's folder as a torch module: by transformers' classes, in the precision wanted, nothing missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from lagotto.cards.checkpoint import Checkpoint
from lagotto.cards.weights import Weights
from lagotto.core.errors import CheckpointError, UnsupportedModelError
from lagotto.engines.base import WeightFormat
from lagotto.engines.torch.adapters import merge, replaced
from lagotto.engines.torch.low_bits import pack_module

_SHOWN = 5  # names in a message
_BOTH_DIRECTIONS = (5, 2)  # the release of transformers that masks language models by `is_causal` of their config


def open_module(
    checkpoint: Checkpoint,
    dtype: Any,
    device: str,
    attention: str | None = None,
    weights: WeightFormat = "full",
) -> Any:
    """The module on its device, ready for inference.

    ``attention`` is the name of a registered attention function; transformers' own choice by default. ``weights`` in
    fewer bits are packed once an adapter is merged, layer by layer: the device never holds them in full. Raises
    `UnsupportedModelError` for an architecture the installed transformers does not know, `CheckpointError` that names
    a weight which is missing or has another shape, `UnsafeWeightsError` for a pickle file with more than tensors.
    """
    import transformers

    stored = Weights.open(
        checkpoint.folder
    )  # reads headers alone; a pickle file passes our own interpreter before torch's
    if (checkpoint.folder / "adapter_config.json").is_file():
        raise CheckpointError(
            f"{checkpoint.folder} holds an adapter (adapter_config.json) beside weights; give it a folder of its own "
            "and open it with adapter=, since transformers would load something else depending on what is installed"
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
    _check_complete(checkpoint, stored, module, info)
    if checkpoint.adapter is not None:
        merge(module, checkpoint.adapter)
    if checkpoint.card.bidirectional:
        see_everything(module)
    if weights != "full":
        pack_module(module, weights, device)
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
    if checkpoint.card.bidirectional:
        if tuple(int(part) for part in transformers.__version__.split(".")[:2]) < _BOTH_DIRECTIONS:
            raise UnsupportedModelError(
                f"{checkpoint.name} attends in both directions, which transformers {transformers.__version__} can't "
                f"do for {checkpoint.config.architecture!r}; install transformers 5.2 or later"
            )
        config.is_causal = False  # masks are made by it
    if checkpoint.card.task == "rerank":
        config.num_labels = checkpoint.config.num_labels  # of a head that an adapter brings, where config.json has none
    config.use_cache = False  # keys and values are for writing texts, not for reading them
    return config


def see_everything(module: Any) -> None:
    """Let every token of a language model see all others: each attention layer decides by a flag of its own."""
    for part in module.modules():
        if hasattr(part, "is_causal"):
            part.is_causal = False


def _check_complete(checkpoint: Checkpoint, weights: Weights, module: Any, info: dict[str, Any]) -> None:
    """A weight that is missing would be random, unless an adapter brings it; an embedder's pooler is not used."""
    rerank = checkpoint.card.task == "rerank"
    missing = sorted(name for name in info["missing_keys"] if rerank or "pooler" not in name.split("."))
    if missing and checkpoint.adapter is not None:
        brought = replaced(module, checkpoint.adapter)
        missing = [name for name in missing if name not in brought]
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
