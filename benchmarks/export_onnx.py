"""Export a BERT-like checkpoint to ONNX (f32) for the rivals that run ONNX files.

It runs in the environment sentence-transformers:

    python benchmarks/export_onnx.py CHECKPOINT OUT [--task encode|rerank]

OUT then holds model.onnx (one output: the hidden states, or the logits), the tokenizer's files and export.json.
Attention is written out operator by operator, the form that ONNX Runtime's own graph fusions know; of the exporters and
forms tried, none ran faster there.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer


class OneOutput(torch.nn.Module):
    """The model with plain tensors in and one plain tensor out."""

    def __init__(self, model: torch.nn.Module, output: str, names: list[str]) -> None:
        super().__init__()
        self.model, self.output, self.names = model, output, names

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        """The output of the tensors, which come in the order of the names."""
        return getattr(self.model(**dict(zip(self.names, tensors, strict=True))), self.output)


def pooling(folder: Path) -> str:
    """The pooling that the folder's sentence-transformers files name, else "cls"."""
    file = folder / "1_Pooling" / "config.json"
    settings = json.loads(file.read_text()) if file.exists() else {}
    mean = settings.get("pooling_mode_mean_tokens") or settings.get("pooling_mode") == "mean"
    return "mean" if mean else "cls"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--task", choices=["encode", "rerank"], default="encode")
    options = parser.parse_args()
    kind, output = (AutoModel, "last_hidden_state")
    if options.task == "rerank":
        kind, output = (AutoModelForSequenceClassification, "logits")
    config = AutoConfig.from_pretrained(options.checkpoint)
    model = kind.from_pretrained(options.checkpoint, attn_implementation="eager", dtype=torch.float32).eval()
    ids = torch.randint(5, min(1000, config.vocab_size), (2, 16))
    mask = torch.ones_like(ids)
    mask[1, 10:] = 0
    inputs = {"input_ids": ids, "attention_mask": mask}
    if config.type_vocab_size > 1:
        inputs["token_type_ids"] = torch.zeros_like(ids)
    options.out.mkdir(parents=True, exist_ok=True)
    axes = {name: {0: "rows", 1: "tokens"} for name in inputs}
    axes[output] = {0: "rows"} if options.task == "rerank" else {0: "rows", 1: "tokens"}
    with torch.no_grad():
        torch.onnx.export(
            OneOutput(model, output, list(inputs)), tuple(inputs.values()), str(options.out / "model.onnx"),
            input_names=list(inputs), output_names=[output], dynamic_axes=axes, opset_version=17, dynamo=False,
        )  # fmt: skip
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        if (options.checkpoint / name).exists():
            shutil.copy(options.checkpoint / name, options.out / name)
    limit = AutoTokenizer.from_pretrained(options.checkpoint).model_max_length
    facts = {"pooling": pooling(options.checkpoint), "dim": config.hidden_size, "max_length": min(limit, 512)}
    (options.out / "export.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
