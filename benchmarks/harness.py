"""What the speed comparisons share: the rivals, their processes, the rounds and the table.

Every contestant lives in a process of its own, in its own environment, with the same number of threads. All are loaded
and warmed up first; then they take turns, one pass each a round, so that a slow minute of the
machine falls on all of them.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import environments
import numpy as np
import random_checkpoint
import texts

HERE = Path(__file__).parent
LAGOTTO, INT8 = "lagotto bf16", "lagotto int8"
REFERENCES = ("lagotto f32", "st-torch", "onnxruntime")  # agreement is measured against the first that ran
DEFAULT_MODELS = {"encode": "starter:bge-small-en-v1.5", "rerank": "starter:ms-marco-MiniLM-L-12-v2"}


@dataclass(frozen=True)
class Rival:
    """One contestant: its environment (None: the Python that has lagotto), its runner, and how much work it gets."""

    name: str
    env: str | None
    script: str
    options: dict[str, Any] = field(default_factory=dict)
    onnx: bool = False  # runs the exported ONNX file
    slow: bool = False  # one timed pass and a short warm-up; --sample applies
    special: bool = False  # takes part only where it is named


ST = "sentence_transformers_any"
RIVALS = [
    Rival(LAGOTTO, None, "lagotto_runner", {"precision": "bf16"}),
    Rival("lagotto f32", None, "lagotto_runner", {"precision": "f32"}),
    Rival("onnxruntime", "onnxruntime", "onnxruntime_plain", onnx=True),
    Rival("st-torch", "sentence-transformers", ST, {"backend": "torch"}),
    Rival("st-torch-bf16", "sentence-transformers", ST, {"backend": "torch", "dtype": "bfloat16"}),
    Rival("st-onnx", "st-onnx", ST, {"backend": "onnx"}),
    Rival("st-openvino", "st-openvino", ST, {"backend": "openvino"}),
    Rival("infinity", "infinity", "infinity"),
    Rival("lagotto torch bf16", None, "lagotto_runner", {"precision": "bf16", "engine": "torch"}, special=True),
    Rival("lagotto torch f32", None, "lagotto_runner", {"precision": "f32", "engine": "torch"}, special=True),
    Rival(INT8, None, "lagotto_runner", {"precision": "int8"}, special=True),
    Rival("ort-int8", "onnxruntime", "onnxruntime_plain", {"int8": True}, onnx=True, special=True),
    Rival("ctranslate2-int8", "ctranslate2", "ctranslate2_encoder", special=True),
    Rival("fastembed", "fastembed", "fastembed_onnx", onnx=True, slow=True),
    Rival("flagembedding", "flagembedding", "flagembedding", slow=True),
]


@dataclass
class Row:
    """What one contestant did; `seconds` are its timed passes over `items` items."""

    name: str
    version: str = ""
    items: int = 0
    load: float = 0.0
    first: float = 0.0
    seconds: list[float] = field(default_factory=list)
    peak_mb: float = 0.0
    agreement: str = ""
    skipped: str = ""
    tokens: int = 0

    @property
    def rate(self) -> float:
        """Items a second, by the median pass."""
        return self.items / statistics.median(self.seconds) if self.seconds else 0.0


class SkippedError(Exception):
    """A contestant cannot take part; the message says why."""


class Process:
    """A runner (see `rivals/common.py`) at the other end of a pipe."""

    def __init__(self, python: Path, script: str, job: dict[str, Any], folder: Path) -> None:
        self.job, self.name = job, Path(job["out"]).stem
        file, self.log = folder / f"{self.name}.json", folder / f"{self.name}.log"
        file.write_text(json.dumps(job), encoding="utf-8")
        self.process = subprocess.Popen(
            [str(python), str(HERE / "rivals" / f"{script}.py"), str(file)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log.open("w"), text=True,
            env=child_environment(job["threads"]),
        )  # fmt: skip

    def answer(self) -> dict[str, Any]:
        """The next answer. Raises SkippedError, with the last line of its log, if the runner has ended."""
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            self.process.wait()
            lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
            raise SkippedError(f"its runner ended: {lines[-1][:300] if lines else 'no message'} (see {self.log})")
        return dict(json.loads(line))

    def run(self) -> float:
        """Seconds of one pass."""
        with contextlib.suppress(BrokenPipeError):  # then it has ended, and its log tells more
            self._stdin().write("run\n")
            self._stdin().flush()
        return float(self.answer()["seconds"])

    def close(self) -> dict[str, Any]:
        """End the runner; returns what it knows of itself, after its values have been saved."""
        self._stdin().close()
        facts = self.answer()
        self.process.wait(timeout=60)
        return facts

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()

    def _stdin(self) -> Any:
        return self.process.stdin


def child_environment(threads: int) -> dict[str, str]:
    """The environment of a contestant: the same threads for every library, and nothing fetched from a network."""
    counts = dict.fromkeys(
        ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "NUMEXPR_NUM_THREADS"),
        str(threads),
    )
    quiet = {"HF_HUB_OFFLINE": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0", "DO_NOT_TRACK": "1"}
    return os.environ | counts | quiet | {"TOKENIZERS_PARALLELISM": "true", "PYTHONDONTWRITEBYTECODE": "1"}


def parser(
    description: str, widths: Iterable[str] = random_checkpoint.WIDTHS, width: str = "small"
) -> argparse.ArgumentParser:
    """The options that encode.py, rerank.py and decoder.py share."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--model", help="checkpoint folder, or a name that lagotto knows (default: its starter model)")
    made.add_argument("--width", choices=list(widths), default=width,
                      help="all but small use random weights, with --model's tokenizer, and fewer texts")  # fmt: skip
    made.add_argument("--texts", type=Path, help="JSON Lines file with a text field (default: see texts.py)")
    made.add_argument("--count", type=int, help="how many texts or passages")
    made.add_argument("--sample", type=int, default=0, help="slow rivals get this many of them, of the same length mix")
    made.add_argument("--rivals", help=f"comma-separated, of: {', '.join(r.name for r in RIVALS)} (default: all)")
    made.add_argument("--rounds", type=int, default=3, help="timed passes each (slow rivals: one)")
    made.add_argument("--threads", type=int, default=2)
    made.add_argument("--envs", type=Path, default=environments.DEFAULT_ENVS, help="folder of the rivals' environments")
    made.add_argument("--work", type=Path, help="folder for exports and random checkpoints (default: ENVS/work)")
    made.add_argument("--python", type=Path, default=Path(sys.executable), help="the Python that has lagotto")
    made.add_argument("--json", type=Path, help="also write the rows here")
    return made


