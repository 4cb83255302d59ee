"""What ``POST /v1/encode`` says of each input, as JSON objects or as arrays of all of them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lagotto.core.span_values import SpanEmbeddings
from lagotto.core.values import Embeddings
from lagotto.models.embedder import Embedder
from lagotto.server.dialects.schemas.native import Encode
from lagotto.server.vectors import DType, packed, scales, typed

Row = dict[str, Any]


def rows(model: Embedder, request: Encode, found: Embeddings, start: int) -> list[Row]:
    """An object an input; ``start`` is the number of the first."""
    types = request.types()
    out: list[Row] = [
        {"index": start + i, "tokens": tokens, "truncated": cut}
        for i, (tokens, cut) in enumerate(zip(found.tokens.tolist(), found.truncated.tolist(), strict=True))
    ]
    for i, row in enumerate(out):
        if found.dense.shape[1]:
            row |= _vector("dense", found.dense[i], types.dense, request)
        if found.sparse is not None:
            row["sparse"] = _weights(model, request, *found.sparse.row(i))
        if found.multivector is not None:
            row |= _vector("multivector", found.multivector.row(i), types.multivector, request)
    return out


def span_rows(request: Encode, found: SpanEmbeddings, spans: Sequence[Sequence[Sequence[int]]]) -> list[Row]:
    """An object an input, with an object a span."""
    out: list[Row] = []
    for i, given in enumerate(spans):
        first = int(found.offsets[i])
        parts = [
            {
                "start": start,
                "end": end,
                "tokens": int(found.span_tokens[first + place]),
                **_vector("dense", found.dense[first + place], request.types().dense, request),
            }
            for place, (start, end) in enumerate(given)
        ]
        out.append({"index": i, "tokens": int(found.tokens[i]), "truncated": bool(found.truncated[i]), "spans": parts})
    return out


def arrays(request: Encode, found: Embeddings) -> dict[str, NDArray[Any]]:
    """Everything as arrays: sparse weights in compressed rows, token vectors one below another."""
    types = request.types()
    out: dict[str, NDArray[Any]] = {"tokens": found.tokens, "truncated": found.truncated}
    if found.dense.shape[1]:
        out |= _matrix("dense", found.dense, types.dense)
    if found.sparse is not None:
        out["sparse_indptr"] = found.sparse.indptr
        out["sparse_indices"] = found.sparse.indices
        out["sparse_values"] = _half(found.sparse.values, types.sparse)
        out["sparse_vocabulary"] = np.array(found.sparse.vocabulary)
    if found.multivector is not None:
        vectors = found.multivector.vectors.astype(np.float32, copy=False)
        out |= _matrix("multivector", vectors, types.multivector)
        out["multivector_offsets"] = found.multivector.offsets
    return out


def span_arrays(
    request: Encode, found: SpanEmbeddings, spans: Sequence[Sequence[Sequence[int]]]
) -> dict[str, NDArray[Any]]:
    """Vectors of all spans one below another, and what they are of."""
    return {
        "tokens": found.tokens,
        "truncated": found.truncated,
        **_matrix("dense", found.dense, request.types().dense),
        "spans": np.array([span for given in spans for span in given], np.int64).reshape(-1, 2),
        "span_offsets": found.offsets,
        "span_tokens": found.span_tokens,
    }


def npz(named: dict[str, NDArray[Any]]) -> bytes:
    """Arrays as numpy's archive."""
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **named)
    return file.getvalue()


def npy(request: Encode, found: Embeddings) -> bytes:
    """The dense vectors as numpy's file of one array."""
    file = io.BytesIO()
    np.save(file, typed(found.dense, request.types().dense), allow_pickle=False)
    return file.getvalue()


def _vector(name: str, vectors: NDArray[np.float32], dtype: DType, request: Encode) -> Row:
    """A vector or matrix in its type; of int8 and uint8 also what one unit stands for."""
    values = typed(vectors, dtype)
    row: Row = {name: packed(values) if request.encoding_format == "base64" else np.ascontiguousarray(values)}
    if dtype in ("int8", "uint8"):
        row[f"{name}_scale"] = scales(vectors)[..., 0].tolist()
    return row


def _matrix(name: str, vectors: NDArray[np.float32], dtype: DType) -> dict[str, NDArray[Any]]:
    out: dict[str, NDArray[Any]] = {name: typed(vectors, dtype)}
    if dtype in ("int8", "uint8"):
        out[f"{name}_scale"] = scales(vectors)[..., 0]
    return out


def _weights(model: Embedder, request: Encode, ids: NDArray[np.int32], weights: NDArray[np.float32]) -> Row:
    values = _half(weights, request.types().sparse)
    if request.sparse_format == "tokens":
        return dict(model.decode_tokens(dict(zip(ids.tolist(), values.tolist(), strict=True))))
    if request.encoding_format == "base64":
        return {"indices": packed(ids), "values": packed(values)}
    return {"indices": ids, "values": values}


def _half(weights: NDArray[np.float32], dtype: str) -> NDArray[Any]:
    return weights.astype(np.float16) if dtype == "f16" else weights
