"""Causal attention of right-padded rows that may continue prefixes computed beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

_BLOCK = 512
"""Queries whose scores are held at a time, where they have to be computed one matrix after another (soft caps)."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys and values of the prefixes that rows continue."""

    keys: Any
    """(prefixes, heads, tokens, width)"""
    values: Any
    lengths: Any
    """(prefixes,) tokens that are more than padding."""
    owner: Any
    """(rows,) which prefix is a row's."""


def attend(
    q: Any,
    keys: Any,
    values: Any,
    before: Keys | None,
    start: Any,
    scale: float,
    window: int | None,
    softcap: float | None,
    *,
    at: Any = None,
) -> Any:
    """(rows, heads, tokens, width) queries -> the same shape: each sees its row's tokens up to itself.

    ``start``: (rows,) position of a row's first token, which is behind its prefix. ``window``: the most tokens it sees,
    itself included. ``at``: (rows,) place of the only query in its row, where there is one query a row.
    """
    tokens = keys.shape[2]
    if window is not None and before is None and tokens <= window:
        window = None
    if softcap is None and before is None and window is None and at is None:
        grouped = q.shape[1] != keys.shape[1]
        return scaled_dot_product_attention(q, keys, values, is_causal=True, scale=scale, enable_gqa=grouped)
    places = torch.arange(tokens, device=q.device)
    own = start[:, None] + places  # (rows, tokens) positions
    asking = own if at is None else (start + at)[:, None]
    seen, real = own, None
    if before is not None:
        keys = torch.cat((before.keys[before.owner], keys), dim=2)
        values = torch.cat((before.values[before.owner], values), dim=2)
        seen, real = _with_prefix(own, before)
    if softcap is None:
        mask = _visible(asking, seen, real, window)[:, None]
        # Fused kernels that take a mask want as many heads of keys as of queries.
        keys, values = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (keys, values))
        return scaled_dot_product_attention(q, keys, values, attn_mask=mask, scale=scale)
    parts = [
        _capped(part, keys, values, _visible(asked, seen, real, window), scale, softcap)
        for part, asked in zip(q.split(_BLOCK, dim=2), asking.split(_BLOCK, dim=1), strict=True)
    ]
    return torch.cat(parts, dim=2)


def paid_by_last(
    q: Any,
    keys: Any,
    before: Keys | None,
    start: Any,
    lengths: Any,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> Any:
    """(rows, tokens) float32: the attention each row's last token pays to its tokens, summed over the heads."""
    rows, tokens = torch.arange(len(q), device=q.device), keys.shape[2]
    own = start[:, None] + torch.arange(tokens, device=q.device)
    seen, real = own, None
    if before is not None:
        keys = torch.cat((before.keys[before.owner], keys), dim=2)
        seen, real = _with_prefix(own, before)
    last = q[rows, :, lengths - 1][:, :, None]
    mask = _visible((start + lengths - 1)[:, None], seen, real, window)
    return _shares(last, keys, mask, scale, softcap).sum(dim=(1, 2, 3))[:, -tokens:]


def _with_prefix(own: Any, before: Keys) -> tuple[Any, Any]:
    """(rows, all tokens) positions of keys, and which of them are more than padding."""
    places = torch.arange(before.keys.shape[2], device=own.device)
    real = places < before.lengths[before.owner][:, None]
    seen = torch.cat((places.expand(len(own), -1), own), dim=1)
    return seen, torch.cat((real, torch.ones_like(own, dtype=torch.bool)), dim=1)


def _visible(asking: Any, seen: Any, real: Any, window: int | None) -> Any:
    """(rows, queries, keys) boolean: which keys a query sees, by their positions."""
    gap = asking[:, :, None] - seen[:, None, :]
    mask = gap >= 0
    if window is not None:
        mask &= gap < window
    return mask if real is None else mask & real[:, None, :]


def _shares(q: Any, keys: Any, mask: Any, scale: float, softcap: float | None) -> Any:
    """(rows, key heads, group, queries, keys) float32 attention: ``softmax(cap * tanh(q k scale / cap))``."""
    grouped = q.unflatten(1, (keys.shape[1], -1))
    scores = (grouped @ keys[:, :, None].transpose(3, 4)) * scale
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    return scores.float().masked_fill(~mask[:, None, None], -torch.inf).softmax(dim=-1)


def _capped(q: Any, keys: Any, values: Any, mask: Any, scale: float, softcap: float) -> Any:
    shares = _shares(q, keys, mask, scale, softcap).to(values.dtype)
    return (shares @ values[:, :, None]).flatten(1, 2)
