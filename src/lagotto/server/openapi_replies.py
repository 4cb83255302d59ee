"""The shapes of replies, for ``/openapi.json``: what each route answers with when all is well."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

TEXT: Json = {"type": "string"}
NUMBER: Json = {"type": "number"}
COUNT: Json = {"type": "integer"}
_YES: Json = {"type": "boolean"}


def listed(items: Json) -> Json:
    """A list of things of one shape."""
    return {"type": "array", "items": items}


def fields(optional: Json | None = None, **required: Json) -> Json:
    """An object with these fields and no others; ``optional`` ones may be left out."""
    return {
        "type": "object",
        "properties": required | (optional or {}),
        "required": list(required),
        "additionalProperties": False,
    }


def any_of(*shapes: Json) -> Json:
    """One of several shapes."""
    return {"anyOf": list(shapes)}


_VECTOR = any_of(listed(NUMBER), TEXT)  # or its bytes in base64
_MATRIX = any_of(listed(_VECTOR), TEXT)
_OBJECT: Json = {"type": "object"}
_TYPED = any_of(_VECTOR, _MATRIX, _OBJECT)  # an object has each of several types
_USAGE = fields(prompt_tokens=COUNT, total_tokens=COUNT)
_SPENT = fields({"completion_tokens": COUNT}, prompt_tokens=COUNT, total_tokens=COUNT)
_TOTAL = fields(total_tokens=COUNT)
_META = fields({"warnings": listed(TEXT)}, api_version=_OBJECT, billed_units=_OBJECT, tokens=_OBJECT)
_MADE = {"id": TEXT, "created": COUNT}


def _vectors(usage: Json, vector: Json, more: Json | None = None) -> Json:
    item = fields({"embedding": vector, "embeddings": _TYPED}, object=TEXT, index=COUNT)
    return fields(object=TEXT, data=listed(item), model=TEXT, usage=usage, **(more or {}))


_PLACES = listed(fields({"document": {}}, index=COUNT, relevance_score=NUMBER))


def _ranking(**more: Json) -> Json:
    return fields(results=_PLACES, **more)


_OPENAI = _vectors(_USAGE, _VECTOR)
_JINA = _vectors(_USAGE, _TYPED)
_VOYAGE = _vectors(_TOTAL, _VECTOR)
_ANY_RANKING = _ranking(model=TEXT, object=TEXT, tokens=_OBJECT, usage=_SPENT, meta=_META, **_MADE)
_COHERE_RANKING = _ranking(id=TEXT, meta=_META)
_JINA_RANKING = _ranking(model=TEXT, object=TEXT, usage=_SPENT)
_VOYAGE_RANKING = fields(data=_PLACES, model=TEXT, object=TEXT, usage=_TOTAL)
_VLLM_RANKING = _ranking(id=TEXT, model=TEXT, usage=_SPENT)
_INFINITY_RANKING = _ranking(model=TEXT, object=TEXT, usage=_SPENT, **_MADE)
_TEI_RANKING = listed(fields({"text": TEXT}, index=COUNT, score=NUMBER))
_TEI_VECTORS = listed(listed(NUMBER))
_LABELS = listed(fields(score=NUMBER, label=TEXT))
_EMBED = fields(id=TEXT, embeddings=any_of(_TEI_VECTORS, _OBJECT), texts=listed(TEXT), meta=_META, response_type=TEXT)
_TOKEN = fields(
    id=COUNT, text=TEXT, special=_YES, start=any_of(COUNT, {"type": "null"}), stop=any_of(COUNT, {"type": "null"})
)
_READY = fields(ready=_YES, models=listed(_OBJECT))
_LIST = fields(object=TEXT, data=listed(_OBJECT))
_MODEL = fields(
    id=TEXT,
    object=TEXT,
    created=COUNT,
    owned_by=TEXT,
    loaded=_YES,
    state=TEXT,
    error=any_of(TEXT, {"type": "null"}),
    root=TEXT,
    parent=any_of(TEXT, {"type": "null"}),
)


def _computed(**item: Json) -> Json:
    """vLLM's shape."""
    return fields(object=TEXT, model=TEXT, usage=_SPENT, data=listed(fields(index=COUNT, object=TEXT, **item)), **_MADE)


