"""CTranslate2: its encoder with int8 weights, fed by hand: rows sorted by length, in batches of about 1,024 tokens."""

import json
from pathlib import Path

import ctranslate2
import numpy as np
from common import Job, Pass, serve
from tokenizers import Tokenizer


def prepare(job: Job) -> bool:
    if Path(job.cache).exists():
        return False
    ctranslate2.converters.TransformersConverter(job.model).convert(job.cache)
    return True


def load(job: Job) -> Pass:
    meta = Path(job.model) / "1_Pooling" / "config.json"
    mean = meta.exists() and json.loads(meta.read_text()).get("pooling_mode_mean_tokens", False)
    tokenizer = Tokenizer.from_file(str(Path(job.model) / "tokenizer.json"))
    tokenizer.enable_truncation(512)
    tokenizer.no_padding()
    encoder = ctranslate2.Encoder(job.cache, device="cpu", compute_type="int8", intra_threads=job.threads)

    def run(items: list[str]) -> np.ndarray:
        encoded = tokenizer.encode_batch(items)
        order, values, at = sorted(range(len(items)), key=lambda i: -len(encoded[i])), [], 0
        while at < len(order):
            rows = order[at : at + max(1, 1024 // len(encoded[order[at]]))]
            at += len(rows)
            hidden = np.array(encoder.forward_batch([encoded[i].ids for i in rows]).last_hidden_state)
            for row, i in enumerate(rows):
                values.append(hidden[row, : len(encoded[i])].mean(axis=0) if mean else hidden[row, 0])
        out = np.array(values)[np.argsort(order)]
        return out / np.linalg.norm(out, axis=1, keepdims=True)

    return run


if __name__ == "__main__":
    serve(load, "ctranslate2", prepare)
