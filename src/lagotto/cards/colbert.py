"""`ColBert`: what a late-interaction checkpoint says about itself, whichever library wrote it.

Three layouts are read: PyLate's (Transformer and Dense modules, settings in config_sentence_transformers.json),
sentence-transformers' ``MultiVectorEncoder`` (the same with ``MultiVectorMask`` and ``Normalize`` modules), and
Stanford's (one checkpoint with ``linear.weight``, settings in artifact.metadata). Source of the method: Khattab and
Zaharia 2020 (ColBERT), Santhanam et al. 2022 (ColBERTv2); of the defaults: PyLate's and colbert-ir's configurations.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lagotto.cards.json_files import optional_json, read_json
from lagotto.core.errors import CheckpointError, UnsupportedModelError

Module = tuple[str, Path]
"""A sentence-transformers module: the last part of its class path, and its folder."""

_TYPES = ("ColBERT", "MultiVectorEncoder")
_PYLATE_KEYS = ("query_prefix", "document_prefix", "do_query_expansion", "attend_to_expansion_tokens", "skiplist_words")
_STANFORD = "HF_ColBERT"
_QUERY_LENGTH = 32


@dataclass(frozen=True, slots=True)
class ColBert:
    """How texts are written for a ColBERT model, and how hidden states become token vectors."""

    projections: tuple[Path, ...]
    """Folders whose weights hold ``linear.weight`` (and perhaps ``linear.bias``), in the order they are applied."""
    query_marker: str = ""
    """The token put behind the first one of a query; empty for none, or where a prompt brings it as text."""
    document_marker: str = ""
    query_length: int | None = None
    """Tokens a query is cut to, special tokens and marker included; None: as many as the model reads."""
    document_length: int | None = None
    """The same for a document."""
    expanded_length: int | None = None
    """Tokens a shorter query is filled up to with the expansion token; None: queries stay as they are."""
    expansion_token: str | None = None
    """None: the tokenizer's mask token."""
    attend: bool = False
    """Whether a query's own tokens see the expansion tokens."""
    skipped: tuple[str, ...] = ()
    """Tokens that get no vector in a document."""

    def plain_prompts(self, prompts: Mapping[str, str]) -> dict[str, str]:
        """Named prompts without the markers, which some saves hold as text too and which are put in as tokens."""
        markers = {"query": self.query_marker, "document": self.document_marker}
        return {name: prompt.removeprefix(markers.get(name, "")) for name, prompt in prompts.items()}


def read_colbert(
    folder: Path, transformer: Path, config: Mapping[str, Any], modules: Sequence[Module]
) -> ColBert | None:
    """The description of a ColBERT folder; None for a folder that is none.

    Raises `UnsupportedModelError` for a variant that is computed in another way, `CheckpointError` for settings that
    make no sense.
    """
    settings = optional_json(folder / "config_sentence_transformers.json")
    if modules and (settings.get("model_type") in _TYPES or any(key in settings for key in _PYLATE_KEYS)):
        projections = _projections(folder, modules)
        if any(kind == "MultiVectorMask" for kind, _ in modules):
            return _multi_vector_encoder(transformer, modules, projections)
        return _pylate(settings, projections, folder / "config_sentence_transformers.json")
    if _STANFORD in (config.get("architectures") or []):
        return _stanford(folder)
    return None


def _projections(folder: Path, modules: Sequence[Module]) -> tuple[Path, ...]:
    allowed = ("Transformer", "Dense", "MultiVectorMask", "Normalize")
    other = [kind for kind, _ in modules if kind not in allowed]
    if other:
        raise UnsupportedModelError(
            f"{folder}/modules.json: {other[0]} is not supported in a ColBERT model; {', '.join(allowed)} are"
        )
    dense = tuple(path for kind, path in modules if kind == "Dense")
    for path in dense:
        raw = read_json(path / "config.json")
        activation = str(raw.get("activation_function", "Tanh")).rpartition(".")[2]
        if activation != "Identity" or raw.get("use_residual") or raw.get("module_input_name") == "sentence_embedding":
            raise UnsupportedModelError(
                f"{path / 'config.json'}: a ColBERT projection is one linear layer over the token embeddings; "
                f"activation {activation!r}, use_residual {raw.get('use_residual', False)!r}, module_input_name "
                f"{raw.get('module_input_name')!r} are not supported"
            )
    if not dense:
        raise UnsupportedModelError(f"{folder}/modules.json: a ColBERT model without a Dense projection")
    return dense


def _pylate(settings: Mapping[str, Any], projections: tuple[Path, ...], where: Path) -> ColBert:
    length = _length(settings, "query_length", where) or _QUERY_LENGTH
    skipped = settings.get("skiplist_words")
    return ColBert(
        projections,
        query_marker=str(settings.get("query_prefix") or ""),
        document_marker=str(settings.get("document_prefix") or ""),
        query_length=length,
        document_length=_length(settings, "document_length", where),
        expanded_length=None if settings.get("do_query_expansion") is False else length,
        attend=bool(settings.get("attend_to_expansion_tokens", False)),
        skipped=tuple(string.punctuation) if skipped is None else tuple(map(str, skipped)),
    )


def _multi_vector_encoder(transformer: Path, modules: Sequence[Module], projections: tuple[Path, ...]) -> ColBert:
    """Markers are prompts there, written as text in front of the text; the tokenizer knows them as tokens."""
    kinds = dict(modules)
    mask = optional_json(kinds["MultiVectorMask"] / "config.json")
    if mask.get("keep_only_token_ids") or (mask.get("skiplist_tasks") or ["document"]) != ["document"]:
        raise UnsupportedModelError(
            f"{kinds['MultiVectorMask'] / 'config.json'}: keep_only_token_ids, and skiplist_tasks other than "
            "['document'], are not supported"
        )
    normal = optional_json(kinds["Normalize"] / "config.json") if "Normalize" in kinds else {}
    if normal.get("module_input_name") != "token_embeddings":
        raise UnsupportedModelError(f"{transformer}: token vectors that are not normalised are not supported")
    where = transformer / "sentence_bert_config.json"
    settings = optional_json(where)
    expansion = settings.get("query_expansion") or {}
    expanded = _length(expansion, "length", where)
    if expansion and (expanded is None or expansion.get("strategy") not in ("fixed", "min")):
        raise UnsupportedModelError(f"{where}: query_expansion {expansion} is not known")
    fixed = expansion.get("strategy") == "fixed"
    return ColBert(
        projections,
        query_length=expanded if fixed else _length(settings, "query_length", where),
        document_length=_length(settings, "document_length", where),
        expanded_length=expanded,
        expansion_token=expansion.get("token"),
        attend=bool(expansion.get("attend", False)),
        skipped=tuple(map(str, mask.get("skiplist_words") or ())),
    )


def _stanford(folder: Path) -> ColBert:
    where = folder / "artifact.metadata"
    settings = optional_json(where)
    length = _length(settings, "query_maxlen", where) or _QUERY_LENGTH
    return ColBert(
        (folder,),
        query_marker=str(settings.get("query_token_id") or "[unused0]"),
        document_marker=str(settings.get("doc_token_id") or "[unused1]"),
        query_length=length,
        document_length=_length(settings, "doc_maxlen", where),
        expanded_length=length,
        attend=bool(settings.get("attend_to_mask_tokens", False)),
        skipped=tuple(string.punctuation) if settings.get("mask_punctuation", True) else (),
    )


def _length(settings: Mapping[str, Any], key: str, where: Path) -> int | None:
    value = settings.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise CheckpointError(f"{where}: {key} is {value!r}; a number of tokens is at least 1")
    return value
