"""LLM rerankers: lagotto beside FlagEmbedding, then layers and compression against time.

    python benchmarks/llm_rerank.py [--width small] [--device cpu|cuda:0] [--passages 100] [--rounds 3]
    python benchmarks/llm_rerank.py --width mini --passages 16 --rounds 1     # in miniature

First the shape of bge-reranker-v2-gemma, scaled down, with random weights that both get: one query with the passages.
Each contestant has a process of its own. Then that of v2.5-gemma2-lightweight in lagotto alone (FlagEmbedding does not
run it on a transformers of today), for several cutoff layers and compression ratios.
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
import random_decoder
import texts

COMMON = """
import json, resource, sys, time
import numpy as np, torch
job = json.loads(open(sys.argv[1], encoding="utf-8").read())
if job["device"] == "cpu":
    torch.set_num_threads(job["threads"])
def measured(score, name):
    from importlib.metadata import PackageNotFoundError, version
    score(job["pairs"][:4])  # kernels are chosen and memory is laid out in the first pass
    times = []
    for _ in range(job["rounds"]):
        started = time.perf_counter()
        scores = score(job["pairs"])
        times.append(time.perf_counter() - started)
    try:
        found = version(name)
    except PackageNotFoundError:
        found = "from source"
    gpu = job["device"].startswith("cuda")
    peak = torch.cuda.max_memory_allocated() if gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"times": times, "version": found, "peak": peak, "scores": np.asarray(scores, float).tolist()}
"""
OPEN = """
from lagotto import Reranker, ScoreOptions
model = Reranker(job["model"], card=job["card"], engine="torch", device=job["device"], precision=job["precision"],
                 threads=job["threads"])
"""
LAGOTTO = f"""{COMMON}{OPEN}
model._loaded.engine._compute._compute._sharing = job["sharing"]
print(json.dumps(measured(lambda pairs: model.score(pairs, max_length=512, max_windows=1).scores, "lagotto")))
"""
FLAG_EMBEDDING = f"""{COMMON}
from FlagEmbedding import FlagLLMReranker
half = job["precision"] == "bf16"
model = FlagLLMReranker(job["model"], use_bf16=half, devices=job["device"], batch_size=job["batch"])
print(json.dumps(measured(lambda pairs: model.compute_score(pairs, max_length=512), "FlagEmbedding")))
"""
LAYERS = f"""{COMMON}{OPEN}
rows = []
for cutoff, layers, ratio in job["cases"]:
    options = ScoreOptions(cutoff_layers=cutoff, compress_layers=layers, compress_ratio=ratio)
    score = lambda pairs: model.score(pairs, max_length=512, max_windows=1, options=options).scores
    rows.append(measured(score, "lagotto"))
