"""`PairScores`: a language model that scores (query, passage) pairs on one device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lagotto.batch.sequences import Batch
from lagotto.cards.checkpoint import Checkpoint
from lagotto.cards.decoder_config import decoder_config
from lagotto.cards.json_files import read_json
from lagotto.cards.weights import Weights
from lagotto.core.errors import CheckpointError, EngineError, UnsupportedModelError
from lagotto.engines.base import Output, Precision, Scoring, WeightFormat
from lagotto.engines.sharing import share
from lagotto.engines.torch.compression import compress
from lagotto.engines.torch.decoder import Decoder, Flow, Prefixes
from lagotto.engines.torch.devices import dtype_of
from lagotto.engines.torch.tensors import TensorReader

_VOCABULARY = "lm_head.weight"  # read when it is known which rows are wanted


class PairScores:
    """A reranker of a head ``yes_logit``, ``layerwise`` or ``lightweight``. Not thread-safe: one thread computes.

    The score is read from the last token's state: by rows of the vocabulary, of which no others are read from the
    file unless they are the embeddings too, or by the layer's own head. Where layers have heads, calls may stop before
    the last of them, and a layer is read from the file when a call first gets to it.
    """

    width = 1
    """Numbers a row has by default: one score."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: str,
        precision: Precision,
        *,
        weights: WeightFormat = "full",
        sharing: bool = True,
    ) -> None:
        """``weights``: how the matrices of the layers are kept.

        ``sharing=False`` computes what pairs begin with for each of them. Raises `CheckpointError`, and
        `UnsupportedModelError` for weights that do not fit the format.
        """
        folder = checkpoint.folder
        if (folder / "adapter_config.json").is_file():
            raise CheckpointError(
                f"{folder} holds an adapter (adapter_config.json) beside weights; give it a folder of its own "
                "and open it with adapter="
            )
        self._config = decoder_config(read_json(folder / "config.json"), folder)
        self._reader = TensorReader(
            Weights.open(folder),
            dtype_of(precision),
            device,
            weights,
            adapter=checkpoint.adapter,
            adapters=checkpoint.adapters,
        )
        self._check_head(checkpoint)
        self._device, self._sharing = device, sharing
        self._rows: dict[tuple[int, ...], Any] = {}  # of the vocabulary, by their ids
        options = checkpoint.card.options
        self._weighted = options.get("compress_by") == "attention"
        self._start, self._step = int(options.get("start_layer", 0)), int(options.get("layer_sep", 1))
        # What adapters change is checked as it is read, so with them all is read at once.
        lazy = self._start > 0 and checkpoint.adapter is None and not checkpoint.adapters
        self._decoder = Decoder(self._config, self._reader, lazy=lazy)
        heads = range(self._start, self._config.num_hidden_layers + 1, self._step) if self._start else ()
        names = [f"lm_head.{number}.linear_head.weight" for number in range(len(heads))]
        self._heads = [self._reader.exact(name, 1, self._config.hidden_size) for name in names]
        self._reader.merging.check_made(later=_VOCABULARY)
        self._reader.live.check_taken()

    def __call__(self, batch: Batch, output: Output) -> NDArray[np.float32]:
        """(rows, layers) float32 scores; one layer where the scoring names none."""
        with torch.inference_mode(), self._reader.live.chosen(output) as how:
            if not isinstance(how, Scoring):
                raise EngineError(f"a language model that reranks gives scores of pairs, not {how!r}: give a Scoring")
            read = self._run(batch, how)
            layers = how.cutoff_layers or (self._config.num_hidden_layers,)
            scores = torch.stack([self._score(read[layer], layer, how) for layer in layers], dim=1)
            found: NDArray[np.float32] = scores.cpu().numpy()
            return found

    def _check_head(self, checkpoint: Checkpoint) -> None:
        """Raise `UnsupportedModelError` for an adapter whose merging would change the head with the embeddings."""
        if not self._config.tied or "yes_logit" not in checkpoint.card.heads or checkpoint.adapter is None:
            return
        if any(f"{begin}embed_tokens.weight" in self._reader.merging for begin in ("", "model.")):
            raise UnsupportedModelError(
                f"{checkpoint.adapter.folder}: changes the embeddings, which are the head of {checkpoint.name}, too "
                "(tie_word_embeddings); merge the adapter with PEFT, as it was trained, and save the whole model"
            )

    def _run(self, batch: Batch, how: Scoring) -> dict[int, Any]:
        """(rows, hidden) normalised states of the last tokens, by the number of layers behind them."""
        flow, prefixes, begin = self._start_flow(batch)
        wanted = set(how.cutoff_layers or (self._config.num_hidden_layers,))
        depth = max(wanted)
        shorten = set(how.compress_layers if how.compress_ratio > 1 else ())
        weights, read = None, {}
        for number in range(depth):
            if number in wanted:
                read[number] = self._normal(flow)
            if number in shorten:
                compress(flow, begin, how.closing, how.compress_ratio, weights)
            weights = self._decoder.layer(
                number,
                flow,
                prefixes,
                last=number == depth - 1,
                weigh=self._weighted and number + 1 in shorten and number + 1 < depth,
                softcap=not how.compat,
            )
        read[depth] = self._normal(flow)
        return read

    def _normal(self, flow: Flow) -> Any:
        """(rows, hidden) of the last tokens, in float32 from here on: bfloat16 scores would come in steps of 1/16."""
        return self._decoder.norm(flow.last().float())

    def _start_flow(self, batch: Batch) -> tuple[Flow, Prefixes | None, Any]:
        """Rows before the first layer, the prefixes they continue, and where in the rows passages begin."""
        shared = share(batch) if self._sharing else None
        second = self._tensor(batch.second)
        lengths = self._tensor(batch.lengths)
        if shared is None:
            return Flow(self._decoder.embed(self._tensor(batch.ids)), lengths), None, second
        first = Flow(self._decoder.embed(self._tensor(shared.prefixes)), self._tensor(shared.lengths))
        flow = Flow(self._decoder.embed(self._tensor(shared.rest)), lengths - second, second)
        return flow, Prefixes(first, self._tensor(shared.owner)), torch.zeros_like(second)

    def _score(self, states: Any, layer: int, how: Scoring) -> Any:
        """(rows, hidden) states of a layer -> (rows,) float32 scores."""
        if how.yes is None:
            return self._capped(states @ self._head(layer, how)[0])
        tokens = (how.yes,) if how.no is None else (how.yes, how.no)
        logits = self._capped(states @ self._vocabulary(tokens).T)
        return logits[:, 0] if how.no is None else logits[:, 0] - logits[:, 1]

    def _head(self, layer: int, how: Scoring) -> Any:
        """The layer's head. Upstream takes the i-th head for the i-th of the layers asked for."""
        if how.compat and self._config.architecture != "minicpm":
            return self._heads[sorted(how.cutoff_layers or (layer,)).index(layer)]
        return self._heads[(layer - self._start) // self._step]

    def _vocabulary(self, tokens: Sequence[int]) -> Any:
        key = tuple(tokens)
        if self._config.tied:
            return self._decoder.embeddings[list(key)].float()
        if key not in self._rows:
            shape = (self._config.vocab_size, self._config.hidden_size)
            self._rows[key] = self._reader.rows(_VOCABULARY, key, *shape)
        return self._rows[key]

    def _capped(self, logits: Any) -> Any:
        cap = self._config.logit_softcap
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def _tensor(self, values: NDArray[np.int32]) -> Any:
        return torch.from_numpy(values.astype(np.int64)).to(self._device)
