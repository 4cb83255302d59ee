"""`ScoreOptions`: what a caller may ask of a reranker that is a language model, held against its card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from lagotto.cards.llm_rerankers import allowed_layers, has_layers, is_llm_reranker
from lagotto.cards.schema import ModelCard
from lagotto.core.errors import InvalidInputError

Layers = int | Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreOptions:
    """How pairs are written and where scores are read; None leaves a thing to the reranker's own options or its card.

    >>> ScoreOptions(cutoff_layers=28, compress_layers=[24], compress_ratio=2).cutoff_layers
    28
    """

    cutoff_layers: Layers | None = None
    """After how many layers a score is read; computing ends with the highest of them. Several give a score each."""
    compress_layers: Layers | None = None
    """After how many layers a passage is shortened; those at or above the highest cutoff have no effect."""
    compress_ratio: int | None = None
    """How many tokens of a passage become one; 1 shortens nothing."""
    instruction: str | None = None
    """The task, where the model reads one (Qwen3-Reranker), or what stands before a query (``"A: "``)."""
    document_instruction: str | None = None
    """What stands before a passage (``"B: "``)."""
    prompt: str | None = None
    """What the model is asked about the pair; one of the card's ``prompts`` by name, or a text."""
    compat: bool | None = None
    """Scores as upstream's code computes them: heads counted by their place among the layers asked for, and attention
    without its soft cap. Trained heads are right without it."""

    def over(self, below: ScoreOptions) -> ScoreOptions:
        """These options, and those of ``below`` where they are None."""
        mine = {field.name: getattr(self, field.name) for field in fields(self)}
        return ScoreOptions(**{name: getattr(below, name) if value is None else value for name, value in mine.items()})

    def given(self) -> tuple[str, ...]:
        """The names of what is not None."""
        return tuple(field.name for field in fields(self) if getattr(self, field.name) is not None)


def check_options(options: ScoreOptions, card: ModelCard) -> None:
    """Raise `InvalidInputError` for what the model does not read, or a value that it does not allow."""
    allowed = _allowed(card)
    for name in options.given():
        if name not in allowed:
            reads = f"it reads {', '.join(allowed)}" if allowed else "it has no options"
            raise InvalidInputError(f"{card.name} reads no {name}; {reads}", param=name)
    _check_texts(options, card)
    if not has_layers(card):
        return
    heads = allowed_layers(card)
    _check_layers("cutoff_layers", options.cutoff_layers, heads, card)
    _check_layers("compress_layers", options.compress_layers, range(1, heads[-1]), card, least=0)
    ratios = card.options.get("compress_ratios", [1])
    if options.compress_ratio is not None and options.compress_ratio not in ratios:
        raise InvalidInputError(
            f"compress_ratio is {options.compress_ratio!r}; {card.name} allows {', '.join(map(str, ratios))}",
            param="compress_ratio",
        )


def layers_of(given: Layers) -> tuple[int, ...]:
    """One layer or several as a tuple."""
    return (given,) if isinstance(given, int) else tuple(given)


def _allowed(card: ModelCard) -> tuple[str, ...]:
    if not is_llm_reranker(card):
        return ()
    options = card.options
    names = ["instruction"]
    if card.document.instruction.strip():
        names.append("document_instruction")
    if "prompt" in options:
        names.append("prompt")
    if has_layers(card):
        names.append("cutoff_layers")
    if "lightweight" in card.heads:
        names += ["compress_layers", "compress_ratio", "compat"]
    return tuple(names)


def _check_texts(options: ScoreOptions, card: ModelCard) -> None:
    for name in ("instruction", "document_instruction", "prompt"):
        value = getattr(options, name)
        if value is not None and not isinstance(value, str):
            raise InvalidInputError(f"{name} is a {type(value).__name__}; give a string", param=name)
    if options.instruction == "" and card.query.instruction and not card.query.format.endswith("{text}"):
        raise InvalidInputError(
            f"instruction is empty, and {card.name} reads one; leave it out for its own", param="instruction"
        )
    if options.prompt is not None and not options.prompt.strip():
        raise InvalidInputError("prompt is empty; leave it out for the model's own", param="prompt")


def _check_layers(name: str, given: Layers | None, allowed: Sequence[int], card: ModelCard, *, least: int = 1) -> None:
    if given is None:
        return
    integers = not isinstance(given, bool | str) and isinstance(given, int | Sequence)
    layers = layers_of(given) if integers else ()
    wrong = [layer for layer in layers if isinstance(layer, bool) or layer not in allowed]
    if not integers or wrong or len(layers) < least or len(set(layers)) < len(layers):
        step = allowed[1] - allowed[0] if len(allowed) > 1 else 1
        every = f", every {step}." if step > 1 else ""
        raise InvalidInputError(
            f"{name} is {given!r}; {card.name} allows layers {allowed[0]} to {allowed[-1]}{every}, each once",
            param=name,
        )
