"""Write replies: vectors straight from arrays to bytes, and the headers that every reply has."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
from fastapi import Response

from lagotto.core.errors import InvalidInputError
from lagotto.core.values import Embeddings
from lagotto.models.embedder import Embedder
from lagotto.server.call import REQUEST_ID, Call
from lagotto.server.judge import AnyReranker


def answer(call: Call, model: Embedder | AnyReranker, body: Any, cut: Sequence[int] = ()) -> Response:
    """A JSON reply that a model computed; ``cut`` are the numbers of the inputs that were not read whole."""
    return Response(dumps(body), media_type="application/json", headers=headers_of(call, model, cut))


def headers_of(call: Call, model: Embedder | AnyReranker, cut: Sequence[int] = ()) -> dict[str, str]:
    """What every reply says: request id, fingerprint of the model, milliseconds so far, inputs that were cut."""
    return {
        REQUEST_ID: call.id,
        "x-lagotto-fingerprint": model.fingerprint,
        "x-lagotto-time-ms": f"{(time.monotonic() - call.started) * 1000:.1f}",
        **truncation_header(cut),
    }


def dumps(body: Any) -> bytes:
    """JSON; arrays are written by orjson from their memory."""
    try:
        return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError as error:  # only a document's own keys can be at fault
        raise InvalidInputError(f"a document can't be written back as JSON: {error}", param="documents") from None


def truncation_header(cut: Sequence[int]) -> dict[str, str]:
    """``x-lagotto-truncated``: numbers of the inputs that were not read whole, absent when there is none.

    At most 100 are listed: proxies and clients drop replies with headers of more than 8 kB.
    """
    return {"x-lagotto-truncated": shown(cut)} if cut else {}


def shown(cut: Sequence[int]) -> str:
    """Numbers of inputs, the first 100 of them."""
    listed = ",".join(map(str, cut[:100]))
    return listed if len(cut) <= 100 else f"{listed},... ({len(cut)} in all)"


def cut_of(found: Embeddings) -> list[int]:
    """Numbers of the texts that were not read whole."""
    numbers: list[int] = np.flatnonzero(found.truncated).tolist()
    return numbers


def usage(read: int, written: int = 0) -> dict[str, int]:
    """Tokens the model read, and wrote where it is one that does, as OpenAI counts them."""
    answered = {"completion_tokens": written} if written else {}
    return {"prompt_tokens": read, "total_tokens": read + written, **answered}