def chosen(names: str | None) -> list[Rival]:
    """The rivals named, in the table's order; all when none is named."""
    if names is None:
        return [r for r in RIVALS if not r.special]
    wanted, known = names.split(","), {r.name for r in RIVALS}
    if unknown := set(wanted) - known:
        raise SystemExit(f"no rival is called {', '.join(sorted(unknown))}; there are: {', '.join(sorted(known))}")
    return [r for r in RIVALS if r.name in wanted]


def named(options: argparse.Namespace, task: str) -> Path:
    """The folder of --model, or of the task's starter model."""
    name = options.model or DEFAULT_MODELS[task]
    folder = Path(name)
    if not folder.is_dir():
        code = "import sys, lagotto; print(lagotto.resolve(sys.argv[1]))"
        done = subprocess.run([str(options.python), "-c", code, name], capture_output=True, text=True)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise SystemExit(f"{name!r} is no folder, and lagotto could not resolve it: {reason}")
        folder = Path(done.stdout.strip().splitlines()[-1])
    return folder.absolute()


def checkpoint(options: argparse.Namespace, task: str) -> Path:
    """The folder to load: the model's own for the small width, one of random weights for the others."""
    folder = named(options, task)
    if options.width == "small":
        return folder
    kind = "encoder" if task == "encode" else "reranker"
    return random_checkpoint.make(work(options) / f"random-{options.width}-{kind}", options.width, folder, kind)


def work(options: argparse.Namespace) -> Path:
    folder = options.work or options.envs / "work"
    folder.mkdir(parents=True, exist_ok=True)
    return Path(folder).absolute()


