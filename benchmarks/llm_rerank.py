"""LLM rerankers: lagotto beside FlagEmbedding and transformers, then layers and compression against time.

    python benchmarks/llm_rerank.py [--width small] [--device cpu|cuda:0] [--passages 100] [--rounds 3]
    python benchmarks/llm_rerank.py --width mini --passages 16 --rounds 1     # in miniature

First the shape of bge-reranker-v2-gemma, scaled down, with random weights that both get: one query with the passages.
Each contestant has a process of its own. Then that of Qwen3-Reranker-0.6B, a few of its layers, beside transformers as
the model's card uses it. Then that of v2.5-gemma2-lightweight in lagotto alone (FlagEmbedding does not
run it on a transformers of today), for several cutoff layers and compression ratios: the share of the whole model's
time beside the share of its work, which is tokens times layers. ``--plot FILE.svg`` draws them (needs matplotlib).
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
model = Reranker(job["model"], card=job["card"], engine=job["engine"], device=job["device"],
                 precision=job["precision"], threads=job["threads"])
"""
LAGOTTO = f"""{COMMON}{OPEN}
if not job.get("sharing", True):
    model._loaded.engine._compute._compute._sharing = False
print(json.dumps(measured(lambda pairs: model.score(pairs, max_length=512, max_windows=1).scores, "lagotto")))
"""
FLAG_EMBEDDING = f"""{COMMON}
from FlagEmbedding import FlagLLMReranker
half = job["precision"] == "bf16"
model = FlagLLMReranker(job["model"], use_bf16=half, devices=job["device"], batch_size=job["batch"])
print(json.dumps(measured(lambda pairs: model.compute_score(pairs, max_length=512), "FlagEmbedding")))
"""
TRANSFORMERS = f"""{COMMON}
from transformers import AutoModelForCausalLM, AutoTokenizer
from lagotto.cards.registry import find_card
card = find_card(job["card"])
tokenizer = AutoTokenizer.from_pretrained(job["model"], padding_side="left")
dtype = torch.bfloat16 if job["precision"] == "bf16" else torch.float32
model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=dtype).to(job["device"]).eval()
ids = lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]
query_before, query_after, document_before = *card.query.around(None), card.document.around(None)[0]
before, after = ids(card.options["opening"]), ids(card.options["ending"])
yes, no = (ids(card.options[name])[0] for name in ("yes_token", "no_token"))
@torch.no_grad()
def score(pairs):
    found = []
    for start in range(0, len(pairs), job["batch"]):
        part = pairs[start : start + job["batch"]]
        asked = [query_before + query + query_after + document_before + passage for query, passage in part]
        rows = [before + ids(text) + after for text in asked]
        given = tokenizer.pad({{"input_ids": rows}}, padding=True, return_tensors="pt").to(job["device"])
        logits = model(**given).logits[:, -1, :].float()
        found += (logits[:, yes] - logits[:, no]).tolist()
    return found
print(json.dumps(measured(score, "transformers")))
"""
LAYERS = f"""{COMMON}{OPEN}
plain = model._loaded.tokenizer.plain
around = len(plain("B: ")) + 2 * len(plain("\\n")) + len(plain(model._loaded.checkpoint.card.options["prompt"]))
passages = [len(plain(passage)) for _, passage in job["pairs"]]
rows = []
for cutoff, layers, ratio in job["cases"]:
    options = ScoreOptions(cutoff_layers=cutoff, compress_layers=layers, compress_ratio=ratio)
    score = lambda pairs: model.score(pairs, max_length=512, max_windows=1, options=options).scores
    whole = min(cutoff, *layers) if ratio > 1 else cutoff
    work = sum(whole * (around + n) + (cutoff - whole) * (around + -(-n // ratio)) for n in passages)
    rows.append(measured(score, "lagotto") | {{"work": work}})
print(json.dumps(rows))
"""
Contestants = dict[str, tuple[str | None, str, dict]]  # environment (None: lagotto's own Python), code, settings
CPU = {"engine": "auto", "sharing": True}  # OpenVINO, where the device is a CPU
TORCH = {"engine": "torch", "sharing": True}
GEMMA: Contestants = {
    "lagotto bf16": (None, LAGOTTO, CPU | {"precision": "bf16"}),
    "lagotto f32": (None, LAGOTTO, CPU | {"precision": "f32"}),
    "lagotto torch bf16": (None, LAGOTTO, TORCH | {"precision": "bf16"}),
    "lagotto torch f32": (None, LAGOTTO, TORCH | {"precision": "f32"}),
    "FlagEmbedding f32, defaults": ("flagembedding", FLAG_EMBEDDING, {"precision": "f32", "batch": 128}),
    "FlagEmbedding f32, batches of 8": ("flagembedding", FLAG_EMBEDDING, {"precision": "f32", "batch": 8}),
    "FlagEmbedding bf16, batches of 8": ("flagembedding", FLAG_EMBEDDING, {"precision": "bf16", "batch": 8}),
}
QWEN: Contestants = {
    "lagotto bf16": (None, LAGOTTO, CPU | {"precision": "bf16"}),
    "lagotto f32": (None, LAGOTTO, CPU | {"precision": "f32"}),
    "lagotto torch bf16": (None, LAGOTTO, TORCH | {"precision": "bf16"}),
    "lagotto torch bf16, query for each pair": (None, LAGOTTO, TORCH | {"precision": "bf16", "sharing": False}),
    "transformers bf16, batches of 8": (None, TRANSFORMERS, {"precision": "bf16", "batch": 8}),
    "transformers f32, batches of 8": (None, TRANSFORMERS, {"precision": "f32", "batch": 8}),
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


def measure(name: str, contestants: Contestants, job: dict, folder: Path, options: argparse.Namespace) -> dict:
    """One contestant: what it found, or why it was left out."""
    environment, code, settings = contestants[name]
    print(name, file=sys.stderr)
    try:
        python = options.python
        if environment:
            python = options.rivals_python or environments.ensure(environment, options.envs)
        return dict(run(python, code, job | settings, folder))  # type: ignore[call-overload]
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


def plot(out: Path, asked: list[tuple[int, list[int], int]], work: list[float], time: list[float]) -> None:
    """Share of the time over share of the work, a line a cutoff, and the diagonal where both are equal."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.5), layout="tight")
    FigureCanvasSVG(figure)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linestyle="--", label="time = work")
    for cutoff in dict.fromkeys(case[0] for case in asked):
        places = [number for number, case in enumerate(asked) if case[0] == cutoff]
        axes.plot([work[n] for n in places], [time[n] for n in places], "o-", label=f"cutoff {cutoff}")
        for n in places:
            axes.annotate(
                f"1/{asked[n][2]}", (work[n], time[n]), textcoords="offset points", xytext=(4, -10), fontsize=8
            )
    axes.set(xlabel="share of the work (tokens x layers)", ylabel="share of the time", xlim=(0, 1.05), ylim=(0, None))
    axes.legend()
    figure.savefig(out, format="svg", metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--width", choices=["mini", "small", "gemma-2b"], default="small")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--passages", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--layers", type=int, default=8, help="of the 28 that Qwen3-Reranker-0.6B has")
    parser.add_argument("--plot", type=Path, help="an SVG file for time against work")
    parser.add_argument("--model", default="starter:bge-small-en-v1.5", help="whose tokenizer is taken")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--envs", type=Path, default=environments.DEFAULT_ENVS)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="the Python that has lagotto")
    parser.add_argument("--rivals-python", type=Path, help="a Python that has FlagEmbedding, instead of environments")
    options = parser.parse_args()
    work = harness.work(options) / "llm-rerank"
    like = harness.named(options, "rerank")
    job = {
        "pairs": texts.pairs(texts.passages(), options.passages), "device": options.device, "rounds": options.rounds,
        "threads": options.threads,
    }  # fmt: skip
    about = f"one query with {options.passages} passages on {options.device}"
    model = random_decoder.make(work / f"gemma-{options.width}", options.width, like, "gemma")
    mine = job | {"model": str(model), "card": random_decoder.CARDS["gemma"]}
    found = {name: measure(name, GEMMA, mine, work, options) for name in GEMMA}
    print(f"### {model.name} (random weights), {about}\n\n{compared(found, options.passages)}\n", flush=True)
    width = "mini" if options.width == "mini" else "qwen3-0.6b"
    folder = work / f"{width}-{options.layers}"
    model = random_decoder.make(folder, width, like, "embedder", layers=options.layers)
    mine = job | {"model": str(model), "card": "Qwen/Qwen3-Reranker-0.6B"}
    found = {name: measure(name, QWEN, mine, work, options) for name in QWEN}
    print(f"### {model.name} layers (random weights), {about}\n\n{compared(found, options.passages)}", flush=True)
    model = random_decoder.make(work / f"lightweight-{options.width}", options.width, like, "lightweight")
    asked = cases(random_decoder.WIDTHS[options.width][1])
    mine = job | {
        "model": str(model),
        "card": random_decoder.CARDS["lightweight"],
        "precision": "bf16",
        "cases": asked,
        "engine": "torch",
    }
    rows: list[dict] = run(options.python, LAYERS, mine, work)  # type: ignore[assignment]
    seconds = [statistics.median(row["times"]) for row in rows]
    print(f"\n### {model.name}, lagotto bf16: layers and compression\n")
    print("| cutoff layer | shortened after | ratio | pairs/s | share of the time | share of the work |")
    print("|---:|---:|---:|---:|---:|---:|")
    for (cutoff, layers, ratio), row, time in zip(asked, rows, seconds, strict=True):
        shares = f"{time / seconds[0]:.2f} | {row['work'] / rows[0]['work']:.2f}"
        rate = options.passages / time
        print(f"| {cutoff} | {layers[0] if ratio > 1 else ''} | {ratio} | {rate:.1f} | {shares} |")
    if options.plot:
        plot(options.plot, asked, [row["work"] / rows[0]["work"] for row in rows], [t / seconds[0] for t in seconds])


if __name__ == "__main__":
    main()
