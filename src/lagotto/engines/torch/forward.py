"""From a batch of token ids to arrays on one device: the model's forward pass, then pooling or the head."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lagotto.batch.sequences import Batch
from lagotto.cards.architectures import DECODERS
from lagotto.cards.checkpoint import Checkpoint
from lagotto.engines.base import Output, Precision, WeightFormat
from lagotto.engines.places import token_types
from lagotto.engines.torch.attention import PACKED, packed, register
from lagotto.engines.torch.devices import dtype_of
from lagotto.engines.torch.live import LiveAdapters
from lagotto.engines.torch.packing import can_pack, has_soft_cap, pack, should_pack
from lagotto.engines.torch.pooling import Dense, pool
from lagotto.engines.torch.weights import open_module


class Forward:
    """A checkpoint on one device. Not thread-safe: one thread computes."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: str,
        precision: Precision,
        *,
        weights: WeightFormat = "full",
        packing: bool | None = None,
        compile: bool = False,
    ) -> None:
        """``weights``: how the matrices of linear layers are kept, those of heads apart.

        ``packing`` puts texts behind one another instead of padding them; None chooses by the device.

        ``compile`` runs padded batches through ``torch.compile``, which takes minutes at first.
        """
        self._checkpoint, self._device = checkpoint, device
        self._config, self._task = checkpoint.config, checkpoint.card.task
        register()
        self._module = open_module(checkpoint, dtype_of(precision), device, weights=weights)
        if packing is None:
            half = precision != "f32"
            packing = not compile and should_pack(self._config, self._task, self._module, device, half)
        elif packing and (compile or not can_pack(self._config, self._task)):
            raise ValueError(f"texts of {self._config.architecture} can't be packed here")
        self.packing: bool = packing
        """Whether batches are computed without their padding."""
        if packing:
            self._module.set_attn_implementation(PACKED)
        elif has_soft_cap(self._module):
            self._module.set_attn_implementation("eager")
        self._adapters = _attached(checkpoint, self._module, device)
        # The head of a classifier is computed apart from its encoder where only one token's state goes into it.
        self._encoder = self._module if self._task == "embed" else self._module.base_model
        self._run = torch.compile(self._module, dynamic=True) if compile else self._module
        self._dense = [Dense(module, device) for module in checkpoint.dense]

    @property
    def width(self) -> int:
        """Numbers a row of pooled output has."""
        if self._task == "rerank":
            return self._config.num_labels
        dense = self._checkpoint.dense
        return dense[-1].out_features if dense else self._config.hidden_size

    def __call__(self, batch: Batch, output: Output) -> NDArray[np.float32]:
        """(rows, width) float32, or (rows, tokens, hidden) states."""
        batch = batch.without_empty_rows()
        with torch.inference_mode(), self._adapters.chosen(output) as wanted:
            if wanted == "states":
                return _array(self._states(batch))
            return _array(self._logits(batch) if self._task == "rerank" else self._vectors(batch))

    def _vectors(self, batch: Batch) -> Any:
        """(rows, width) pooled vectors."""
        card = self._checkpoint.card
        vectors = pool(self._states(batch), self._lengths(batch), card.pooling, card.options.get("last_tokens", 1))
        for layer in self._dense:
            vectors = layer(vectors)
        return vectors

    def _lengths(self, batch: Batch) -> Any:
        return torch.from_numpy(batch.lengths.astype(np.int64)).to(self._device)

    def _states(self, batch: Batch) -> Any:
        """(rows, tokens, hidden) states of the last layer; behind a row's length they mean nothing."""
        if not self.packing:
            run = self._run if self._task == "embed" else self._encoder
            return run(**self._padded(batch)).last_hidden_state
        given, texts = pack(batch, self._config, self._device)
        with packed(texts):
            states = self._encoder(**given).last_hidden_state[0]  # (tokens of all rows, hidden)
        out = states.new_zeros((*batch.ids.shape, states.shape[-1]))
        out[torch.arange(batch.ids.shape[1], device=self._device) < self._lengths(batch)[:, None]] = states
        return out

    def _logits(self, batch: Batch) -> Any:
        """(rows, labels). Transformers' own head looks for padding ids to find a text's end; a length is surer."""
        if self._config.architecture in DECODERS:
            return self._module.score(
                pool(self._states(batch), self._lengths(batch), "last_token").to(self._module.dtype)
            )
        if not self.packing:
            return self._run(**self._padded(batch)).logits
        first = self._states(batch)[:, :1]
        return self._module.classifier(self._encoder.pooler(first))

    def _padded(self, batch: Batch) -> dict[str, Any]:
        """The model's arguments for a padded batch, (rows, tokens) each; no mask where nothing is padded."""
        tokens = batch.ids.shape[1]
        given = {"input_ids": torch.from_numpy(batch.ids.astype(np.int64)).to(self._device)}
        if (batch.lengths < tokens).any():
            mask = np.arange(tokens) < batch.lengths[:, None]
            given["attention_mask"] = torch.from_numpy(mask.astype(np.int64)).to(self._device)
        if self._config.type_vocab_size > 0:
            given["token_type_ids"] = torch.from_numpy(token_types(batch, self._config)).to(self._device)
        return given


def _attached(checkpoint: Checkpoint, module: Any, device: str) -> LiveAdapters:
    """The checkpoint's live adapters at the module's layers."""
    shapes = {name: tuple(weight.shape) for name, weight in module.named_parameters(remove_duplicate=False)}
    for path, layer in module.named_modules():
        if isinstance(layer, torch.nn.Linear):  # whose weight is no parameter in fewer bits
            shapes[f"{path}.weight"] = (layer.out_features, layer.in_features)
    prefix = getattr(module, "base_model_prefix", "")
    found = LiveAdapters(checkpoint.adapters, shapes, module.dtype, device, prefix=prefix)
    found.attach(module)
    return found


def _array(values: Any) -> NDArray[np.float32]:
    found: NDArray[np.float32] = values.float().cpu().numpy()
    return found
