"""From a card and a caller's options to a prompt in token ids and what is asked of the engine."""

from __future__ import annotations

from dataclasses import dataclass

from lagotto.batch.pair_prompt import PairPrompt
from lagotto.batch.tokenizer import Tokenizer
from lagotto.cards.checkpoint import Checkpoint
from lagotto.cards.json_files import optional_json
from lagotto.cards.llm_rerankers import has_layers
from lagotto.cards.schema import ModelCard
from lagotto.core.errors import CheckpointError
from lagotto.engines.base import Scoring
from lagotto.models.score_options import ScoreOptions, layers_of


@dataclass(frozen=True, slots=True)
class PairScoring:
    """How a call's pairs are written and scored."""

    prompt: PairPrompt
    output: Scoring

    @property
    def width(self) -> int:
        """Scores a pair has."""
        return max(1, len(self.output.cutoff_layers))


def pair_scoring(checkpoint: Checkpoint, tokenizer: Tokenizer, options: ScoreOptions) -> PairScoring:
    """What the options, which `check_options` has seen, mean for this model. Raises `CheckpointError`."""
    prompt = _prompt(checkpoint, tokenizer, options)
    return PairScoring(prompt, _output(checkpoint.card, tokenizer, options, len(prompt.closing)))


def _prompt(checkpoint: Checkpoint, tokenizer: Tokenizer, options: ScoreOptions) -> PairPrompt:
    card, facts = checkpoint.card, checkpoint.card.options
    separator = tokenizer.plain(facts["separator"]) if facts["separator"] else ()
    asked = options.prompt or facts.get("prompt", "")
    asked = facts.get("prompts", {}).get(asked, asked)
    before, after = card.query.around(options.instruction)
    if not before + after:
        before = facts.get("bare_query", "")
    document = card.document.around(options.document_instruction)[0]
    closing = [*separator, *tokenizer.plain(asked)] if asked else []
    ending = facts.get("ending", "")
    return PairPrompt(
        opening=tokenizer.plain(facts["opening"]) if "opening" in facts else _beginning(checkpoint, tokenizer),
        query=(before, after),
        query_start=tokenizer.plain(before.rstrip()),
        query_end=tokenizer.plain(after),
        separator=separator,
        document=document,
        document_start=tokenizer.plain(document.rstrip()),
        closing=(*closing, *tokenizer.plain(ending)),
        counted=facts.get("max_length_counts", "passage"),
        most=checkpoint.config.max_tokens,
    )


def _beginning(checkpoint: Checkpoint, tokenizer: Tokenizer) -> tuple[int, ...]:
    """The token that begins a text, as tokenizer_config.json names it; none where it is the padding token too."""
    told = optional_json(checkpoint.folder / "tokenizer_config.json").get("bos_token")
    name = told.get("content") if isinstance(told, dict) else told
    found = tokenizer.token_id(name) if isinstance(name, str) else None
    return () if found is None or found == tokenizer.pad_id else (found,)


def _output(card: ModelCard, tokenizer: Tokenizer, options: ScoreOptions, closing: int) -> Scoring:
    facts = card.options
    if not has_layers(card):
        no = facts.get("no_token")
        return Scoring(
            yes=_token(card, tokenizer, facts["yes_token"]), no=None if no is None else _token(card, tokenizer, no)
        )
    cutoff = layers_of(facts["cutoff_layers"] if options.cutoff_layers is None else options.cutoff_layers)
    ratio = facts.get("compress_ratio", 1) if options.compress_ratio is None else options.compress_ratio
    chosen = facts.get("compress_layers", ()) if options.compress_layers is None else options.compress_layers
    # What has no effect is left out, so that rows which are computed alike may share a batch.
    shorten = tuple(sorted(n for n in layers_of(chosen) if n < max(cutoff))) if ratio > 1 else ()
    return Scoring(
        cutoff_layers=cutoff,
        compress_layers=shorten,
        compress_ratio=ratio if shorten else 1,
        closing=closing if shorten else 0,
        compat=bool(options.compat),
    )


def _token(card: ModelCard, tokenizer: Tokenizer, text: str) -> int:
    """The first token of an answer."""
    found = tokenizer.plain(text)
    if not found:
        raise CheckpointError(f"{card.name}: its tokenizer has no token for {text!r}, whose logit is the score")
    return found[0]
