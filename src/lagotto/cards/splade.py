"""What a folder says about SPLADE: how a masked-language-model's logits become one weight a vocabulary entry.

Source: Formal et al. 2021 (SPLADE: sum over tokens; SPLADE v2: maximum), and sentence-transformers' ``SpladePooling``,
whose config keys are read here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from lagotto.cards.json_files import read_json
from lagotto.cards.schema import Pooling
from lagotto.core.errors import CheckpointError, UnsupportedModelError

STRATEGIES: Final[Mapping[str, Pooling]] = {"max": "splade_max", "sum": "splade_sum"}
"""`SpladePooling`'s names for the way over the tokens."""
ACTIVATIONS: Final = ("relu", "log1p_relu")
"""``relu``: log(1 + relu(x)), what every SPLADE does; ``log1p_relu``: log(1 + log(1 + relu(x))), OpenSearch's."""


def is_splade(pooling: Pooling | None) -> bool:
    """Whether a pooling gives weights of vocabulary entries and no dense vector."""
    return pooling in STRATEGIES.values()


def read_splade(folder: Path, settings: Mapping[str, Any]) -> tuple[Pooling, dict[str, Any]]:
    """The pooling and the card's options of a ``SpladePooling`` module.

    ``settings`` is config_sentence_transformers.json, which may bound how many entries a text keeps. Raises
    `UnsupportedModelError` for a strategy or an activation that is not known, `CheckpointError` for a bad bound.
    """
    raw = read_json(folder / "config.json")
    strategy, activation = raw.get("pooling_strategy", "max"), raw.get("activation_function", "relu")
    if strategy not in STRATEGIES or activation not in ACTIVATIONS:
        raise UnsupportedModelError(
            f"{folder / 'config.json'}: pooling_strategy {strategy!r} with activation_function {activation!r} is not "
            f"supported; {' and '.join(STRATEGIES)} with {' and '.join(ACTIVATIONS)} are"
        )
    options: dict[str, Any] = {} if activation == "relu" else {"activation": activation}
    most = settings.get("max_active_dims")
    if most is not None:
        if isinstance(most, bool) or not isinstance(most, int) or most < 1:
            raise CheckpointError(f"config_sentence_transformers.json: max_active_dims is {most!r}, must be at least 1")
        options["max_active_dims"] = most
    return STRATEGIES[strategy], options
