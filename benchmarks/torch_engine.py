"""The torch engine on a GPU beside FlagEmbedding and sentence-transformers, and its share of the card's bf16 peak.

    python benchmarks/torch_engine.py [--device cuda:0] [--shapes base,large,m3] [--texts 4096] [--rounds 3]
    python benchmarks/torch_engine.py --device cpu --shapes mini,m3-mini --texts 24     # in miniature

All get equal random weights of each shape and the same passages, in bf16, in one run; each has a process of its own.
The rivals' environments (see environments.py) need a torch for the card: point pip at such an index, or name a Python
that has all of them with --rivals-python.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

import environments
import harness
import numpy as np
import random_checkpoint
import texts

SHAPES = {  # width and kind of random_checkpoint
    "base": ("base", "encoder"),
    "large": ("large", "encoder"),
    "m3": ("large", "m3"),
    "mini": ("mini", "encoder"),
    "m3-mini": ("mini", "m3"),
}
COMMON = """
import json, sys, time
import numpy as np, torch
job = json.loads(open(sys.argv[1], encoding="utf-8").read())
if job["device"] == "cpu":
    torch.set_num_threads(job["threads"])
def measured(encode, name):
    from importlib.metadata import version
    encode(job["texts"])  # kernels are chosen and memory is laid out in the first pass
    times = []
    for _ in range(job["rounds"]):
        started = time.perf_counter()
        vectors = encode(job["texts"])
        times.append(time.perf_counter() - started)
    np.save(job["out"], np.asarray(vectors, np.float32))
    peak = torch.cuda.max_memory_allocated() if job["device"].startswith("cuda") else 0
    return {"times": times, "version": version(name), "peak": peak}
"""
LAGOTTO = f"""{COMMON}
from lagotto import Embedder
model = Embedder(job["model"], pooling="cls", engine="torch", device=job["device"], precision=job["precision"],
                 threads=job["threads"], max_length=512)
found = measured(lambda texts: model.encode(texts).dense, "lagotto")
found["tokens"] = int(model.encode(job["texts"]).tokens.sum())
print(json.dumps(found))
"""
SENTENCE_TRANSFORMERS = f"""{COMMON}
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Normalize, Pooling, Transformer
body = Transformer(job["model"], max_seq_length=512, model_args={{"dtype": torch.bfloat16}})
pooling = Pooling(job["width"], pooling_mode="cls")
model = SentenceTransformer(modules=[body, pooling, Normalize()], device=job["device"])
encode = lambda texts: model.encode(texts, batch_size=job["batch"], show_progress_bar=False, convert_to_numpy=False,
                                    convert_to_tensor=True).float().cpu().numpy()
print(json.dumps(measured(encode, "sentence-transformers")))
"""
FLAG_EMBEDDING = f"""{COMMON}
from FlagEmbedding import FlagModel
model = FlagModel(job["model"], use_fp16=False, use_bf16=True, devices=job["device"], pooling_method="cls")
encode = lambda texts: model.encode(texts, batch_size=job["batch"], max_length=512)
print(json.dumps(measured(encode, "FlagEmbedding")))
"""
PEAK = """
import json, sys, time, torch
device, size = sys.argv[1], int(sys.argv[2])
a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
wait = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
best = float("inf")
for _ in range(20):
    wait()
    started = time.perf_counter()
    for _ in range(4):
        a @ b
    wait()
    best = min(best, (time.perf_counter() - started) / 4)
