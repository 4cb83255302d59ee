"""lagotto's FlagModel and FlagReranker beside the real ones of FlagEmbedding, on the same folders, in f32.

    python benchmarks/flag_parity.py --model CHECKPOINT --reranker CHECKPOINT [--count 64]

Prints, for each call, both results' type, shape and dtype and the largest absolute difference. Ends with status 1 if a
type or shape differs, or a difference passes --tolerance.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import environments
import harness
import numpy as np
import texts

MODULES = {"FlagEmbedding": "flagembedding", "lagotto": None}  # module -> environment
INSTRUCTION = "Represent this sentence for searching relevant passages: "
QUERIES = [texts.QUERY, "what does the with statement do", "why is a string not equal to its bytes"]


def call(module: str, python: Path, job: Path, out: Path, threads: int) -> dict[str, tuple[str, np.ndarray]]:
    """The results of every call, by name: the result's type, and its values."""
    command = [str(python), str(harness.HERE / "rivals" / "flag_calls.py"), module, str(job), str(out)]
    subprocess.run(command, check=True, env=harness.child_environment(threads), stdout=subprocess.DEVNULL)
    with np.load(out) as arrays:
        types = json.loads(str(arrays["types"]))
        return {name: (types[name], arrays[name]) for name in types}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--reranker", type=Path, required=True)
    parser.add_argument("--count", type=int, default=64, help="texts to encode")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--envs", type=Path, default=environments.DEFAULT_ENVS)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="the Python that has lagotto")
    options = parser.parse_args()
    folder = harness.work(options) / "flag-parity"
    folder.mkdir(exist_ok=True)
    passages = texts.passages()
    job = {
        "model": str(options.model.absolute()),
        "reranker": str(options.reranker.absolute()),
        "texts": [passages[i] for i in texts.sample(passages, options.count)],
        "queries": QUERIES,
        "instruction": INSTRUCTION,
    }
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    found = {}
    for module, env in MODULES.items():
        python = environments.ensure(env, options.envs) if env else options.python
        found[module] = call(module, python, folder / "job.json", folder / f"{module}.npz", options.threads)
    print("| call | FlagEmbedding | lagotto | largest difference |\n|---|---|---|---:|")
    good = True
    for name, (kind, theirs) in found["FlagEmbedding"].items():
        mine_kind, mine = found["lagotto"][name]
        shown = f"| {name} | {kind} {theirs.shape} {theirs.dtype} | {mine_kind} {mine.shape} {mine.dtype} |"
        if (kind, theirs.shape) != (mine_kind, mine.shape):
            good = False
            print(f"{shown} differs in type or shape |")
            continue
        gap = float(np.abs(theirs - mine).max())
        good &= gap <= options.tolerance
        print(f"{shown} {gap:.2e} |")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