_VLLM_CLASSES = fields(
    object=TEXT,
    model=TEXT,
    usage=_SPENT,
    data=listed(fields(index=COUNT, label=TEXT, probs=listed(NUMBER), num_classes=COUNT)),
    **_MADE,
)
_INFINITY_CLASSES = fields(object=TEXT, model=TEXT, usage=_SPENT, data=listed(_LABELS), **_MADE)

_BY_END: dict[str, Json] = {
    "/v1/encode": fields(object=TEXT, id=TEXT, model=TEXT, fingerprint=TEXT, usage=_USAGE, data=listed(_OBJECT)),
    "/v1/embeddings": any_of(_OPENAI, _JINA, _VOYAGE),
    "/openai/v1/embeddings": _OPENAI,
    "/vllm/v1/embeddings": _OPENAI,
    "/jina/v1/embeddings": _JINA,
    "/voyage/v1/embeddings": _VOYAGE,
    "/embeddings": _vectors(_USAGE, _VECTOR, _MADE),
    "/v1/embed": _EMBED,
    "/v2/embed": _EMBED,
    "/v1/rerank": any_of(_ANY_RANKING, _VOYAGE_RANKING),
    "/rerank": any_of(_ANY_RANKING, _TEI_RANKING, _INFINITY_RANKING),
    "/v2/rerank": _COHERE_RANKING,
    "/cohere/v1/rerank": _COHERE_RANKING,
    "/jina/v1/rerank": _JINA_RANKING,
    "/voyage/v1/rerank": _VOYAGE_RANKING,
    "/vllm/rerank": _VLLM_RANKING,
    "/vllm/v1/rerank": _VLLM_RANKING,
    "/vllm/v2/rerank": _VLLM_RANKING,
    "/infinity/rerank": _INFINITY_RANKING,
    "/tei/rerank": _TEI_RANKING,
    "/classify": any_of(_VLLM_CLASSES, _INFINITY_CLASSES),
    "/vllm/classify": _VLLM_CLASSES,
    "/infinity/classify": _INFINITY_CLASSES,
    "/score": _computed(score=NUMBER),
    "/pooling": _computed(data=any_of(_VECTOR, _MATRIX)),
    "/embed": _TEI_VECTORS,
    "/embed_all": listed(_TEI_VECTORS),
    "/embed_sparse": listed(listed(fields(index=COUNT, value=NUMBER))),
    "/predict": any_of(_LABELS, listed(_LABELS)),
    "/similarity": listed(NUMBER),
    "/tokenize": listed(listed(_TOKEN)),
    "/decode": listed(TEXT),
    "/info": _OBJECT,
    "/": any_of(_TEI_VECTORS, _TEI_RANKING, listed(NUMBER)),
    "/v1/models": _LIST,
    "/v1/models/{name}": _MODEL,
    "/infinity/models": _LIST,
    "/infinity/health": fields(unix=NUMBER),
    "/health": fields(status=TEXT, version=TEXT),
    "/ready": _READY,
    "/models": fields(models=listed(_OBJECT), object=TEXT, data=listed(_OBJECT)),
    "/config": _OBJECT,
    "/admin/reload": fields(models=_OBJECT, keys=COUNT, restart_needed_for=listed(TEXT)),
}
"""By the end of the path: of several that fit, the longest holds, so that ``/cohere/v2/embed`` is as ``/v2/embed``."""


def reply_shape(path: str) -> Json:
    """The shape of a path's JSON reply."""
    return _BY_END[max((end for end in _BY_END if path.endswith(end)), key=len)]
