"""`ModelCard`: the facts about one model that its weights do not tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args

from lagotto.core.errors import CheckpointError

Task = Literal["embed", "rerank"]
"""What a model is called for: texts (or images) to vectors, or pairs to scores."""
Pooling = Literal[
    "cls", "mean", "max", "mean_sqrt_len", "last_token", "last_tokens_mean", "splade_max", "splade_sum", "none"
]
"""How hidden states become one vector; ``none`` where the model pools by itself (CLIP) or has no vector (rerankers).

``last_tokens_mean`` averages the last states, as many as the card's option ``last_tokens`` says (LLARA: 8).
``splade_max`` and ``splade_sum`` make a weight for each vocabulary entry of the logits of a masked language model."""
Head = Literal["dense", "sparse", "multi_vector", "classification", "yes_logit", "layerwise", "lightweight"]
"""What is computed from the hidden states."""
LLM_HEADS: tuple[Head, ...] = ("yes_logit", "layerwise", "lightweight")
"""Heads of language models that rerank: they read the last token's state of a prompt that holds the pair.

``yes_logit`` compares it with rows of the vocabulary, ``layerwise`` with a head a layer; ``lightweight`` also shortens
passages between layers."""


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """How one side's text is written before tokenising, e.g. ``"{instruction}{text}"``.

    `instruction` is the default; a caller may give another. With an empty instruction the text stays as it is,
    whatever the format says, which is what FlagEmbedding and sentence-transformers do.
    """

    instruction: str = ""
    format: str = "{instruction}{text}"

    def render(self, text: str, instruction: str | None = None) -> str:
        """The text as the model should see it; ``instruction=None`` means the card's own."""
        before, after = self.around(instruction)
        return before + text + after

    def around(self, instruction: str | None = None) -> tuple[str, str]:
        """What stands before and after a text; ``instruction=None`` means the card's own."""
        chosen = self.instruction if instruction is None else instruction
        if not chosen:
            return "", ""
        # Not str.format: a text or an instruction may hold braces of its own.
        head, _, tail = self.format.partition("{text}")
        return head.replace("{instruction}", chosen), tail.replace("{instruction}", chosen)


@dataclass(frozen=True, slots=True)
class ModelCard:
    """One model as data. A row of ``cards/data/*.toml``, or read from a checkpoint folder's own files."""

    name: str
    """Hub id (``BAAI/bge-m3``), or the folder's name for an unlisted checkpoint."""
    task: Task
    architecture: str
    """`model_type` of the checkpoint's config.json: ``bert``, ``xlm-roberta``, ``qwen3`` ..."""
    heads: tuple[Head, ...]
    max_length: int
    """Most tokens the model accepts, special tokens included."""
    pooling: Pooling = "none"
    normalize: bool = True
    """Whether vectors are L2-normalised by default."""
    dimension: int | None = None
    """Length of the dense vector, or None for a model that gives none."""
    matryoshka: tuple[int, ...] = ()
    """Dimensions the model was trained to be cut to; empty if it was not."""
    query: PromptTemplate = PromptTemplate()
    document: PromptTemplate = PromptTemplate()
    prompts: Mapping[str, str] = field(default_factory=dict)
    """Further named prompts (a prefix each), e.g. sentence-transformers' or llm-embedder's tasks."""
    languages: tuple[str, ...] = ()
    """ISO 639-1 codes; ``multilingual`` where the list is long."""
    licence: str = ""
    parameters: int | None = None
    """Number of weights, in millions."""
    end_token: str = ""
    """Token that texts of a model with last-token pooling were trained to end with; empty where that is not known."""
    bidirectional: bool = False
    """Trained with attention in both directions, though its architecture is a language model's (gte-Qwen2)."""
    remote_code: bool = False
    """Upstream runs this model through Python code in its repository. Lagotto never executes such code."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Facts only one head needs, e.g. ``cutoff_layers`` or ``prompt`` of an LLM reranker, ``activation`` of SPLADE."""
    note: str = ""
    """One sentence a user should know."""

    def __post_init__(self) -> None:
        _one_of(self, "task", get_args(Task))
        _one_of(self, "pooling", get_args(Pooling))
        for head in self.heads:
            if head not in get_args(Head):
                raise CheckpointError(f"card {self.name!r}: head {head!r} is none of {', '.join(get_args(Head))}")
        if self.max_length < 1:
            raise CheckpointError(f"card {self.name!r}: max_length is {self.max_length}, must be at least 1")

    def with_changes(self, **changes: Any) -> ModelCard:
        """A copy with some fields replaced."""
        return replace(self, **changes)


def card_from_row(row: Mapping[str, Any]) -> ModelCard:
    """A card from one TOML row; an unknown key is an error, since it would be a fact nobody reads."""
    known = {f.name for f in fields(ModelCard)}
    unknown = sorted(set(row) - known)
    if unknown:
        raise CheckpointError(f"card {row.get('name')!r}: unknown keys {unknown}; known are {sorted(known)}")
    values: dict[str, Any] = dict(row)
    for key in ("heads", "matryoshka", "languages"):
        values[key] = tuple(values.get(key, ()))
    for key in ("query", "document"):
        values[key] = PromptTemplate(**values.get(key, {}))
    return ModelCard(**values)


def _one_of(card: ModelCard, field_name: str, allowed: tuple[str, ...]) -> None:
    value = getattr(card, field_name)
    if value not in allowed:
        raise CheckpointError(f"card {card.name!r}: {field_name} {value!r} is none of {', '.join(allowed)}")
