"""Retrieval quality: `lagotto.evaluate` in f32 and bf16, beside sentence-transformers measured by mteb, same weights.

    python benchmarks/quality.py DATA [DATA ...] --model CHECKPOINT [--reranker CHECKPOINT]

DATA is a folder in BEIR's layout (corpus.jsonl, queries.jsonl, qrels/test.tsv) or a TSV of sentence pairs with a header
(bitext). Each side loads, prompts, searches and measures by itself, so that a difference anywhere would show; the last
column is the largest difference of lagotto in f32 from the rival.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import environments
import harness

Found = dict[str, dict[str, dict[str, float]]]  # system or stage -> data set -> measure -> value
HERE = Path(__file__).parent


def run(python: Path, script: str, job: dict[str, Any], folder: Path) -> Found:
    """What one contestant found; its log goes to standard error."""
    file, out = folder / f"{script}.json", folder / f"{script}-found.json"
    out.unlink(missing_ok=True)
    file.write_text(json.dumps(job | {"out": str(out)}), encoding="utf-8")
    print(f"{script} {job.get('precision', '')}", file=sys.stderr)
    command = [str(python), str(HERE / "rivals" / f"{script}.py"), str(file)]
    subprocess.run(command, check=True, env=harness.child_environment(job["threads"]), stdout=sys.stderr)
    return dict(json.loads(out.read_text(encoding="utf-8")))


def stages(found: Found) -> Found:
    """Lagotto's systems by what the rival calls them: the embedder, the embedder reranked, BM25 and BM25 reranked."""
    names = {False: {False: "embed", True: "embed + rerank"}, True: {False: "BM25", True: "BM25 + rerank"}}
    return {names[system.startswith("BM25")]["→" in system]: values for system, values in found.items()}


def table(exact: Found, fast: Found, rival: Found) -> list[str]:
    """A line for each stage, data set and measure."""
    lines = []
    for stage, sets in exact.items():
        for data, measures in sets.items():
            theirs = rival.get(stage, {}).get(data, {})
            for measure, value in measures.items():
                if rival.get(stage) and measure not in theirs:
                    continue  # a measure that only one side has says nothing here
                other = theirs.get(measure)
                shown = "" if other is None else f"{other:.4f}"
                gap = "" if other is None else f"{value - other:+.4f}"
                quick = fast[stage][data][measure]
                lines.append(f"| {data} | {stage} | {measure} | {value:.4f} | {quick:.4f} | {shown} | {gap} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", nargs="+", type=Path, metavar="DATA")
    parser.add_argument("--model", type=Path, required=True, help="embedder's checkpoint folder")
    parser.add_argument("--reranker", type=Path, help="reranker's checkpoint folder")
    parser.add_argument("--depth", type=int, default=20, help="hits of each query that are reranked")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--envs", type=Path, default=environments.DEFAULT_ENVS)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="the Python that has lagotto")
    options = parser.parse_args()
    job = {
        "data": [str(path.resolve()) for path in options.data],
        "model": str(options.model.resolve()),
        "reranker": str(options.reranker.resolve()) if options.reranker else "",
        "depth": options.depth,
        "threads": options.threads,
    }
    folder = harness.work(options) / "quality"
    folder.mkdir(exist_ok=True)
    exact = stages(run(options.python, "lagotto_quality", job | {"precision": "f32"}, folder))
    fast = stages(run(options.python, "lagotto_quality", job | {"precision": "bf16"}, folder))
    rival = run(environments.ensure("mteb", options.envs), "mteb_quality", job, folder)
    print("| data | stage | measure | lagotto f32 | lagotto bf16 | sentence-transformers + mteb | difference |")
    print("|---|---|---|---:|---:|---:|---:|")
    for line in table(exact, fast, rival):
        print(line)


if __name__ == "__main__":
    main()
