"""Read a checkpoint folder's own config files: what it says it is, without guessing from its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lagotto.cards.architectures import DECODERS
from lagotto.cards.colbert import ColBert, Module, read_colbert
from lagotto.cards.json_files import optional_json, read_json, read_json_list
from lagotto.cards.model_config import hidden_size
from lagotto.cards.schema import ModelCard, Pooling, PromptTemplate
from lagotto.cards.splade import is_splade, read_splade
from lagotto.core.errors import CheckpointError, InvalidInputError, UnsupportedModelError

_UNLIMITED = 1_000_000  # transformers writes 1e30 where a tokenizer has no limit of its own
_POOLING_SWITCHES: dict[str, Pooling] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
    "pooling_mode_lasttoken": "last_token",
}
_POOLING_NAMES: dict[str, Pooling] = {
    "cls": "cls",
    "mean": "mean",
    "max": "max",
    "mean_sqrt_len_tokens": "mean_sqrt_len",
    "lasttoken": "last_token",
}
_TRANSFORMERS = ("Transformer", "MLMTransformer")
_ACTIVATIONS = {"Tanh": "tanh", "Identity": "identity", "ReLU": "relu", "GELU": "gelu"}


@dataclass(frozen=True, slots=True)
class DenseModule:
    """A sentence-transformers ``Dense`` layer after pooling: Linear, then an activation."""

    folder: Path
    in_features: int
    out_features: int
    bias: bool
    activation: str
    """``identity``, ``tanh``, ``relu`` or ``gelu``."""


@dataclass(frozen=True, slots=True)
class FolderFacts:
    """Everything a folder says about itself; None where it is silent."""

    config: Mapping[str, Any]
    """config.json of the transformer, as it stands."""
    transformer: Path
    """Folder of the transformer's weights and tokenizer (sentence-transformers may keep it in a sub-folder)."""
    pooling: Pooling | None
    normalize: bool | None
    dense: tuple[DenseModule, ...]
    max_length: int | None
    lowercase: bool
    prompts: Mapping[str, str]
    default_prompt: str | None
    reranker: bool
    """config.json names a sequence-classification head."""
    masked_lm: bool = False
    """config.json names a masked-language-model head, which SPLADE reads its weights from."""
    colbert: ColBert | None = None
    """Set where the folder is a late-interaction model, which has no pooling."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further facts of the head, for the card's options."""


def read_folder(folder: Path) -> FolderFacts:
    """Read config.json, the tokenizer's config and, where present, sentence-transformers' module files."""
    listed = read_json_list(folder / "modules.json") if (folder / "modules.json").is_file() else []
    modules = [(_kind(m), _inside(folder, str(m.get("path", "")))) for m in listed]
    transformer = next((path for kind, path in modules if kind in _TRANSFORMERS), folder)
    config = read_json(transformer / "config.json")
    st = optional_json(folder / "config_sentence_transformers.json")
    bert = optional_json(transformer / "sentence_bert_config.json")
    colbert = read_colbert(folder, transformer, config, modules)
    told = _Modules() if colbert else _read_modules(folder, modules, st)
    prompts = {str(k): str(v) for k, v in (st.get("prompts") or {}).items()}
    architectures = [str(name) for name in config.get("architectures") or []]
    return FolderFacts(
        config=config,
        transformer=transformer,
        pooling=told.pooling,
        normalize=told.normalize,
        dense=tuple(told.dense),
        max_length=_max_length(bert, optional_json(transformer / "tokenizer_config.json")),
        lowercase=bool(bert.get("do_lower_case", False)),
        prompts=colbert.plain_prompts(prompts) if colbert else prompts,
        default_prompt=st.get("default_prompt_name"),
        reranker=any(name.endswith("ForSequenceClassification") for name in architectures),
        masked_lm=any(name.endswith("ForMaskedLM") for name in architectures),
        colbert=colbert,
        options=told.options,
    )


def _inside(folder: Path, relative: str) -> Path:
    path = (folder / relative).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise CheckpointError(f"{folder}/modules.json: path {relative!r} leaves the folder")
    return folder / relative


def _kind(module: Mapping[str, Any]) -> str:
    """Last part of a module's class path, which sentence-transformers moved between releases."""
    return str(module.get("type", "")).rpartition(".")[2]


