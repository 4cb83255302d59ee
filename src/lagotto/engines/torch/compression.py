"""Shorten the passages of rows between two layers: every few tokens become their mean."""

from __future__ import annotations

from typing import Any

import torch

from lagotto.engines.torch.decoder import Flow

_LEAST = 1e-30  # attention that rounds to nothing: a group that got none at all becomes its plain mean


def compress(flow: Flow, begin: Any, closing: int, ratio: int, weights: Any = None) -> None:
    """Replace each ``ratio`` tokens of a passage by one, the rest at its end by one too; other tokens are kept.

    ``begin``: (rows,) where passages begin. The last ``closing`` tokens of a row are behind its passage. ``weights``:
    (rows, tokens) attention by which tokens count in their group's mean; None: all alike. Means are taken in float32.
    """
    states, lengths = flow.states, flow.lengths
    places = torch.arange(states.shape[1], device=states.device)[None]
    passages = lengths - closing - begin  # (rows,) tokens
    kept = (passages + ratio - 1) // ratio
    begin, end = begin[:, None], (begin + passages)[:, None]
    inside, real = (places >= begin) & (places < end), places < lengths[:, None]
    moved = torch.where(inside, begin + (places - begin) // ratio, places - (passages - kept)[:, None])
    target = torch.where(places < begin, places, moved)
    flow.lengths = lengths - passages + kept
    width = int(flow.lengths.max())
    target = torch.where(real, target, 0)
    share = real.float()
    if weights is not None:
        share = torch.where(inside, weights.clamp_min(_LEAST), share)
    total = share.new_zeros((len(states), width)).scatter_add_(1, target, share)
    share = share / total.gather(1, target)
    out = torch.zeros((len(states), width, states.shape[2]), dtype=torch.float32, device=states.device)
    out.scatter_add_(1, target[..., None].expand_as(states), states.float() * share[..., None])
    flow.states = out.to(states.dtype)
