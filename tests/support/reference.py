"""The reference: transformers in float32, pooling done by hand in torch. Importing it skips where torch is missing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Reference:
    """A checkpoint folder in transformers."""

    tokenizer: Any
    model: Any
    types: bool
    """Whether the model is given token types: BERT's tokenizer gives them, XLM-RoBERTa's does not."""
    max_length: int

    def inputs(self, first: Sequence[str], second: Sequence[str] | None = None, truncation: Any = True) -> Any:
        """A padded batch."""
        texts = (list(first),) if second is None else (list(first), list(second))
        return self.tokenizer(
            *texts,
            truncation=truncation,
            max_length=self.max_length,
            padding=True,
            return_tensors="pt",
            return_token_type_ids=self.types,
        )

    @torch.no_grad()
    def hidden(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """(batch, tokens, hidden) states of the last layer, (batch, tokens) mask."""
        given = self.inputs(texts)
        return self.model(**given).last_hidden_state, given["attention_mask"]

    def embed(
        self, texts: Sequence[str], pooling: str, *, normalize: bool = True, dense: Sequence[Path] = (), batch: int = 16
    ) -> Vectors:
        """(texts, dimension) pooled vectors."""
        order = sorted(range(len(texts)), key=lambda number: len(texts[number]))  # little padding
        found: list[torch.Tensor] = [torch.empty(0)] * len(texts)
        for start in range(0, len(texts), batch):
            rows = order[start : start + batch]
            vectors = pool(*self.hidden([texts[row] for row in rows]), pooling)
            for folder in dense:
                vectors = apply_dense(folder, vectors)
            vectors = torch.nn.functional.normalize(vectors, dim=-1) if normalize else vectors
            for row, vector in zip(rows, vectors, strict=True):
                found[row] = vector
        return torch.stack(found).numpy()

    @torch.no_grad()
    def score(self, pairs: Sequence[tuple[str, str]]) -> Vectors:
        """(pairs,) logits; a long document is cut, not the query."""
        queries, documents = zip(*pairs, strict=True)
        logits: Vectors = self.model(**self.inputs(queries, documents, "only_second")).logits[:, 0].numpy()
        return logits


def pool(states: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """sentence-transformers' ``Pooling``, (batch, tokens, hidden) -> (batch, hidden)."""
    if pooling == "cls":
        return states[:, 0]
    if pooling == "last_token":
        return states[torch.arange(len(states)), mask.sum(dim=1) - 1]
    real = mask.unsqueeze(-1).to(states.dtype)
    if pooling == "max":
        return states.masked_fill(real == 0, -1e9).max(dim=1).values
    total, count = (states * real).sum(dim=1), real.sum(dim=1)
    return total / (count.sqrt() if pooling == "mean_sqrt_len" else count)


def apply_dense(folder: Path, vectors: torch.Tensor) -> torch.Tensor:
    """sentence-transformers' ``Dense`` with the activation its config names."""
    import safetensors.torch

    name = json.loads((folder / "config.json").read_text())["activation_function"].rpartition(".")[2]
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    out = torch.nn.functional.linear(vectors, weights["linear.weight"], weights.get("linear.bias"))
    activated: torch.Tensor = getattr(torch.nn, name)()(out)
    return activated


def open_reference(
    folder: Path, max_length: int, *, classifier: bool = False, side: Literal["right", "left"] = "right"
) -> Reference:
    """A folder of the tests' own making, in float32."""
    config = json.loads((folder / "config.json").read_text())
    bert = config["model_type"] == "bert"
    names = ("[PAD]", "[CLS]", "[SEP]", "[UNK]") if bert else ("<pad>", "<s>", "</s>", "<unk>")
    special = dict(zip(("pad_token", "cls_token", "sep_token", "unk_token"), names, strict=True))
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), truncation_side=side, model_max_length=max_length, **special
    )
    torch.set_num_threads(1)  # these models are small, and the engine beside them has threads of its own
    kind = transformers.AutoModelForSequenceClassification if classifier else transformers.AutoModel
    model = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    return Reference(tokenizer, model, bert and config["type_vocab_size"] > 1, max_length)
