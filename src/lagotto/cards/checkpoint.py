"""`Checkpoint`: a folder of weights understood, ready for an engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import get_args

from lagotto.cards.adapter import Adapter
from lagotto.cards.architectures import (
    LARGEST_NATIVE_DECODER,
    NATIVE_ARCHITECTURES,
    NATIVE_DECODERS,
    OWN_DECODERS,
    EngineName,
    engine_for,
)
from lagotto.cards.card_file import chosen_card, is_card_file
from lagotto.cards.colbert import ColBert
from lagotto.cards.decoder_config import DecoderConfig
from lagotto.cards.encoder_config import EncoderConfig, read_config
from lagotto.cards.end_token import read_end_token
from lagotto.cards.fingerprint import fingerprint
from lagotto.cards.folder import DenseModule, FolderFacts, card_from_folder, read_folder
from lagotto.cards.hubs import HEAD_FILES
from lagotto.cards.llm_rerankers import folder_options, is_llm_reranker
from lagotto.cards.model_config import ModelConfig
from lagotto.cards.native_decoder import native_decoder, plain_use
from lagotto.cards.quantized import QuantizedFacts, check_usable, read_quantized
from lagotto.cards.registry import find_card, find_named
from lagotto.cards.schema import ModelCard, Pooling, Task
from lagotto.cards.sources import Source
from lagotto.cards.weights import Weights
from lagotto.core.errors import CheckpointError, InvalidInputError, ModelNotFoundError, UnsupportedModelError


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One model: its card, sizes and files."""

    name: str
    folder: Path
    """Folder of the transformer's weights and tokenizer."""
    card: ModelCard
    config: ModelConfig
    dense: tuple[DenseModule, ...]
    lowercase: bool
    """Texts are lowercased before tokenising (sentence-transformers' ``do_lower_case``)."""
    default_prompt: str
    """Prefix of texts that are neither marked as query nor as document; usually empty."""
    quantized: QuantizedFacts | None = None
    """Set where the folder holds int8 weights."""
    colbert: ColBert | None = None
    """How a late-interaction model writes texts and projects tokens; None for any other model."""
    end_token: str = ""
    """Token that every text has to end with; empty where nobody asks for one."""
    decoder: DecoderConfig | None = None
    """The layers of a language model whose graph Lagotto builds for OpenVINO; None for any other model."""
    adapter: Adapter | None = None
    """Changes the weights when they are loaded."""
    adapters: tuple[tuple[str, Adapter], ...] = ()
    """By name, those that stay beside the weights; a call chooses one of them, or none."""

    @property
    def native(self) -> bool:
        """Whether Lagotto builds its graph for OpenVINO."""
        return self.decoder is not None or isinstance(self.config, EncoderConfig)

    @property
    def max_length(self) -> int:
        """Most tokens one sequence may have, special tokens included."""
        return min(self.card.max_length, self.config.max_tokens)

    @property
    def usual_length(self) -> int:
        """Tokens a text may have unless the caller says otherwise: a ColBERT model's document length."""
        own = self.colbert.document_length if self.colbert else None
        return min(own or self.max_length, self.max_length)

    @property
    def weight_folders(self) -> tuple[Path, ...]:
        """Every folder that weights are read from, the transformer's first."""
        further = (*(module.folder for module in self.dense), *(self.colbert.projections if self.colbert else ()))
        return (self.folder, *(folder for folder in further if folder != self.folder))

    def files(self) -> Iterator[Path]:
        """Every file whose content decides what the model answers."""
        for folder in self.weight_folders:
            yield from Weights.open(folder).files()
        yield self.folder / "tokenizer.json"
        if self.config.architecture not in NATIVE_ARCHITECTURES:
            yield self.folder / "config.json"  # which transformers reads, and `config` holds a part of
        yield from (self.folder / name for name in HEAD_FILES if (self.folder / name).is_file())
        if self.adapter is not None:
            yield from self.adapter.files()

    def fingerprint(self, precision: str, cache: Path) -> str:
        """32 hex digits over weights, tokenizer, pooling, prompts and precision."""
        card = self.card
        facts = {
            "config": asdict(self.config),
            "pooling": card.pooling,
            "normalize": card.normalize,
            "prompts": [asdict(card.query), asdict(card.document), self.default_prompt, dict(card.prompts)],
            "max_length": self.max_length,
            "lowercase": self.lowercase,
            "dense": [(m.folder.name, m.activation, m.in_features, m.out_features, m.bias) for m in self.dense],
            "precision": precision,
        }
        if card.options:
            facts["options"] = dict(card.options)
        if card.bidirectional:
            facts["bidirectional"] = True
        if self.end_token:
            facts["end_token"] = self.end_token
        if self.colbert is not None:
            names = ["" if folder == self.folder else folder.name for folder in self.colbert.projections]
            facts["colbert"] = asdict(self.colbert) | {"projections": names}
        return fingerprint(self.files(), facts, cache)