def _max_length(bert: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> int | None:
    stated = [bert.get("max_seq_length"), tokenizer.get("model_max_length")]
    limits = [int(x) for x in stated if isinstance(x, int | float) and 0 < x < _UNLIMITED]
    return min(limits) if limits else None


@dataclass(slots=True)
class _Modules:
    """What modules.json tells; a folder without one says nothing of pooling and normalising."""

    pooling: Pooling | None = None
    normalize: bool | None = None
    dense: list[DenseModule] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)


def _read_modules(folder: Path, modules: list[Module], settings: Mapping[str, Any]) -> _Modules:
    told = _Modules()
    if not modules:
        return told
    told.normalize = False
    for kind, path in modules:
        if kind in _TRANSFORMERS:
            continue
        if kind not in ("Pooling", "SpladePooling", "Dense", "Normalize"):
            raise UnsupportedModelError(
                f"{folder}/modules.json: module {kind!r} is not supported; "
                f"{', '.join(_TRANSFORMERS)}, Pooling, SpladePooling, Dense and Normalize are"
            )
        if told.normalize or is_splade(told.pooling):
            before = "Normalize" if told.normalize else "SpladePooling"
            raise UnsupportedModelError(f"{folder}/modules.json: a {kind} module after {before} is not supported")
        if kind == "Pooling":
            told.pooling = _read_pooling(path / "config.json")
        elif kind == "SpladePooling":
            told.pooling, told.options = read_splade(path, settings)
        elif kind == "Normalize":
            told.normalize = True
        elif told.pooling is None:
            raise UnsupportedModelError(f"{folder}/modules.json: a Dense module before Pooling is not supported")
        else:
            told.dense.append(_read_dense(path))
    return told


def _read_pooling(path: Path) -> Pooling:
    raw = read_json(path)
    if not raw.get("include_prompt", True):
        raise UnsupportedModelError(f"{path}: include_prompt = false (Instructor models) is not supported")
    if isinstance(mode := raw.get("pooling_mode"), str):
        if mode not in _POOLING_NAMES:
            raise UnsupportedModelError(f"{path}: pooling_mode {mode!r} is not supported; {sorted(_POOLING_NAMES)} are")
        return _POOLING_NAMES[mode]
    chosen = [key for key, value in raw.items() if key.startswith("pooling_mode_") and value]
    if len(chosen) != 1 or chosen[0] not in _POOLING_SWITCHES:
        raise UnsupportedModelError(
            f"{path}: pooling {chosen or 'of no kind'} is not supported; exactly one of {sorted(_POOLING_SWITCHES)} is"
        )
    return _POOLING_SWITCHES[chosen[0]]


def _read_dense(folder: Path) -> DenseModule:
    raw = read_json(folder / "config.json")
    for key in ("module_input_name", "module_output_name"):
        if raw.get(key) not in (None, "sentence_embedding"):
            raise UnsupportedModelError(f"{folder}: {key} = {raw[key]!r} is not supported; 'sentence_embedding' is")
    name = str(raw.get("activation_function", "torch.nn.modules.activation.Tanh")).rpartition(".")[2]
    if name not in _ACTIVATIONS:
        raise UnsupportedModelError(f"{folder}: activation {name!r} is not supported; {sorted(_ACTIVATIONS)} are")
    try:
        sizes = int(raw["in_features"]), int(raw["out_features"])
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(f"{folder / 'config.json'}: in_features and out_features must be numbers") from None
    return DenseModule(folder, *sizes, bias=bool(raw.get("bias", True)), activation=_ACTIVATIONS[name])


