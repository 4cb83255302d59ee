"""Attention over packed texts: one behind another, without padding, each seeing only itself.

Transformers calls an attention function by its registered name; ours is told by a context variable where the texts
begin, since not every architecture hands further arguments down to its layers. On CUDA a kernel for texts of any
length computes it (FlashAttention's own package, or the one in torch); elsewhere it runs text by text. Neither makes a
matrix of heads x tokens x tokens.

Gemma 2 caps the scores: ``cap * tanh(score / cap)``. FlashAttention knows that, torch's own kernels do not: where it is
not installed `lagotto.engines.torch.softcap` computes it, text by text.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from lagotto.engines.torch.quiet import quiet_imports
from lagotto.engines.torch.softcap import capped_attention

PACKED = "lagotto_packed"
"""The name the function is registered by; without a mask function of that name transformers makes no mask."""


@dataclass(frozen=True, slots=True)
class Packing:
    """Where the texts of a packed row lie."""

    lengths: tuple[int, ...]
    """Tokens of each text, in order."""
    bounds: Any
    """(texts + 1,) int32 tensor on the device: where each begins, and where the last ends."""


Kernel = Callable[[Any, Any, Any, Packing, float | None, tuple[int, int], bool, float], Any]
"""(tokens, heads, width) queries, keys and values, packing, scale, window (left, right; -1: all), causal, cap or 0."""

_packing: ContextVar[Packing] = ContextVar("lagotto_packing")


@contextmanager
def packed(packing: Packing) -> Iterator[None]:
    """Tell the attention function, in this thread, where the texts lie."""
    token = _packing.set(packing)
    try:
        yield
    finally:
        _packing.reset(token)


def register() -> None:
    """Make the attention function known to transformers under `PACKED`; may be called again."""
    with quiet_imports():
        from transformers import AttentionInterface

    AttentionInterface.register(PACKED, attend)


def find_kernel(*, capped: bool = False) -> Kernel | None:
    """A CUDA kernel for texts of any length: flash-attn where it is installed, else torch's; None without either.

    ``capped`` asks for one that caps scores, which torch's does not.
    """
    try:
        from flash_attn import flash_attn_varlen_func
    except ImportError:
        return None if capped else _torch_kernel()
    if capped and "softcap" not in inspect.signature(flash_attn_varlen_func).parameters:  # before release 2.6
        return None

    def flash(
        q: Any, k: Any, v: Any, texts: Packing, scale: float | None, window: tuple[int, int], causal: bool, cap: float
    ) -> Any:
        longest = max(texts.lengths)
        return flash_attn_varlen_func(
            *(q, k, v, texts.bounds, texts.bounds, longest, longest),
            softmax_scale=scale,
            causal=causal,
            window_size=window,
            **({"softcap": cap} if cap else {}),
        )

    return flash


def _torch_kernel() -> Kernel | None:
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:  # an older torch
        return None
    if not {"scale", "window_size", "enable_gqa"} <= set(inspect.signature(varlen_attn).parameters):
        return None

    def kernel(
        q: Any, k: Any, v: Any, texts: Packing, scale: float | None, window: tuple[int, int], causal: bool, cap: float
    ) -> Any:
        longest, grouped = max(texts.lengths), q.shape[1] != k.shape[1]
        ends = (window[0], 0) if causal else window  # here a right end of 0 is what makes attention causal
        return varlen_attn(
            *(q, k, v, texts.bounds, texts.bounds, longest, longest), scale=scale, window_size=ends, enable_gqa=grouped
        )

    return kernel


def attend(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    is_causal: bool | None = None,
    softcap: float | None = None,
    **rest: Any,
) -> tuple[Any, None]:
    """Attention as transformers asks for it: (1, heads, tokens, width) each; gives (1, tokens, heads, width), None.

    ``sliding_window`` counts the token itself, to the left and, where attention is not causal, to the right.
    """
    texts, cap = _packing.get(), softcap or 0.0
    causal = bool(module.is_causal if is_causal is None else is_causal)
    window = None if sliding_window is None or sliding_window >= max(texts.lengths) else sliding_window
    kernel = find_kernel(capped=cap > 0) if query.is_cuda and _takes(query) else None
    if kernel is None:
        return _by_text(query, key, value, texts, scaling, window, causal, cap).transpose(1, 2), None
    side = -1 if window is None else window - 1
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))  # (tokens, heads, width)
    return kernel(q, k, v, texts, scaling, (side, side), causal, cap)[None], None


def _takes(query: Any) -> bool:
    """Whether the kernels take these numbers: half precision, on a card since Ampere."""
    return bool(query.dtype != torch.float32 and torch.cuda.get_device_capability(query.device)[0] >= 8)


def _by_text(
    query: Any, key: Any, value: Any, texts: Packing, scale: float | None, window: int | None, causal: bool, cap: float
) -> Any:
    """The same, text by text (neighbours of one length together): (1, heads, tokens, width)."""
    out, start = torch.empty_like(query), 0
    for length, group in groupby(texts.lengths):
        count = len(list(group))
        end = start + count * length
        # (heads, texts x length, width) -> (texts, heads, length, width)
        q, k, v = (x[0, :, start:end].unflatten(1, (count, length)).transpose(0, 1) for x in (query, key, value))
        if cap:
            found = capped_attention(q, k, v, cap, scale, window, causal)
        else:
            found = _plain_attention(q, k, v, scale, window, causal)
        out[0, :, start:end] = found.transpose(0, 1).flatten(1, 2)
        start = end
    return out


def _plain_attention(q: Any, k: Any, v: Any, scale: float | None, window: int | None, causal: bool) -> Any:
    """(texts, heads, length, width) of texts that have one length."""
    length = q.shape[2]
    mask = None if window is None or length <= window else _window_mask(length, window, causal, q.device)
    return scaled_dot_product_attention(
        *(q, k, v),
        attn_mask=mask,
        is_causal=causal and mask is None,
        scale=scale,
        enable_gqa=q.shape[1] != k.shape[1],
    )


def _window_mask(length: int, window: int, causal: bool, device: Any) -> Any:
    """(length, length) boolean: which keys a query sees."""
    places = torch.arange(length, device=device)
    gap = places[:, None] - places[None, :]
    return (gap >= 0) & (gap < window) if causal else gap.abs() < window