print(json.dumps(2 * size**3 / best / 1e12))
"""
CONTESTANTS = {  # name: environment (None: the Python that has lagotto), code, precision
    "lagotto bf16": (None, LAGOTTO, "bf16"),
    "lagotto f32": (None, LAGOTTO, "f32"),
    "sentence-transformers bf16": ("sentence-transformers", SENTENCE_TRANSFORMERS, "bf16"),
    "FlagEmbedding bf16": ("flagembedding", FLAG_EMBEDDING, "bf16"),
}


def run(python: Path, code: str, arguments: list[str], threads: int) -> object:
    """The last line a child prints, as JSON. Raises SkippedError with the end of what it said."""
    command = [str(python), "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=harness.child_environment(threads))
    if done.returncode:
        raise harness.SkippedError((done.stderr.strip().splitlines() or ["no message"])[-1][:200])
    return json.loads(done.stdout.strip().splitlines()[-1])


def measure(name: str, job: dict, folder: Path, options: argparse.Namespace) -> dict:
    """One contestant on one shape: what it found, or why it was left out."""
    environment, code, precision = CONTESTANTS[name]
    print(f"{job['shape']}: {name}", file=sys.stderr)
    try:
        python = options.python
        if environment:
            python = options.rivals_python or environments.ensure(environment, options.envs)
        job = job | {"precision": precision, "out": str(folder / f"{name.replace(' ', '-')}.npy")}
        file = folder / "job.json"
        file.write_text(json.dumps(job), encoding="utf-8")
        found = run(python, code, [str(file)], job["threads"])
        return dict(found) | {"vectors": np.load(job["out"])}  # type: ignore[call-overload]
    except (harness.SkippedError, environments.InstallError) as error:
        return {"skipped": str(error).replace("|", "/")}


def report(shape: str, model: Path, found: dict[str, dict], count: int, peak: float) -> str:
    """The shape's table; the agreement is the lowest cosine to lagotto in f32."""
    exact, fast = found["lagotto f32"], found["lagotto bf16"]
    lines = [
        "| contestant | version | texts/s | lagotto bf16 is | linear, TFLOP/s | of the bf16 peak | GB | agreement |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, one in found.items():
        if "skipped" in one:
            lines.append(f"| {name} | | skipped | | | | | {one['skipped']} |")
            continue
        seconds = statistics.median(one["times"])
        ratio = "" if "skipped" in fast else f"{seconds / statistics.median(fast['times']):.2f}x"
        speed = 2 * harness.linear_parameters(model) * fast.get("tokens", 0) / seconds / 1e12
        cosine = "" if "skipped" in exact else f"{(one['vectors'] * exact['vectors']).sum(axis=1).min():.5f}"
        lines.append(
            f"| {name} | {one['version']} | {count / seconds:.1f} | {ratio} | {speed:.3g} | {speed / peak:.0%} "
            f"| {one['peak'] / 1e9:.1f} | {cosine} |"
        )
    mean = f", {fast['tokens'] / count:.0f} tokens on average" if "tokens" in fast else ""
    return f"### {shape} (random weights), {count} texts{mean}\n\n" + "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--shapes", default="base,large,m3", help=f"comma-separated, of: {', '.join(SHAPES)}")
    parser.add_argument("--texts", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=256, help="the rivals' batch size, FlagEmbedding's default")
    parser.add_argument("--model", default="starter:bge-small-en-v1.5", help="whose tokenizer base and large take")
    parser.add_argument("--m3-model", default="starter:multilingual-e5-small", help="whose tokenizer m3 takes")
    parser.add_argument("--width", default="small", help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--envs", type=Path, default=environments.DEFAULT_ENVS)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="the Python that has lagotto")
    parser.add_argument("--rivals-python", type=Path, help="a Python that has the rivals, instead of environments")
    options = parser.parse_args()
    work = harness.work(options) / "torch-engine"
    passages = texts.passages()
    chosen = [passages[i % len(passages)] for i in texts.sample(passages, min(options.texts, len(passages)))]
    chosen = [chosen[i % len(chosen)] for i in range(options.texts)]
    peak = float(run(options.python, PEAK, [options.device, str(1024 if options.device == "cpu" else 8192)],
                     options.threads))  # fmt: skip
    print(f"The best bf16 matrix product of {options.device}: {peak:.3g} TFLOP/s.\n")
    tokenizers = {"encoder": options.model, "m3": options.m3_model}
    for shape in options.shapes.split(","):
        width, kind = SHAPES[shape]
        options.model = tokenizers[kind]
        like = harness.checkpoint(options, "encode")
        folder = work / shape
        model = random_checkpoint.make(folder / "checkpoint", width, like, kind)
        job = {
            "shape": shape, "model": str(model), "texts": chosen, "device": options.device, "rounds": options.rounds,
            "batch": options.batch, "threads": options.threads, "width": random_checkpoint.WIDTHS[width][0],
        }  # fmt: skip
        found = {name: measure(name, job, folder, options) for name in CONTESTANTS}
        print(report(shape, model, found, len(chosen), peak))


if __name__ == "__main__":
    main()
