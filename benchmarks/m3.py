"""BGE-M3's three outputs from one pass: texts a second beside FlagEmbedding's, and memory at 8,192 tokens.

    python benchmarks/m3.py [--texts 32] [--rounds 3]

Both get equal random weights of BGE-M3's shape (24 layers, width 1024, vocabulary of about 250,000) and the same
passages. FlagEmbedding runs with its defaults (float32 on a CPU, batches of 256 padded to the longest) and computes its
first batch twice, as it does in every call.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import environments
import harness
import numpy as np
import random_checkpoint
import texts

HEADS = """
import sys, torch
torch.manual_seed(0)
for name, size in (("sparse_linear", 1), ("colbert_linear", 1024)):
    layer = torch.nn.Linear(1024, size)
    layer.bias.data += 2  # random states are much alike: without it all sparse weights may be 0
    torch.save(layer.state_dict(), f"{sys.argv[1]}/{name}.pt")
"""
COMMON = """
import json, sys, time
import numpy as np
job = json.loads(open(sys.argv[1], encoding="utf-8").read())
def timed(encode):
    encode(job["texts"][:2])
    times = []
    for _ in range(job["rounds"]):
        started = time.perf_counter()
        value = encode(job["texts"])
        times.append(time.perf_counter() - started)
    return sorted(times), value
"""
LAGOTTO = f"""{COMMON}
from lagotto import Embedder
from lagotto.evaluation.cost import MemoryMeter, resident_bytes
outputs = ("dense", "sparse", "multivector")
model = Embedder(job["model"], pooling="cls", precision=job["precision"], threads=job["threads"])
times, value = timed(lambda texts: model.encode(texts, outputs=outputs, max_length=512))
np.savez(job["out"], dense=value.dense, sparse=value.sparse.values, multi=value.multivector.vectors)
loaded = resident_bytes()
started = time.perf_counter()
with MemoryMeter() as meter:
    tokens = model.encode(" ".join(job["texts"] * 40), outputs=outputs).tokens
long = [int(tokens[0]), time.perf_counter() - started, meter.peak - loaded, loaded]
print(json.dumps({{"times": times, "tokens": int(value.tokens.sum()), "long": long}}))
"""
RIVAL = f"""{COMMON}
import torch
torch.set_num_threads(job["threads"])
from FlagEmbedding import BGEM3FlagModel
model = BGEM3FlagModel(job["model"], use_fp16=False, devices="cpu")
times, value = timed(lambda texts: model.encode(
    texts, max_length=512, return_dense=True, return_sparse=True, return_colbert_vecs=True))
weights = [w for one in value["lexical_weights"] for _, w in sorted(one.items(), key=lambda kv: int(kv[0]))]
np.savez(job["out"], dense=value["dense_vecs"], sparse=np.array(weights, np.float32),
         multi=np.concatenate(value["colbert_vecs"]))
print(json.dumps({{"times": times}}))
"""


def child(python: Path, code: str, job: dict, folder: Path, name: str) -> dict:
    """What one contestant found, with its arrays."""
    file = folder / f"{name}.json"
    job = job | {"out": str(folder / f"{name}.npz")}
    file.write_text(json.dumps(job), encoding="utf-8")
    print(name, file=sys.stderr)
    done = subprocess.run([str(python), "-c", code, str(file)], stdout=subprocess.PIPE, text=True, check=True,
                          env=harness.child_environment(job["threads"]))  # fmt: skip
    return json.loads(done.stdout.strip().splitlines()[-1]) | {"values": np.load(job["out"])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--texts", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="starter:multilingual-e5-small", help="whose tokenizer is taken")
    parser.add_argument("--width", default="small", help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--envs", type=Path, default=environments.DEFAULT_ENVS)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="the Python that has lagotto")
    options = parser.parse_args()
    rival = environments.ensure("flagembedding", options.envs)
    work = harness.work(options) / "m3"
    folder = random_checkpoint.make(work / "checkpoint", "large", harness.checkpoint(options, "encode"), "m3")
    if not (folder / "colbert_linear.pt").exists():
        subprocess.run([str(rival), "-c", HEADS, str(folder)], check=True)
    passages = texts.passages()
    job = {
        "model": str(folder),
        "texts": [passages[i] for i in texts.sample(passages, options.texts)],
        "threads": options.threads,
        "rounds": options.rounds,
    }
    exact = child(options.python, LAGOTTO, job | {"precision": "f32"}, work, "lagotto-f32")
    fast = child(options.python, LAGOTTO, job | {"precision": "bf16"}, work, "lagotto-bf16")
    theirs = child(rival, RIVAL, job | {"rounds": 1}, work, "flagembedding")
    print("| contestant | texts/s | lagotto bf16 is | dense: lowest cosine to lagotto f32 |\n|---|---:|---:|---:|")
    base = options.texts / fast["times"][len(fast["times"]) // 2]
    for name, found in (("lagotto bf16", fast), ("lagotto f32", exact), ("FlagEmbedding", theirs)):
        rate = options.texts / found["times"][len(found["times"]) // 2]
        cosine = float((found["values"]["dense"] * exact["values"]["dense"]).sum(axis=1).min())
        print(f"| {name} | {rate:.2f} | {base / rate:.2f}x | {cosine:.6f} |")
    for part in ("sparse", "multi"):
        a, b = exact["values"][part], theirs["values"][part]
        gap = f"{np.abs(a - b).max():.2e}" if a.shape == b.shape else f"shapes {a.shape} and {b.shape}"
        print(f"{part}: largest difference of lagotto f32 from FlagEmbedding: {gap}")
    for name, found in (("bf16", fast), ("f32", exact)):
        tokens, seconds, above, loaded = found["long"]
        print(f"{tokens} tokens in {name}: {above / 1e6:.0f} MB above {loaded / 1e6:.0f} MB loaded, {seconds:.1f} s")


if __name__ == "__main__":
    main()