def key(model: Path) -> str:
    """A folder name for what is made from a checkpoint; it changes when the weights do."""
    stats = [(f.stat().st_size, f.stat().st_mtime_ns) for f in sorted(model.glob("*.safetensors"))]
    return f"{model.name}-{zlib.crc32(repr((str(model), stats)).encode()):08x}"


def exported(task: str, model: Path, options: argparse.Namespace) -> Path:
    """The folder of the ONNX export, made once in the sentence-transformers environment."""
    folder = work(options) / f"onnx-{key(model)}"
    if not (folder / "export.json").exists():
        python = environments.ensure("sentence-transformers", options.envs)
        command = [str(python), str(HERE / "export_onnx.py"), str(model), str(folder), "--task", task]
        done = subprocess.run(command, capture_output=True, text=True, env=child_environment(options.threads))
        if done.returncode:
            raise SkippedError(f"the export to ONNX failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return folder


def start(
    rival: Rival, task: str, model: Path, items: list[Any], options: argparse.Namespace, folder: Path, warm: int = 0
) -> Process:
    """Start one contestant; its warm-up pass takes the first `warm` items, 0 means all.

    Raises SkippedError if it cannot take part.
    """
    try:
        python = environments.ensure(rival.env, options.envs) if rival.env else options.python
        onnx = str(exported(task, model, options)) if rival.onnx else ""
    except environments.InstallError as error:
        raise SkippedError(str(error)) from None
    job = {
        "task": task, "model": str(model), "items": items, "threads": options.threads, "options": rival.options,
        "warm": warm, "out": str(folder / f"{rival.name.replace(' ', '-')}.npy"),
        "onnx": onnx, "cache": str(work(options) / f"{rival.name}-{key(model)}"),
    }  # fmt: skip
    return Process(python, rival.script, job, folder)


def compare(task: str, model: Path, items: list[Any], places: list[int], options: argparse.Namespace) -> list[Row]:
    """Load every chosen rival, then time them in turns. `places` are the items that slow rivals get."""
    rows, live, values = [], [], {}
    folder = work(options) / f"run-{task}-{options.width}"  # jobs, logs and values stay there
    folder.mkdir(exist_ok=True)
    for rival in chosen(options.rivals):
        if rival.name == INT8:
            rival = replace(rival, options=rival.options | {"calibration": options.calibration})
        share = places if rival.slow else list(range(len(items)))
        row = Row(rival.name, items=len(share))
        rows.append(row)
        print(f"loading {rival.name}", file=sys.stderr)
        try:
            mine, warm = [items[i] for i in share], 8 if rival.slow else 0
            process = start(rival, task, model, mine, options, folder, warm)
            loaded = process.answer()
        except SkippedError as error:
            row.skipped = str(error)
            print(f"  skipped: {error}", file=sys.stderr)
            continue
        row.load, row.first = loaded["load"], loaded["first"]
        live.append((rival, row, process, share))
    for number in range(options.rounds):
        for rival, row, process, _ in live:
            if row.skipped or (rival.slow and number):
                continue
            try:
                row.seconds.append(process.run())
                print(f"round {number + 1}: {rival.name} {row.items / row.seconds[-1]:.1f}/s", file=sys.stderr)
            except SkippedError as error:
                row.skipped = str(error)
    for _, row, process, share in live:
        if not row.skipped:
            facts = process.close()
            row.peak_mb, row.version, row.tokens = facts["peak_mb"], facts["version"], facts.get("tokens", 0)
            values[row.name] = (share, np.load(process.job["out"]))
    for _, row, process, _ in live:
        if row.skipped:
            process.kill()
    reference = next((name for name in REFERENCES if name in values), None)
    for row in rows:
        if reference and row.name in values:
            row.agreement = agreement(task, values[row.name], values[reference])
    return rows


def agreement(task: str, mine: tuple[list[int], np.ndarray], reference: tuple[list[int], np.ndarray]) -> str:
    """The lowest and mean cosine (vectors), or Pearson's r (scores), of a contestant's values and the reference's."""
    places, values = mine
    row_of = {place: row for row, place in enumerate(reference[0])}
    other = reference[1][[row_of[place] for place in places]]
    if task == "rerank":
        return f"r {np.corrcoef(values.ravel(), other.ravel())[0, 1]:.5f}"
    norms = np.linalg.norm(values, axis=1) * np.linalg.norm(other, axis=1)
    cosines = (values * other).sum(axis=1) / norms
    return f"cos {cosines.min():.5f} (mean {cosines.mean():.5f})"


def table(rows: list[Row], unit: str, targets: dict[str, float], total: int, base: str = LAGOTTO) -> str:
    """The rows as a Markdown table; ratios are those of the row called `base` over each other."""
    rate = next((row.rate for row in rows if row.name == base), 0.0)
    lines = [
        f"| contestant | version | {unit}/s | {base} is | target | load s | peak MB | agreement |",
        "|---|---|---:|---:|---|---:|---:|---|",
    ]
    for row in rows:
        goal = f">= {targets[row.name]:g}x" if row.name in targets else ""
        if row.skipped:
            lines.append(f"| {row.name} | | skipped | | {goal} | | | {row.skipped.replace('|', '/')} |")
            continue
        ratio = rate / row.rate if rate and row.rate else 0.0
        if goal and ratio:
            goal += ", met" if ratio >= targets[row.name] else ", missed"
        part = "" if row.items == total else f" (on {row.items} of {total})"
        lines.append(
            f"| {row.name} | {row.version} | {row.rate:.1f}{part} | {f'{ratio:.2f}x' if ratio else ''} | {goal} "
            f"| {row.load:.1f} | {row.peak_mb:.0f} | {row.agreement} |"
        )
    return "\n".join(lines)


def unrest(rows: list[Row], limit: float = 0.15) -> str:
    """A sentence for each contestant whose passes differ by more than `limit`: the machine was not quiet."""
    spreads = {row.name: max(row.seconds) / min(row.seconds) - 1 for row in rows if row.seconds}
    loud = [f"{name} {spread:.0%}" for name, spread in spreads.items() if spread > limit]
    return f"\nThe machine was not quiet; slowest pass over fastest: {', '.join(loud)}." if loud else ""


def linear_parameters(model: Path) -> int:
    """Weights of the linear layers: attention's four and the feed-forward's two (three in a decoder), in each layer."""
    config = json.loads((model / "config.json").read_text())
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    layer = 4 * hidden * hidden + 2 * hidden * inner
    if "head_dim" in config:
        heads = 2 * (config["num_attention_heads"] + config["num_key_value_heads"])
        layer = hidden * (heads * config["head_dim"] + 3 * inner)
    return int(config["num_hidden_layers"] * layer)


def share_of_peak(rows: list[Row], model: Path, options: argparse.Namespace) -> str:
    """One sentence: the GFLOP/s of lagotto's linear layers beside the best matrix product of this machine."""
    command = [str(HERE / "matmul_peak.py"), "--threads", str(options.threads)]
    pythons = [str(options.python), str(options.envs / "st-openvino" / "bin" / "python")]
    for python in pythons:
        done = subprocess.run([python, *command], capture_output=True, text=True) if Path(python).exists() else None
        if done and not done.returncode:
            break
    else:
        return "Matrix product peak: not measured (no environment with openvino)."
    peaks, parts = json.loads(done.stdout), []
    for row in rows:
        if row.name.startswith("lagotto ") and row.seconds and row.tokens:
            rate = 2 * linear_parameters(model) * row.tokens / statistics.median(row.seconds) / 1e9
            peak = peaks[row.name.split()[-1]]
            parts.append(f"{row.name} {rate:.0f} of {peak:.0f} GFLOP/s ({rate / peak:.0%})")
    return f"Linear layers, against this machine's best matrix product: {'; '.join(parts) or peaks}."


def model_note(options: argparse.Namespace, model: Path) -> str:
    """What was loaded, in words for the report's heading."""
    return f"{model.name}" + ("" if options.width == "small" else " (random weights)")


def write_json(options: argparse.Namespace, rows: list[Row], note: str) -> None:
    if options.json:
        found = {"note": note, "rows": [vars(row) | {"rate": row.rate} for row in rows]}
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


def passages(options: argparse.Namespace, count: int) -> list[str]:
    """The texts of a run: `count` of them (or --count), of the same length mix as the whole."""
    everything = texts.load(options.texts)
    return [everything[i] for i in texts.sample(everything, options.count or count)]