def open_checkpoint(
    source: Source,
    task: Task,
    *,
    card: str | None = None,
    pooling: Pooling | None = None,
    adapter: Adapter | None = None,
) -> Checkpoint:
    """Understand a folder for a task.

    ``card`` names the listed model it was made from, or a TOML file that describes it; ``pooling`` says how to pool
    where nothing else does, ``adapter`` is merged into its weights.
    Raises `UnsupportedModelError` for a model this version does not run, `CheckpointError` for files that
    contradict each other, `ModelNotFoundError` for a missing file.
    """
    row = chosen_card(card) if card else source.card_for(task)
    if row is not None:
        check_runs(row)
        _check_task(row, task)
    check_pooling(pooling)
    facts = read_folder(source.folder)
    known = row is not None and not row.remote_code and not (card and is_card_file(card))
    config = read_config(facts.config, facts.transformer, plain=known)
    prompted = row is not None and is_llm_reranker(row)
    if task == "rerank" and not facts.reranker and not prompted and adapter is not None and adapter.scores:
        facts, config = replace(facts, reranker=True), replace(config, num_labels=1)  # a head that the adapter brings
    if task == "rerank" and not facts.reranker and not prompted:
        raise CheckpointError(
            f"{source.name} has no sequence-classification head (config.json: architectures "
            f"{facts.config.get('architectures')}), so it can't score pairs; use Embedder, or name a reranker. For a "
            "language model name the listed reranker it was made from, card='BAAI/bge-reranker-v2-gemma', or a TOML "
            "file that says how it is asked, card='my-reranker.toml'"
        )
    if not (facts.transformer / "tokenizer.json").is_file():
        raise ModelNotFoundError(
            f"tokenizer.json is missing in {facts.transformer}; save the tokenizer with "
            "AutoTokenizer.from_pretrained(...).save_pretrained(folder)"
        )
    quantized = read_quantized(facts.transformer)
    if quantized is not None:
        check_usable(facts.transformer, quantized)
        row = row or (find_card(quantized.card) if quantized.card else None)
        pooling = pooling or quantized.pooling
    understood = card_from_folder(source.name, facts, row, pooling)
    if prompted:
        understood = understood.with_changes(options=folder_options(understood, facts.config, facts.transformer))
    _check_task(understood, task)
    _check_head(understood, config)
    _check_expansion(facts, config)
    return Checkpoint(
        source.name,
        facts.transformer,
        understood,
        config,
        facts.dense,
        facts.lowercase,
        _default_prompt(facts),
        quantized,
        facts.colbert,
        read_end_token(facts.transformer, understood),
        native_decoder(facts.config, facts.transformer, understood, config.max_tokens),
        adapter,
    )


def check_listed(name: str, task: Task, card: str | None = None) -> None:
    """Refuse what can be refused by name alone, before gigabytes are fetched.

    Raises `UnsupportedModelError` for a listed model that does not run yet, `InvalidInputError` for one that does
    something else, or for a ``card`` that is neither listed nor a file.
    """
    row = chosen_card(card) if card else find_named(name)
    if row is not None:
        check_runs(row)
        _check_task(row, task)


