"""Attention with capped scores (Gemma 2), in plain torch: a block of queries at a time.

``softmax(cap * tanh(q k / (sqrt(width) cap))) v``: the cap stands between the product and the softmax, so that torch's
fused kernels, which never show the scores, can't be used. A block of queries needs heads x block x tokens numbers
instead of heads x tokens x tokens. The softmax is taken in float32, as transformers' own forward does.
Source: Gemma Team 2024, "Gemma 2: Improving Open Language Models at a Practical Size", part 2.
"""

from __future__ import annotations

from typing import Any

import torch

BLOCK = 128
"""Queries computed together."""


def capped_attention(
    query: Any, key: Any, value: Any, cap: float, scale: float | None, window: int | None, causal: bool
) -> Any:
    """Attention of texts that have one length: (texts, heads, length, width) queries, and as many values.

    Keys and values may have fewer heads, each of which serves neighbouring heads of the queries. ``window`` counts the
    token itself, to the left and, where attention is not causal, to the right.
    """
    texts, heads, length, width = query.shape
    # (texts, key heads, heads of each, length, width): each key head meets its own heads without being copied
    grouped = query.unflatten(1, (key.shape[1], heads // key.shape[1]))
    out = query.new_empty((texts, heads, length, value.shape[-1]))
    factor = width**-0.5 if scale is None else scale
    for start in range(0, length, BLOCK):
        end = min(start + BLOCK, length)
        first = 0 if window is None else max(0, start - window + 1)
        last = end if causal else length if window is None else min(length, end + window - 1)
        seen = key[:, :, None, first:last].transpose(-1, -2)
        scores = torch.tanh(grouped[..., start:end, :] @ seen * (factor / cap)) * cap
        hidden = _hidden(range(start, end), range(first, last), window, causal, query.device)
        weights = torch.softmax(scores.float().masked_fill(hidden, -torch.inf), dim=-1).to(query.dtype)
        out[:, :, start:end] = (weights @ value[:, :, None, first:last]).flatten(1, 2)
    return out


def _hidden(queries: range, keys: range, window: int | None, causal: bool, device: Any) -> Any:
    """(queries, keys) boolean: which keys a query does not see."""
    gap = torch.arange(queries.start, queries.stop, device=device)[:, None]
    gap = gap - torch.arange(keys.start, keys.stop, device=device)[None]
    hidden = gap < 0 if causal else torch.zeros_like(gap, dtype=torch.bool)
    return hidden if window is None else hidden | (gap.abs() >= window)
