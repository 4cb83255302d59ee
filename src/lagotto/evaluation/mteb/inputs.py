"""What mteb hands a model: batches of texts, the task they are of, keyword arguments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lagotto.core.errors import InvalidInputError
from lagotto.evaluation.instructions import Side, TaskHint


@dataclass(slots=True)
class Work:
    """What a model has read so far."""

    inputs: int = 0
    """Texts or pairs."""
    tokens: int = 0
    truncated: int = 0
    """Inputs of which a part was not read."""

    def add(self, tokens: NDArray[np.int32], truncated: NDArray[np.bool_]) -> None:
        """Count a part: each input's tokens, and whether it lost something."""
        self.inputs += len(tokens)
        self.tokens += int(tokens.sum())
        self.truncated += int(truncated.sum())


def texts_of(inputs: Iterable[Mapping[str, Any]], metadata: Any, prompt_type: Any) -> Iterator[str]:
    """The texts of a dataloader's batches, as mteb has put them together from title, body and instruction.

    Raises `InvalidInputError` for a task that gives anything but text.
    """
    modalities = metadata.get_modalities(prompt_type)
    if list(modalities) != ["text"]:
        raise InvalidInputError(
            f"mteb task {metadata.name} gives {' and '.join(modalities)}; Lagotto's models read text"
        )
    return (text for batch in inputs for text in batch["text"])


def side_of(prompt_type: Any) -> Side:
    """The side of a task that mteb's ``PromptType`` means; None is a task without sides."""
    if prompt_type is None:
        return "text"
    return "query" if prompt_type.value == "query" else "document"


def hint_of(metadata: Any, side: Side) -> TaskHint:
    """What mteb knows of the task. An instruction for queries alone also stands for texts without sides."""
    prompt = metadata.prompt or ""
    instruction = prompt if isinstance(prompt, str) else prompt.get("query" if side == "text" else side, "")
    return TaskHint(metadata.name, metadata.type, instruction)


def check_keywords(keywords: Mapping[str, Any]) -> None:
    """Raise `InvalidInputError` for an ``encode_kwargs`` that would change the figures and is not followed.

    ``batch_size`` is accepted and not used: the engine plans its own batches, by tokens. ``precision`` asks for
    quantised vectors; these are float32.
    """
    precision = keywords.get("precision")
    if precision not in (None, "float32"):
        raise InvalidInputError(f"precision is {precision!r}; Lagotto's vectors are float32")
    if unknown := sorted(set(keywords) - {"batch_size", "show_progress_bar", "precision"}):
        raise InvalidInputError(
            f"encode_kwargs {', '.join(unknown)} are not known; allowed are batch_size and show_progress_bar. "
            "Lengths and dimensions are arguments of the model"
        )
