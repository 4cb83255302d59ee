"""200,000 passages: memory of `lagotto.evaluate` above the model, and the time of its search beside the rival's.

    python benchmarks/large_corpus.py [--passages 200000] [--queries 1000] [--model NAME]

The corpus is made from texts.py: sentences of passages, repeated with words dropped and exchanged, with one relevant
document a query. The rival is sentence_transformers.util.semantic_search on the very same vectors, in its own process.
"""

import argparse
import json
import random
import subprocess
import sys
from pathlib import Path

import environments
import harness
import texts

LAGOTTO = """
import json, sys, time
from pathlib import Path
import numpy as np
from lagotto import evaluate
from lagotto.core.paths import cache_dir
from lagotto.evaluation.datasets.retrieval import read_retrieval
from lagotto.evaluation.instructions import Wording
from lagotto.evaluation.store import VectorStore
from lagotto.models.embedder import Embedder
from lagotto.models.loading import Options
folder, model, threads, out = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
started = time.perf_counter()
report = evaluate(folder, model=model, measures=["ndcg@10", "recall@100"], top_k=100, progress=True,
                  options=Options(threads=threads))
seconds = time.perf_counter() - started
result = report.results[0]
cost = result.cost
data = read_retrieval(folder)
with Embedder(model, threads=threads) as embedder:
    store = VectorStore(cache_dir() / "vectors")
    documents = store.embed(embedder, data.corpus.texts(), Wording("document"))
    queries = store.embed(embedder, data.queries.values(), Wording("query"))
    np.save(out / "documents.npy", documents.values())
    np.save(out / "queries.npy", queries.values())
print(json.dumps({"seconds": seconds, "above": cost.memory_peak - cost.memory_loaded, "loaded": cost.memory_loaded,
    "peak": cost.memory_peak, "stages": {s.name: [s.seconds, s.items, s.cached] for s in cost.stages},
    "metrics": {n: v.value for n, v in result.metrics.items()}}))
"""
SEARCH = """
import json, sys, time
from pathlib import Path
import numpy as np
from lagotto.evaluation.cost import MemoryMeter, resident_bytes
from lagotto.search.exact import top_k
out = Path(sys.argv[1])
queries, documents = np.load(out / "queries.npy"), np.load(out / "documents.npy", mmap_mode="r")
def blocks():
    for start in range(0, len(documents), 4096):
        yield start, np.array(documents[start : start + 4096])
times = []
for _ in range(3):
    started = time.perf_counter()
    scores, places = top_k(queries, blocks(), 100)
    times.append(time.perf_counter() - started)
np.save(out / "places.npy", places)
print(json.dumps(sorted(times)))
"""
RIVAL = """
import json, sys, time
from pathlib import Path
import numpy as np, torch
from sentence_transformers.util import semantic_search
out, threads = Path(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(threads)
queries, documents = torch.from_numpy(np.load(out / "queries.npy")), torch.from_numpy(np.load(out / "documents.npy"))
times = []
for _ in range(3):
    started = time.perf_counter()
    hits = semantic_search(queries, documents, top_k=100)
    times.append(time.perf_counter() - started)
places = np.load(out / "places.npy")
same = np.mean([hits[i][0]["corpus_id"] == places[i, 0] for i in range(len(hits))])
overlap = np.mean([len({h["corpus_id"] for h in hits[i]} & set(places[i].tolist())) / 100 for i in range(len(hits))])
print(json.dumps({"times": sorted(times), "same_first": same, "same_100": overlap}))
"""


def make(folder: Path, passages: int, queries: int) -> Path:
    """The data set as a folder in BEIR's layout; made once."""
    target = folder / f"corpus-{passages}-{queries}"
    if (target / "qrels" / "test.tsv").exists():
        return target
    rng = random.Random(0)
    words = [text.split()[:24] for text in texts.passages(1000)]
    (target / "qrels").mkdir(parents=True, exist_ok=True)
    asked = rng.sample(range(passages), queries)
    wanted = set(asked)
    kept: dict[int, str] = {}
    with (target / "corpus.jsonl").open("w", encoding="utf-8") as file:
        for number in range(passages):
            base, other = rng.choice(words), rng.choice(words)
            mixed = [rng.choice(other) if rng.random() < 0.3 else word for word in base if rng.random() > 0.1]
            text = " ".join(mixed) or "empty"
            file.write(json.dumps({"_id": str(number), "text": text}) + "\n")
            if number in wanted:
                kept[number] = text
    with (target / "queries.jsonl").open("w", encoding="utf-8") as file:
        for number in asked:
            parts = [word for word in kept[number].split() if rng.random() > 0.4] or kept[number].split()
            file.write(json.dumps({"_id": f"q{number}", "text": " ".join(parts)}) + "\n")
    lines = [f"q{number}\t{number}\t1\n" for number in asked]
    (target / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines), encoding="utf-8")
    return target


def child(python: Path, code: str, threads: int, *arguments: str) -> str:
    """The last line that a child process prints."""
    command = [str(python), "-c", code, *arguments]
    environment = harness.child_environment(threads)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return done.stdout.strip().splitlines()[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--passages", type=int, default=200_000)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--model", default=harness.DEFAULT_MODELS["encode"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--envs", type=Path, default=environments.DEFAULT_ENVS)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="the Python that has lagotto")
    options = parser.parse_args()
    work = harness.work(options) / "large-corpus"
    folder = make(work, options.passages, options.queries)
    threads = options.threads
    found = json.loads(child(options.python, LAGOTTO, threads, str(folder), options.model, str(threads), str(work)))
    print(f"{options.passages} passages, {options.queries} queries, {options.model}: {found['metrics']}")
    for name, (seconds, items, cached) in found["stages"].items():
        print(f"  {name}: {seconds:.1f} s, {items / seconds:.1f} a second{' (cached)' if cached else ''}")
    print(f"  the whole call: {found['seconds']:.1f} s")
    print(
        f"  memory: {found['loaded'] / 1e6:.0f} MB with the model open, {found['above'] / 1e6:.0f} MB above it at most"
    )
    ours = json.loads(child(options.python, SEARCH, threads, str(work)))
    rival = json.loads(child(environments.ensure("mteb", options.envs), RIVAL, threads, str(work), str(threads)))
    print(f"search on the same vectors, top 100, three passes: lagotto {ours[1]:.2f} s "
          f"({ours[0]:.2f} to {ours[2]:.2f}), semantic_search {rival['times'][1]:.2f} s "
          f"({rival['times'][0]:.2f} to {rival['times'][2]:.2f}), ratio {rival['times'][1] / ours[1]:.2f}")  # fmt: skip
    print(f"  same first hit: {rival['same_first']:.4f}, shared of the first 100: {rival['same_100']:.4f}")


if __name__ == "__main__":
    main()
