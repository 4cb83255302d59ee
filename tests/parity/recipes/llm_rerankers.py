"""Writes ``tests/parity/data/llm_rerankers.json``: what upstream's own classes score tiny checkpoints with.

They need an old transformers, so the values are kept in a file and this script is not run by the tests::

    pip install --target OLD transformers==4.46.0 FlagEmbedding==1.3.5   # with torch, and what they need
    PYTHONPATH=OLD:src:tests python tests/parity/recipes/llm_rerankers.py

The checkpoints are those of `support.llm_rerankers.write_layerwise` with its default seed; the ids come from a seeded
generator. Three things are known of upstream's classes, and met by what is asked of them:

- `CostWiseGemmaForCausalLM` takes the i-th head for the i-th layer asked for, so every layer is asked for, upon which
  the heads are the right ones. The cases marked ``compat`` ask for some layers, and hold what comes of it.
- Without flash-attn it computes attention by SDPA and leaves out the soft cap, so eager attention is asked for; the
  ``compat`` cases do without.
- `LayerWiseMiniCPMForCausalLM` pairs layers and heads rightly only where layers rise.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from support.llm_rerankers import torch, write_layerwise

OUT = Path(__file__).parents[1] / "data" / "llm_rerankers.json"
LAYERS = [1, 2, 3, 4]
LENGTHS, SECOND, CLOSING = [31, 18, 25], [7, 7, 11], 6
COMPRESSED: list[tuple[int, list[int]]] = [(1, [2]), (2, [2]), (4, [1, 3]), (3, [3])]


def rows() -> torch.Tensor:
    ids = torch.randint(6, 100, (len(LENGTHS), max(LENGTHS)), generator=torch.Generator().manual_seed(17))
    ids[1, :7] = ids[0, :7]  # two rows have the same query
    for row, length in enumerate(LENGTHS):
        ids[row, length:] = 0
    return ids


def minicpm(folder: Path, ids: torch.Tensor, mask: torch.Tensor) -> list[list[float]]:
    from FlagEmbedding.inference.reranker.decoder_only.models.configuration_minicpm_reranker import (
        LayerWiseMiniCPMConfig,
    )
    from FlagEmbedding.inference.reranker.decoder_only.models.modeling_minicpm_reranker import (
        LayerWiseMiniCPMForCausalLM,
    )

    write_layerwise(folder, "minicpm")
    config = LayerWiseMiniCPMConfig.from_pretrained(folder)
    config._attn_implementation = "eager"
    model = LayerWiseMiniCPMForCausalLM.from_pretrained(folder, config=config, attn_implementation="eager").eval()
    found = model(ids, attention_mask=mask, cutoff_layers=LAYERS).logits
    return [[float(layer[row, length - 1]) for layer in found] for row, length in enumerate(LENGTHS)]


def gemma(folder: Path, ids: torch.Tensor, mask: torch.Tensor, *, compat: bool) -> list[dict[str, Any]]:
    from FlagEmbedding.inference.reranker.decoder_only.models.gemma_config import CostWiseGemmaConfig
    from FlagEmbedding.inference.reranker.decoder_only.models.gemma_model import CostWiseGemmaForCausalLM

    config = CostWiseGemmaConfig.from_pretrained(folder)
    how = "sdpa" if compat else "eager"
    model = CostWiseGemmaForCausalLM.from_pretrained(folder, config=config, attn_implementation=how).eval()
    cases = []
    for ratio, layers in COMPRESSED:
        for cutoff in [LAYERS] if not compat else [[3], [2, 4]]:
            found = model(
                ids,
                attention_mask=mask,
                compress_layer=layers,
                compress_ratio=ratio,
                cutoff_layers=cutoff,
                query_lengths=SECOND,
                prompt_lengths=[CLOSING] * len(LENGTHS),
            )
            scores = [
                [float(s[row, int(m[row].sum()) - 1]) for s, m in zip(found.logits, found.attention_masks, strict=True)]
                for row in range(len(LENGTHS))
            ]
            cases.append({"compat": compat, "cutoff": cutoff, "ratio": ratio, "layers": layers, "scores": scores})
    return cases


def main() -> None:
    ids = rows()
    mask = (ids != 0).long()
    with tempfile.TemporaryDirectory() as name, torch.inference_mode():
        folder = write_layerwise(Path(name) / "gemma", "cost_wise_gemma", sliding_window=16)
        found = {
            "made_with": "transformers 4.46.0, FlagEmbedding 1.3.5, float32",
            "ids": [row[:length].tolist() for row, length in zip(ids, LENGTHS, strict=True)],
            "second": SECOND,
            "closing": CLOSING,
            "minicpm": {"cutoff": LAYERS, "scores": minicpm(Path(name) / "minicpm", ids, mask)},
            "cost_wise_gemma": [*gemma(folder, ids, mask, compat=False), *gemma(folder, ids, mask, compat=True)],
        }
    OUT.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
