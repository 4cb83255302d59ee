"""Read a checkpoint folder's own config files: what it says it is, without guessing from its name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lagotto.cards.model_config import hidden_size
from lagotto.cards.schema import ModelCard, Pooling, PromptTemplate
from lagotto.core.errors import CheckpointError, ModelNotFoundError, UnsupportedModelError

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


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises `ModelNotFoundError` without it, `CheckpointError` when it is not one."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ModelNotFoundError(f"{path.name} is missing in {path.parent}; a checkpoint folder holds one") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: can't be read as JSON ({error})") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: holds a {type(value).__name__}, expected a JSON object")
    return value


def _read_list(path: Path) -> list[dict[str, Any]]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: can't be read as JSON ({error})") from None
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise CheckpointError(f"{path}: expected a list of objects")
    return value


def read_folder(folder: Path) -> FolderFacts:
    """Read config.json, the tokenizer's config and, where present, sentence-transformers' module files."""
    modules = _read_list(folder / "modules.json") if (folder / "modules.json").is_file() else []
    paths = {_kind(m): _inside(folder, str(m.get("path", ""))) for m in modules}
    transformer = paths.get("Transformer", folder)
    config = read_json(transformer / "config.json")
    pooling, normalize, dense = _read_modules(folder, modules)
    st = _optional_json(folder / "config_sentence_transformers.json")
    bert = _optional_json(transformer / "sentence_bert_config.json")
    prompts = {str(k): str(v) for k, v in (st.get("prompts") or {}).items()}
    architectures = config.get("architectures") or []
    return FolderFacts(
        config=config,
        transformer=transformer,
        pooling=pooling,
        normalize=normalize,
        dense=dense,
        max_length=_max_length(bert, _optional_json(transformer / "tokenizer_config.json")),
        lowercase=bool(bert.get("do_lower_case", False)),
        prompts=prompts,
        default_prompt=st.get("default_prompt_name"),
        reranker=any(str(name).endswith("ForSequenceClassification") for name in architectures),
    )


def _inside(folder: Path, relative: str) -> Path:
    path = (folder / relative).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise CheckpointError(f"{folder}/modules.json: path {relative!r} leaves the folder")
    return folder / relative


def _optional_json(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _kind(module: Mapping[str, Any]) -> str:
    """Last part of a module's class path, which sentence-transformers moved between releases."""
    return str(module.get("type", "")).rpartition(".")[2]


def _max_length(bert: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> int | None:
    stated = [bert.get("max_seq_length"), tokenizer.get("model_max_length")]
    limits = [int(x) for x in stated if isinstance(x, int | float) and 0 < x < _UNLIMITED]
    return min(limits) if limits else None


def _read_modules(
    folder: Path, modules: list[dict[str, Any]]
) -> tuple[Pooling | None, bool | None, tuple[DenseModule, ...]]:
    """Pooling, whether vectors are normalised, dense layers; a folder without modules says nothing of the first two."""
    if not modules:
        return None, None, ()
    pooling: Pooling | None = None
    dense: list[DenseModule] = []
    normalize = False
    for module in modules:
        kind, path = _kind(module), _inside(folder, str(module.get("path", "")))
        if normalize and kind != "Normalize":
            raise UnsupportedModelError(f"{folder}/modules.json: a {kind} module after Normalize is not supported")
        if kind == "Pooling":
            pooling = _read_pooling(path / "config.json")
        elif kind == "Dense":
            if pooling is None:
                raise UnsupportedModelError(f"{folder}/modules.json: a Dense module before Pooling is not supported")
            dense.append(_read_dense(path))
        elif kind == "Normalize":
            normalize = True
        elif kind != "Transformer":
            raise UnsupportedModelError(
                f"{folder}/modules.json: module {module.get('type')!r} is not supported; "
                "Transformer, Pooling, Dense and Normalize are"
            )
    return pooling, normalize, tuple(dense)


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
    chosen = pooling or facts.pooling or (row.pooling if row else None)
    if chosen is None:
        raise CheckpointError(
            f"{facts.transformer} does not say how to pool: it has no modules.json with a Pooling module, and no card "
            "lists it. Pass pooling='cls' (BGE, gte-zh) or 'mean' (e5, gte), or card='BAAI/bge-base-en-v1.5' "
            "with the listed model it was made from"
        )
    base = row or ModelCard(name=name, task="embed", architecture=architecture, heads=("dense",), max_length=1)
    dimension = facts.dense[-1].out_features if facts.dense else hidden_size(facts.config)
    return base.with_changes(
        name=name,
        pooling=chosen,
        normalize=base.normalize if facts.normalize is None else facts.normalize,
        dimension=dimension,
        max_length=_length(facts, row),
        query=_template(facts.prompts, ("query",), base.query),
        document=_template(facts.prompts, ("document", "passage", "corpus"), base.document),
        prompts={**base.prompts, **facts.prompts},
    )


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

    A folder whose prompts are there but empty (as sentence-transformers writes by default) does not overrule a card.
    """
    for key in names:
        if prompts.get(key):
            return PromptTemplate(instruction=prompts[key])
    return fallback