print(json.dumps(rows))
"""
CONTESTANTS = {  # name: environment (None: the Python that has lagotto), code, precision, whether the query is shared
    "lagotto bf16": (None, LAGOTTO, "bf16", True),
    "lagotto f32": (None, LAGOTTO, "f32", True),
    "lagotto f32, query computed for each pair": (None, LAGOTTO, "f32", False),
    "FlagEmbedding f32": ("flagembedding", FLAG_EMBEDDING, "f32", False),
    "FlagEmbedding bf16": ("flagembedding", FLAG_EMBEDDING, "bf16", False),
}


def run(python: Path, code: str, job: dict, folder: Path) -> object:
    """The last line a child prints, as JSON. Raises SkippedError with the end of what it said."""
    file = folder / "job.json"
    file.write_text(json.dumps(job), encoding="utf-8")
    done = subprocess.run(
        [str(python), "-c", code, str(file)],
        capture_output=True,
        text=True,
        env=harness.child_environment(job["threads"]),
    )
    if done.returncode:
        raise harness.SkippedError((done.stderr.strip().splitlines() or ["no message"])[-1][:200])
    return json.loads(done.stdout.strip().splitlines()[-1])


def measure(name: str, job: dict, folder: Path, options: argparse.Namespace) -> dict:
    """One contestant: what it found, or why it was left out."""
    environment, code, precision, sharing = CONTESTANTS[name]
    print(name, file=sys.stderr)
    try:
        python = options.python
        if environment:
            python = options.rivals_python or environments.ensure(environment, options.envs)
        return dict(run(python, code, job | {"precision": precision, "sharing": sharing}, folder))  # type: ignore[call-overload]
    except (harness.SkippedError, environments.InstallError) as error:
        return {"skipped": str(error).replace("|", "/")}


def compared(found: dict[str, dict], count: int) -> str:
    """The table of contestants; the agreement is the largest difference to lagotto's scores in f32."""
    exact, base = found["lagotto f32"], found["lagotto bf16"]
    lines = ["| contestant | version | pairs/s | lagotto bf16 is | peak MB | largest difference |"]
    lines.append("|---|---|---:|---:|---:|---:|")
    for name, one in found.items():
        if "skipped" in one:
            lines.append(f"| {name} | | skipped | | | {one['skipped']} |")
            continue
        seconds = statistics.median(one["times"])
        ratio = "" if "skipped" in base else f"{seconds / statistics.median(base['times']):.2f}x"
        apart = "" if "skipped" in exact else f"{np.abs(np.subtract(one['scores'], exact['scores'])).max():.2g}"
        peak = one["peak"] / 1e6
        lines.append(f"| {name} | {one['version']} | {count / seconds:.1f} | {ratio} | {peak:.0f} | {apart} |")
    return "\n".join(lines)


def cases(layers: int) -> list[tuple[int, list[int], int]]:
    """(cutoff layer, layers that shorten, ratio): a third, two thirds and all of the layers, whole and shortened."""
    early = max(1, layers // 4)
    cutoffs = sorted({max(random_decoder.START, layers // 3), 2 * layers // 3, layers}, reverse=True)
    return [(cutoff, [early], ratio) for cutoff in cutoffs for ratio in (1, 2, 4, 8)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--width", choices=list(random_decoder.WIDTHS), default="small")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--passages", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=128, help="FlagEmbedding's batch size, its default")
    parser.add_argument("--model", default="starter:bge-small-en-v1.5", help="whose tokenizer is taken")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--envs", type=Path, default=environments.DEFAULT_ENVS)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="the Python that has lagotto")
    parser.add_argument("--rivals-python", type=Path, help="a Python that has FlagEmbedding, instead of environments")
    options = parser.parse_args()
    work = harness.work(options) / "llm-rerank"
    tokenizer_of = argparse.Namespace(**{**vars(options), "width": "small"})
    like = harness.checkpoint(tokenizer_of, "rerank")
    job = {
        "pairs": texts.pairs(texts.passages(), options.passages), "device": options.device, "rounds": options.rounds,
        "batch": options.batch, "threads": options.threads,
    }  # fmt: skip
    model = random_decoder.make(work / f"gemma-{options.width}", options.width, like, "gemma")
    mine = job | {"model": str(model), "card": random_decoder.CARDS["gemma"]}
    found = {name: measure(name, mine, work, options) for name in CONTESTANTS}
    print(f"### {model.name} (random weights), one query with {options.passages} passages on {options.device}\n")
    print(compared(found, options.passages))
    model = random_decoder.make(work / f"lightweight-{options.width}", options.width, like, "lightweight")
    asked = cases(random_decoder.WIDTHS[options.width][1])
    mine = job | {"model": str(model), "card": random_decoder.CARDS["lightweight"], "precision": "bf16", "cases": asked}
    rows = run(options.python, LAYERS, mine, work)
    print(f"\n### {model.name}, lagotto bf16: layers and compression\n")
    print("| cutoff layer | shortened after | ratio | pairs/s |\n|---:|---:|---:|---:|")
    for (cutoff, layers, ratio), row in zip(asked, rows, strict=True):  # type: ignore[call-overload]
        rate = options.passages / statistics.median(row["times"])
        print(f"| {cutoff} | {layers[0] if ratio > 1 else ''} | {ratio} | {rate:.1f} |")


if __name__ == "__main__":
    main()
