"""`Decoder`: the layers of a language model, one by one.

Transformers runs a model from its first layer to its last. A reranker may stop earlier, read several layers, shorten
its rows between two of them, or compute what many rows begin with only once; all of that happens between the layers,
by whoever calls `Decoder.layer`. Each architecture is held to transformers' own forward by a test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import gelu, silu

from lagotto.cards.decoder_config import Activation, DecoderConfig
from lagotto.cards.rotary import frequencies
from lagotto.core.errors import OutOfMemoryError
from lagotto.core.memory import trim_heaps
from lagotto.engines.torch.causal import Keys, attend, paid_by_last
from lagotto.engines.torch.tensors import TensorReader

_ACTIVATIONS: dict[Activation, Callable[[Any], Any]] = {
    "silu": silu,
    "gelu": gelu,
    "gelu_tanh": lambda x: gelu(x, approximate="tanh"),
}


class Flow:
    """Right-padded rows on their way through the layers.

    Attention is causal, so what stands behind a row's length changes nothing in front of it.
    """

    def __init__(self, states: Any, lengths: Any, start: Any = None) -> None:
        self.states = states
        """(rows, tokens, hidden)"""
        self.lengths = lengths
        """(rows,) tokens that are more than padding."""
        self.start = torch.zeros_like(lengths) if start is None else start
        """(rows,) position of the first token: the tokens of the prefix in front of it."""

    @property
    def positions(self) -> Any:
        """(rows, tokens) places in the text."""
        return self.start[:, None] + torch.arange(self.states.shape[1], device=self.states.device)

    def last(self) -> Any:
        """(rows, hidden) states of the last tokens."""
        if self.states.shape[1] == 1:
            return self.states[:, 0]
        return self.states[torch.arange(len(self.states), device=self.states.device), self.lengths - 1]


@dataclass(frozen=True, slots=True)
class Prefixes:
    """What several rows begin with, computed once beside them, layer by layer."""

    flow: Flow
    """The different prefixes, a row each; they begin at position 0."""
    owner: Any
    """(rows,) which prefix a row continues."""


class Decoder:
    """Weights of a language model on one device, and what its layers compute with them."""

    def __init__(self, config: DecoderConfig, reader: TensorReader, *, lazy: bool = False) -> None:
        """``lazy`` reads a layer's weights when it is first computed, for models that often stop before the last one.

        Raises `CheckpointError` that names a weight which is missing or has another shape, lazy or not.
        """
        self.config, self._reader = config, reader
        base = self._base = "model." if "model.embed_tokens.weight" in reader.weights else ""
        self.embeddings = reader(f"{base}embed_tokens.weight", config.vocab_size, config.hidden_size)
        self._layers: dict[int, _Layer] = {}
        """Those that were read, by their numbers from 0."""
        for number in range(config.num_hidden_layers):
            if lazy:
                self._open_layer(number, reader.checking())
            else:
                self._layer(number)
        self._norm = reader.norm(f"{base}norm.weight", config.hidden_size, config.norm_offset)
        turns = frequencies(config.rotary, config.head_dim)
        self._frequencies = torch.from_numpy(turns).to(self.embeddings.device)

    def embed(self, ids: Any) -> Any:
        """(rows, tokens) ids -> (rows, tokens, hidden) states before the first layer."""
        states = self.embeddings[ids]
        scale = self.config.embedding_scale
        # Rounded to the weights' precision first, as Gemma was trained.
        return states if scale == 1 else states * torch.tensor(scale, dtype=states.dtype, device=states.device)

    def norm(self, states: Any) -> Any:
        """The final norm, which is applied to the states of any layer that is read."""
        return rms_norm(states, self._norm, self.config.rms_norm_eps)

    def layer(
        self,
        number: int,
        flow: Flow,
        prefixes: Prefixes | None = None,
        *,
        last: bool = False,
        weigh: bool = False,
        softcap: bool = True,
    ) -> Any:
        """Replace the states by those after layer ``number`` (counted from 0), the prefixes' too.

        - ``last``: only the last token of each row is wanted; the flow has one token a row afterwards.
        - ``weigh``: give back the attention that the last token pays to each token of its row, summed over the heads:
          (rows, tokens) float32; else None.
        - ``softcap=False`` leaves out the cap of attention scores where the model has one.
        """
        layer, window = self._layer(number), self.config.windows[number]
        cap = self.config.attention_softcap if softcap else None
        before = None
        if prefixes is not None:
            q, keys, values = layer.project(prefixes.flow, self._frequencies)
            before = Keys(keys, values, prefixes.flow.lengths, prefixes.owner)
            if not last:
                own = attend(q, keys, values, None, prefixes.flow.start, layer.scale, window, cap)
                layer.finish(prefixes.flow, own)
        q, keys, values = layer.project(flow, self._frequencies)
        weights = None
        if weigh:
            weights = paid_by_last(q, keys, before, flow.start, flow.lengths, layer.scale, window, cap)
        if last:
            rows = torch.arange(len(q), device=q.device)
            q, at = q[rows, :, flow.lengths - 1][:, :, None], flow.lengths - 1
            flow.states = flow.last()[:, None]
            found = attend(q, keys, values, before, flow.start, layer.scale, window, cap, at=at)
        else:
            found = attend(q, keys, values, before, flow.start, layer.scale, window, cap)
        layer.finish(flow, found)
        return weights

    def _layer(self, number: int) -> _Layer:
        """A layer with its weights, read if they were not yet. Raises `OutOfMemoryError` where they do not fit."""
        if number not in self._layers:
            try:
                self._layers[number] = self._open_layer(number, self._reader)
            except torch.OutOfMemoryError as error:
                reason = str(error).strip().partition("\n")[0]
                raise OutOfMemoryError(
                    f"{self._reader.weights.source}: layer {number + 1} of {self.config.num_hidden_layers} does not "
                    f"fit the memory of {self.embeddings.device} ({reason}). Pass weights='int8' or 'nf4', lower "
                    "cutoff_layers, or a device with more memory"
                ) from None
            self._reader.weights.release()
            trim_heaps()
        return self._layers[number]

    def _open_layer(self, number: int, reader: TensorReader) -> _Layer:
        return _Layer(self.config, reader, f"{self._base}layers.{number}.")


class _Layer:
    """One layer's weights."""

    def __init__(self, config: DecoderConfig, reader: TensorReader, name: str) -> None:
        self._config = config
        self.scale = config.attention_scale
        hidden, inner, width = config.hidden_size, config.intermediate_size, config.head_dim
        queries, keys = config.num_attention_heads * width, config.num_key_value_heads * width
        bias = config.qkv_bias
        self._q = reader.linear(f"{name}self_attn.q_proj", queries, hidden, bias)
        self._k = reader.linear(f"{name}self_attn.k_proj", keys, hidden, bias)
        self._v = reader.linear(f"{name}self_attn.v_proj", keys, hidden, bias)
        self._o = reader.linear(f"{name}self_attn.o_proj", hidden, queries, config.output_bias)
        gated = config.feed_forward_bias
        self._gate = reader.linear(f"{name}mlp.gate_proj", inner, hidden, gated)
        self._up = reader.linear(f"{name}mlp.up_proj", inner, hidden, gated)
        self._down = reader.linear(f"{name}mlp.down_proj", hidden, inner, gated)
        self._activation = _ACTIVATIONS[config.activation]

        def norm(part: str, size: int = hidden) -> Any:
            return reader.norm(f"{name}{part}.weight", size, config.norm_offset)

        self._norm = norm("input_layernorm")
        outer = config.outer_norms
        # Gemma2 calls the norm behind attention what the others call the one before the feed-forward layer.
        self._feed_norm = norm("pre_feedforward_layernorm" if outer else "post_attention_layernorm")
        self._outer = (norm("post_attention_layernorm"), norm("post_feedforward_layernorm")) if outer else None
        heads = config.head_norms
        self._heads = (norm("self_attn.q_norm", width), norm("self_attn.k_norm", width)) if heads else None

    def project(self, flow: Flow, turns: Any) -> tuple[Any, Any, Any]:
        """(rows, heads, tokens, width) queries, keys and values, rotated by their positions."""
        eps = self._config.rms_norm_eps
        x = rms_norm(flow.states, self._norm, eps)
        q, k, v = (_heads(layer(x), self._config.head_dim) for layer in (self._q, self._k, self._v))
        if self._heads is not None:
            q, k = rms_norm(q, self._heads[0], eps), rms_norm(k, self._heads[1], eps)
        angles = (flow.positions[..., None].float() * turns).repeat(1, 1, 2)[:, None]
        cos, sin = angles.cos().to(q.dtype), angles.sin().to(q.dtype)
        return _rotate(q, cos, sin), _rotate(k, cos, sin), v

    def finish(self, flow: Flow, attended: Any) -> None:
        """(rows, heads, tokens, width) of attention -> the flow's states after the layer."""
        eps, x = self._config.rms_norm_eps, flow.states
        found = self._o(attended.transpose(1, 2).flatten(2))
        x = self._add(x, found, 0)
        h = rms_norm(x, self._feed_norm, eps)
        h = self._down(self._activation(self._gate(h)) * self._up(h))
        flow.states = self._add(x, h, 1)

    def _add(self, x: Any, found: Any, part: int) -> Any:
        if self._outer is not None:
            found = rms_norm(found, self._outer[part], self._config.rms_norm_eps)
        scale = self._config.residual_scale
        return x + (found if scale == 1 else found * scale)


def rms_norm(x: Any, weight: Any, eps: float) -> Any:
    """Divide by the root of the mean square over the last axis, in float32; ``weight`` is float32."""
    wide = x.float()
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps) * weight).to(x.dtype)


def _heads(x: Any, width: int) -> Any:
    """(rows, tokens, heads x width) -> (rows, heads, tokens, width)"""
    return x.unflatten(2, (-1, width)).transpose(1, 2)


def _rotate(x: Any, cos: Any, sin: Any) -> Any:
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin
