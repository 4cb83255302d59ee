"""Write replies: vectors straight from arrays to bytes, without lists of Python floats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
from fastapi import Response
from numpy.typing import NDArray

from lagotto.core.arrays import to_base64
from lagotto.core.errors import InvalidInputError


def json_response(body: Any, headers: dict[str, str] | None = None) -> Response:
    """A JSON reply; float32 rows are written by orjson from their memory."""
    try:
        content = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
    except orjson.JSONEncodeError as error:  # only a document's own keys can be at fault
        raise InvalidInputError(f"a document can't be written back as JSON: {error}", param="documents") from None
    return Response(content, media_type="application/json", headers=headers)


def encoded_rows(vectors: NDArray[np.float32], encoding: str) -> list[Any]:
    """Each row as base64 or as an array that `json_response` writes as numbers."""
    if encoding == "base64":
        return [to_base64(row) for row in vectors]
    return list(np.ascontiguousarray(vectors))


def truncation_header(cut: Sequence[int]) -> dict[str, str]:
    """``x-lagotto-truncated``: numbers of the inputs that were not read whole, absent when there is none.

    At most 100 are listed: proxies and clients drop replies with headers of more than 8 kB.
    """
    if not cut:
        return {}
    shown = ",".join(map(str, cut[:100]))
    return {"x-lagotto-truncated": shown if len(cut) <= 100 else f"{shown},... ({len(cut)} in all)"}