def check_pooling(pooling: str | None) -> None:
    """Raise `InvalidInputError` unless it is a pooling this version knows."""
    allowed = [name for name in get_args(Pooling) if name != "none"]
    if pooling is not None and pooling not in allowed:
        raise InvalidInputError(f"pooling is {pooling!r}; allowed are {', '.join(allowed)}")


def check_runs(card: ModelCard) -> None:
    """Raise `UnsupportedModelError` for a listed model that this version does not run yet."""
    if not runs(card):
        raise UnsupportedModelError(
            f"{card.name} is listed but not run by this version: its way from texts to {' + '.join(card.heads)} "
            f"(architecture {card.architecture!r}) comes later. `lagotto models list --runs` shows what runs"
        )


def runs(card: ModelCard) -> bool:
    """Whether this version runs the model, on whichever engine."""
    return runs_on(card) is not None


def runs_on(card: ModelCard) -> EngineName | None:
    """The engine that runs the model on a CPU; None for one that no engine runs yet.

    An encoder or language model with a dense vector or a classification head runs, a language model that reranks, and
    an encoder of Lagotto's own with sparse weights or token vectors alone (SPLADE, ColBERT), unless its authors run it
    through code of their own that is not written here.
    """
    if card.remote_code and card.architecture not in OWN_DECODERS:
        return None
    engine = engine_for(card.architecture)
    small = card.parameters is not None and card.parameters * 1_000_000 <= LARGEST_NATIVE_DECODER
    if small and card.architecture in NATIVE_DECODERS and plain_use(card):
        engine = "openvino"
    if "classification" in card.heads or is_llm_reranker(card) or ("dense" in card.heads and card.pooling != "none"):
        return engine
    return engine if engine == "openvino" and {"sparse", "multi_vector"} & set(card.heads) else None


def _default_prompt(facts: FolderFacts) -> str:
    if facts.default_prompt is None:
        return ""
    if facts.default_prompt not in facts.prompts:
        raise CheckpointError(
            f"config_sentence_transformers.json names {facts.default_prompt!r} as default prompt; "
            f"its prompts are {', '.join(facts.prompts) or 'none'}"
        )
    return facts.prompts[facts.default_prompt]


def _check_task(card: ModelCard, task: Task) -> None:
    if card.task != task:
        use = "Reranker" if card.task == "rerank" else "Embedder"
        raise InvalidInputError(f"{card.name} is a model to {card.task}, not to {task}: open it with {use}")


def _check_head(card: ModelCard, config: ModelConfig) -> None:
    if "classification" in card.heads and config.num_labels != 1:
        raise UnsupportedModelError(f"{card.name} has {config.num_labels} labels; a reranker gives one score per pair")
    if card.pooling == "none" and card.task == "embed" and "multi_vector" not in card.heads:
        raise UnsupportedModelError(f"{card.name}: an encoder needs a pooling to give one vector")
    if card.pooling == "last_tokens_mean" and not _is_count(card.options.get("last_tokens")):
        raise CheckpointError(
            f"{card.name}: last_tokens_mean needs the number of states, and nobody says it; pass "
            "card='BAAI/LLARA-passage', or the listed model it was made from"
        )
    if card.pooling == "last_tokens_mean" and card.architecture in NATIVE_ARCHITECTURES:
        raise UnsupportedModelError(f"{card.name}: last_tokens_mean is for language models, not {card.architecture}")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _check_expansion(facts: FolderFacts, config: ModelConfig) -> None:
    expanded = facts.colbert.expanded_length if facts.colbert else None
    if expanded is not None and expanded > config.max_tokens:
        raise CheckpointError(
            f"{facts.transformer}: queries are filled up to {expanded} tokens, "
            f"the encoder has {config.max_tokens} positions"
        )