def card_from_folder(name: str, facts: FolderFacts, row: ModelCard | None, pooling: Pooling | None) -> ModelCard:
    """The card of a folder: its own files where they speak, the listed row where they are silent.

    ``pooling`` is the caller's word and stands above both. Raises `CheckpointError` when nobody says how to pool.
    """
    architecture = str(facts.config.get("model_type"))
    if row is not None and row.architecture != architecture:
        raise CheckpointError(
            f"{facts.transformer}/config.json says architecture {architecture!r}, "
            f"the card of {row.name} says {row.architecture!r}: this is not that model"
        )
    if facts.reranker or (row is not None and row.task == "rerank"):
        return _reranker_card(name, facts, row, architecture)
    chosen = _pooling(facts, row, pooling)
    splade = is_splade(chosen)
    base = row or ModelCard(name=name, task="embed", architecture=architecture, heads=("dense",), max_length=1)
    dimension = facts.dense[-1].out_features if facts.dense else hidden_size(facts.config)
    if splade or facts.colbert is not None:
        base = base.with_changes(heads=("sparse",) if splade else ("multi_vector",), normalize=not splade)
        dimension = None
    return base.with_changes(
        name=name,
        pooling=chosen,
        normalize=base.normalize if facts.normalize is None else facts.normalize,
        dimension=dimension,
        max_length=_length(facts, row),
        query=_template(facts.prompts, ("query",), base.query),
        document=_template(facts.prompts, ("document", "passage", "corpus"), base.document),
        prompts={**base.prompts, **facts.prompts},
        options={**base.options, **facts.options},
        bidirectional=_bidirectional(facts, base),
    )


def _bidirectional(facts: FolderFacts, base: ModelCard) -> bool:
    """``is_causal`` of a language model's config.json, the card's word where it says nothing."""
    told = facts.config.get("is_causal")
    return base.bidirectional if not isinstance(told, bool) or base.architecture not in DECODERS else not told


def _pooling(facts: FolderFacts, row: ModelCard | None, asked: Pooling | None) -> Pooling:
    """The caller's word, the folder's, the card's. Raises where nobody says, or where there is nothing to choose."""
    if facts.colbert is not None:
        if asked is not None:
            raise InvalidInputError(
                f"{facts.transformer} is a ColBERT model: it gives token vectors and is not pooled; leave out "
                f"pooling={asked!r}",
                param="pooling",
            )
        return "none"
    if is_splade(facts.pooling) and asked is not None and not is_splade(asked):
        raise InvalidInputError(
            f"{facts.transformer} is a SPLADE model: it gives sparse weights and no dense vector; leave out "
            f"pooling={asked!r}",
            param="pooling",
        )
    chosen = asked or facts.pooling or (row.pooling if row else None)
    if chosen is None:
        splade = (
            ", or 'splade_max' (SPLADE v2 and later) or 'splade_sum', if its masked-language-model head was trained to "
            "give sparse weights"
        )
        raise CheckpointError(
            f"{facts.transformer} does not say how to pool: it has no modules.json with a Pooling module, and no card "
            f"lists it. Pass pooling='cls' (BGE, gte-zh) or 'mean' (e5, gte){splade if facts.masked_lm else ''}, or "
            "card='BAAI/bge-base-en-v1.5' with the listed model it was made from"
        )
    return chosen


def _reranker_card(name: str, facts: FolderFacts, row: ModelCard | None, architecture: str) -> ModelCard:
    base = row or ModelCard(
        name=name, task="rerank", architecture=architecture, heads=("classification",), max_length=1, normalize=False
    )
    return base.with_changes(name=name, max_length=_length(facts, row))


def _length(facts: FolderFacts, row: ModelCard | None) -> int:
    """The smallest stated limit; a listed row fills in where the folder says nothing."""
    if facts.max_length is not None:
        return facts.max_length
    if row is not None:
        return row.max_length
    positions = facts.config.get("max_position_embeddings")
    if not isinstance(positions, int):
        raise CheckpointError(f"{facts.transformer}: nothing says how many tokens the model accepts")
    return positions


def _template(prompts: Mapping[str, str], names: tuple[str, ...], fallback: PromptTemplate) -> PromptTemplate:
    """sentence-transformers' named prompt as a template; its prompts are plain prefixes.

    One that is the card's template with an instruction in it stays that template, so that another instruction can be
    put in. A folder whose prompts are there but empty (as sentence-transformers writes by default) does not overrule a
    card.
    """
    for key in names:
        if prompts.get(key):
            return _filled_in(prompts[key], fallback) or PromptTemplate(instruction=prompts[key])
    return fallback


def _filled_in(prompt: str, template: PromptTemplate) -> PromptTemplate | None:
    """The template with the instruction that a prompt has in its place; None for a prompt of another form."""
    start, place, rest = template.format.partition("{instruction}")
    end, text, behind = rest.partition("{text}")
    if not place or not text or behind or not (start or end) or len(prompt) < len(start) + len(end):
        return None
    if not prompt.startswith(start) or not prompt.endswith(end):
        return None
    return replace(template, instruction=prompt[len(start) : len(prompt) - len(end)])
