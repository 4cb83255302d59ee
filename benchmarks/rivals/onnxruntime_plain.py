"""ONNX Runtime, fed by hand as well as it can be: rows sorted by length, in batches of about 1,024 tokens.

In f32, or with the option `int8` after its own dynamic quantisation (int8 weights, inputs rounded as they come).

1,024 was the best of 256 to 8,192 tokens a batch for the small model; larger batches leave the processor's caches.
"""

import json
from pathlib import Path

import numpy as np
import onnxruntime
from common import Job, Pass, serve
from tokenizers import Tokenizer


def prepare(job: Job) -> bool:
    if not job.options.get("int8") or Path(job.cache).exists():
        return False
    from onnxruntime.quantization import quantize_dynamic

    part = Path(f"{job.cache}.part")
    quantize_dynamic(str(Path(job.onnx) / "model.onnx"), str(part), per_channel=True)
    part.rename(job.cache)
    return True


def load(job: Job) -> Pass:
    folder, budget = Path(job.onnx), job.options.get("budget", 1024)
    meta = json.loads((folder / "export.json").read_text())
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(meta["max_length"])
    tokenizer.no_padding()
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = job.threads
    file = job.cache if job.options.get("int8") else str(folder / "model.onnx")
    session = onnxruntime.InferenceSession(file, session_options, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]

    def pool(hidden: np.ndarray, mask: np.ndarray) -> np.ndarray:  # (rows, tokens, dim) -> (rows, dim)
        if job.task == "rerank":
            return hidden[:, 0]  # the logits already
        pooled = hidden[:, 0] if meta["pooling"] == "cls" else (hidden * mask[..., None]).sum(1) / mask.sum(1)[:, None]
        return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)

    def run(items: list) -> np.ndarray:
        encoded = tokenizer.encode_batch([item if isinstance(item, str) else tuple(item) for item in items])
        order, values, at = sorted(range(len(items)), key=lambda i: -len(encoded[i])), [], 0
        while at < len(order):
            longest = len(encoded[order[at]])
            rows = order[at : at + max(1, budget // longest)]
            at += len(rows)
            feed = {name: np.zeros((len(rows), longest), np.int64) for name in names}
            for row, i in enumerate(rows):
                size, kinds = len(encoded[i]), ("ids", "attention_mask", "type_ids")
                for name, kind in zip(("input_ids", "attention_mask", "token_type_ids"), kinds, strict=True):
                    if name in feed:
                        feed[name][row, :size] = getattr(encoded[i], kind)
            values.append(pool(session.run(None, feed)[0], feed["attention_mask"]))
        run.facts = {"tokens": sum(map(len, encoded))}  # type: ignore[attr-defined]
        return np.concatenate(values)[np.argsort(order)]

    return run


if __name__ == "__main__":
    serve(load, "onnxruntime", prepare)
