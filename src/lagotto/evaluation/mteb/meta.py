"""`ModelMeta` of a Lagotto model: what mteb files results under, made without a connection."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from lagotto.cards.schema import ModelCard
from lagotto.evaluation.mteb.library import mteb_library
from lagotto.models.embedder import Embedder
from lagotto.models.reranker import Reranker

LANGUAGES: Mapping[str, str] = {"en": "eng-Latn", "zh": "zho-Hans", "ja": "jpn-Jpan", "ko": "kor-Hang"}
"""A card's language code -> mteb's, which names the script too."""
_FRAMEWORKS: Mapping[str, str] = {"openvino": "OpenVINO"}


def embedder_meta(embedder: Embedder, dimensions: int | None, max_length: int | None) -> Any:
    """mteb's ``ModelMeta`` of an embedder used with these options.

    The revision is the fingerprint, so that another precision or another prompt is another model to mteb's cache.
    Options that change vectors and are not in it are ``experiment_kwargs``, which mteb keeps results apart by.
    """
    card = embedder.card
    length = max_length or embedder.max_length
    return _meta(
        card,
        embedder,
        embed_dim=dimensions or embedder.dimension,
        max_tokens=length,
        similarity_fn_name="cosine" if card.normalize else "dot",
        use_instructions=bool(card.query.instruction or card.document.instruction or card.prompts),
        model_type=["dense"],
        experiment_kwargs=_set({"dimensions": dimensions, **_reading(embedder, length)}),
    )


def reranker_meta(reranker: Reranker, max_length: int | None, max_windows: int | None) -> Any:
    """mteb's ``ModelMeta`` of a reranker used with these options; see `embedder_meta`."""
    card = reranker.card
    length = max_length or reranker.max_length
    windows = "all" if max_windows is None else max_windows
    return _meta(
        card,
        reranker,
        embed_dim=None,
        max_tokens=length,
        similarity_fn_name=None,
        use_instructions=bool(card.query.instruction),
        model_type=["cross-encoder"],
        experiment_kwargs=_set({"max_windows": windows, **_reading(reranker, length)}),
    )


def _reading(model: Embedder | Reranker, length: int) -> dict[str, Any]:
    """How much of a long text is read, where that is not the model's own habit."""
    cut = model.truncation
    return {
        "max_length": length if length < model.card.max_length else None,
        "truncation": str(cut) if cut != "right" else None,
    }


def mteb_name(name: str) -> str:
    """A model's name as mteb wants it, ``ORG/NAME``: a folder is ``local/NAME``, a starter model ``starter/NAME``.

    Two folders of the same name are told apart by the revision.
    """
    if name.startswith("starter:"):
        return name.replace(":", "/", 1)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return "local/" + (re.sub(r"[^\w.-]+", "-", folder.resolve().name).strip("-") or "model")
    return name.partition("@")[0]


def _meta(card: ModelCard, model: Embedder | Reranker, **facts: Any) -> Any:
    mteb_library()
    from mteb.models import ModelMeta

    languages = [LANGUAGES[code] for code in card.languages if code in LANGUAGES]
    framework = _FRAMEWORKS.get(model.engine.name)
    return ModelMeta(
        loader=None,
        name=mteb_name(model.name),
        revision=model.fingerprint,
        release_date=None,
        languages=languages or None,
        n_parameters=None if card.parameters is None else card.parameters * 1_000_000,
        memory_usage_mb=None,
        license=_license(card.licence),
        open_weights=True,
        public_training_code=None,
        public_training_data=None,
        framework=[framework] if framework else [],
        training_datasets=None,
        **facts,
    )


def _license(name: str) -> str | None:
    """mteb's spelling of a licence, None for one it does not list."""
    from mteb.types import Licenses

    return name.lower() if name.lower() in get_args(Licenses) else None


def _set(options: Mapping[str, Any]) -> dict[str, Any] | None:
    return {name: value for name, value in options.items() if value is not None} or None
