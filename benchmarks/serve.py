"""Servers under load: latency against the load that is offered, and what they still get done when it is too much.

    python benchmarks/serve.py [--contestants lagotto,infinity,...] [--scenarios short,long,mixed,rerank] [--seconds 10]
    python benchmarks/serve.py --quick          # a minute: lagotto alone, short queries, few points

For each contestant and scenario:

1. Capacity: requests answered a second with --clients of them waiting at all times.
2. Latency: requests at random moments (open loop) at --loads times that capacity; percentiles from the moment each
   request was due.
3. Goodput: 1, 2 and 3 times the capacity, with a deadline of --deadline seconds at which clients give up. What counts
   is what was answered in time; lagotto is told the deadline in its header and may refuse (429).

Every contestant has a server process and threads of its own, and they run one after another on the same weights;
lagotto's cache of vectors is off. The client is a process of its own (load.py) on the same processor, so its work
counts against all of them alike. Figures
are printed; nothing here passes or fails.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import environments
import harness
import numpy as np
import texts
from local_server import LocalServer, ServerProcess, free_port

HERE = Path(__file__).parent
CONTESTANTS = {  # name: its environment (None: the Python that has lagotto)
    "lagotto": None,
    "infinity": "infinity",
    "sentence-transformers": "sentence-transformers",
    "flagembedding": "flagembedding",
}
OVERLOADS = (1.0, 2.0, 3.0)
Item = dict[str, Any]


@dataclass
class Bench:
    """One contestant's server in one scenario, and how to load it."""

    port: int
    items: list[Item]
    options: argparse.Namespace
    headers: dict[str, str]

    def capacity(self) -> float:
        """Requests a second with clients waiting at all times."""
        return float(self._run(clients=self.options.clients)["rate"])

    def open(self, rate: float, patience: float, seed: int, headers: dict[str, str] | None = None) -> dict[str, Any]:
        """What became of requests at random moments."""
        return self._run(clients=0, rate=rate, patience=patience, seed=seed, headers=self.headers | (headers or {}))

    def _run(self, **job: Any) -> dict[str, Any]:
        fixed = {"port": self.port, "items": self.items, "seconds": self.options.seconds, "headers": self.headers}
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(fixed | job, file)
            file.flush()
            done = subprocess.run([sys.executable, str(HERE / "load.py"), file.name], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1])
        return dict(json.loads(done.stdout))


# What is asked.


def embedding(kind: str, given: list[str], **headers: str) -> Item:
    return {"kind": kind, "path": "/v1/embeddings", "body": {"model": "bench", "input": given}, "headers": headers}


def queries(passages: list[str], draw: random.Random) -> list[str]:
    """Four to twelve words out of a passage."""
    words = [text.split() for text in passages]
    return [" ".join(w[at : at + draw.randint(4, 12)]) for w in words for at in [draw.randrange(max(1, len(w) - 6))]]


def long_texts(passages: list[str]) -> list[str]:
    """Passages put together to about 350 words each."""
    words = " ".join(passages).split()
    return [" ".join(words[at : at + 350]) for at in range(0, len(words) - 350, 350)]


def short(passages: list[str], draw: random.Random) -> list[Item]:
    return [embedding("query", [query]) for query in queries(passages, draw)]


def long(passages: list[str], draw: random.Random) -> list[Item]:
    return [embedding("document", [text]) for text in long_texts(passages)]


def mixed(passages: list[str], draw: random.Random) -> list[Item]:
    """Queries while an index is built: seven of ten are queries, one of twenty carries 32 passages."""
    items = []
    for query in queries(passages, draw):
        chance = draw.random()
        if chance < 0.7:
            items.append(embedding("query", [query]))
        elif chance < 0.95:
            items.append(embedding("passage", [draw.choice(passages)]))
        else:
            items.append(embedding("bulk", draw.sample(passages, 32), **{"x-lagotto-priority": "bulk"}))
    return items


def rerank(passages: list[str], draw: random.Random) -> list[Item]:
    """A query with twenty passages."""
    bodies = [{"model": "bench", "query": q, "documents": draw.sample(passages, 20)} for q in queries(passages, draw)]
    return [{"kind": "ranking", "path": "/v1/rerank", "body": body} for body in bodies]


SCENARIOS: dict[str, Callable[[list[str], random.Random], list[Item]]] = {
    "short": short,
    "long": long,
    "mixed": mixed,
    "rerank": rerank,
}


# Who answers.


def start(name: str, task: str, model: Path, options: argparse.Namespace, folder: Path) -> ServerProcess:
    """A contestant's server. Raises `harness.SkippedError` where it can't take part."""
    env = CONTESTANTS[name]
    try:
        if env is None:
            flags = ("--threads", str(options.threads), "--precision", options.precision, "--log-level", "warning")
            return LocalServer(options.python, f"bench={model}", *flags)
        python = environments.ensure(env, options.envs)
        port, file = free_port(), folder / f"{name}-{task}.json"
        job = {"kind": name, "task": task, "model": str(model), "threads": options.threads, "port": port}
        file.write_text(json.dumps(job | {"folder": str(folder)}), encoding="utf-8")
        command = [str(python), str(HERE / "rivals" / "http_server.py"), str(file)]
        return ServerProcess(command, port, env=harness.child_environment(options.threads))
    except (environments.InstallError, RuntimeError, OSError) as error:
        raise harness.SkippedError(" ".join(str(error).split())[-300:]) from None


# What came of it.


def latencies(found: dict[str, Any]) -> list[str]:
    """A line for each kind of request: answered, p50, p95, p99 in milliseconds."""
    lines = []
    results = found["results"]
    for kind in dict.fromkeys(kind for kind, _, _ in results):
        good = [seconds * 1000 for k, status, seconds in results if k == kind and status == 200]
        asked = sum(1 for k, _, _ in results if k == kind)
        shown = " | ".join(f"{value:.0f}" for value in np.quantile(good, (0.5, 0.95, 0.99))) if good else "| |"
        lines.append(f"{kind} | {found['offered']:.1f} | {len(good)}/{asked} | {shown} |")
    return lines


def goodput(found: dict[str, Any], seconds: float) -> str:
    """Answered in time a second, and what became of the rest."""
    results = found["results"]
    counts = {status: sum(1 for _, s, _ in results if s == status) for status in {s for _, s, _ in results}}
    good = counts.pop(200, 0)
    late, refused, timeouts = counts.pop(-1, 0), counts.pop(429, 0), counts.pop(504, 0)
    other = ", ".join(f"{count} x {status}" for status, count in sorted(counts.items()))
    return f"{found['offered']:.1f} | {good / seconds:.1f} | {refused} | {timeouts} | {late} | {other} |"


def measure(name: str, scenario: str, bench: Bench, tables: tuple[list[str], list[str]], record: list[Any]) -> None:
    """All points of one contestant in one scenario."""
    capacity, options = bench.capacity(), bench.options
    print(f"{name}, {scenario}: {capacity:.1f} requests/s with {options.clients} clients", file=sys.stderr)
    for number, load in enumerate(options.loads):
        found = bench.open(max(0.2, load * capacity), options.patience, number)
        tables[0].extend(f"| {name} | {scenario} | {capacity:.1f} | {load:g} | {line}" for line in latencies(found))
        record.append({"contestant": name, "scenario": scenario, "capacity": capacity, "load": load, **found})
    told = {"x-lagotto-timeout-ms": str(round(options.deadline * 1000))}
    for number, load in enumerate(options.overloads):
        found = bench.open(max(0.2, load * capacity), options.deadline, 100 + number, told)
        tables[1].append(f"| {name} | {scenario} | {load:g} | {goodput(found, options.seconds)}")
        record.append({"contestant": name, "scenario": scenario, "overload": load, **found})


def report(tables: tuple[list[str], list[str]], options: argparse.Namespace) -> None:
    print(
        "| contestant | scenario | capacity req/s | load | kind | offered req/s | answered | p50 ms | p95 ms | p99 ms |"
    )
    print("|---|---|---:|---:|---|---:|---:|---:|---:|---:|", *tables[0], sep="\n")
    print(f"\nWith a deadline of {options.deadline:g} s, at multiples of each one's own capacity:\n")
    print("| contestant | scenario | load | offered req/s | in time req/s | 429 | 504 | given up | other |")
    print("|---|---|---:|---:|---:|---:|---:|---:|---|", *tables[1], sep="\n")


def numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",") if part]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", help="embedder (default: the starter model)")
    parser.add_argument("--reranker", help="reranker (default: the starter model)")
    parser.add_argument("--contestants", default=",".join(CONTESTANTS))
    parser.add_argument("--scenarios", default=",".join(SCENARIOS))
    parser.add_argument("--loads", type=numbers, default=[0.25, 0.5, 0.7, 0.85, 0.95], help="shares of the capacity")
    parser.add_argument("--overloads", type=numbers, default=list(OVERLOADS))
    parser.add_argument("--deadline", type=float, default=1.0, help="seconds, in the overload runs")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds after which a client gives up otherwise")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each point")
    parser.add_argument("--clients", type=int, default=64, help="that find the capacity")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--texts", type=Path, help="JSON Lines file with a text field (default: see texts.py)")
    parser.add_argument("--envs", type=Path, default=environments.DEFAULT_ENVS)
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="the Python that serves lagotto")
    parser.add_argument("--json", type=Path, help="also write every request's fate here")
    parser.add_argument("--quick", action="store_true", help="a minute: lagotto, short queries, few points")
    options = parser.parse_args()
    if options.quick:
        options.contestants, options.scenarios, options.loads = "lagotto", "short", [0.5, 0.85]
    for given, known in ((options.contestants, CONTESTANTS), (options.scenarios, SCENARIOS)):
        if unknown := set(given.split(",")) - set(known):
            parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return options


def main() -> int:
    options, tables, record = parse(), ([], []), []
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ["LAGOTTO_EMBEDDING_CACHE"] = "false"  # the same texts come again, and no rival keeps vectors
    passages, skipped = texts.load(options.texts), []
    with tempfile.TemporaryDirectory() as folder:
        for task, wanted in (("encode", {"short", "long", "mixed"}), ("rerank", {"rerank"})):
            scenarios = [s for s in options.scenarios.split(",") if s in wanted]
            if not scenarios:
                continue
            found = {"model": options.model if task == "encode" else options.reranker, "width": "small"}
            model = harness.checkpoint(argparse.Namespace(**(vars(options) | found)), task)
            for name in options.contestants.split(","):
                try:
                    with start(name, task, model, options, Path(folder)) as server:
                        for scenario in scenarios:
                            items = SCENARIOS[scenario](passages, random.Random(7))
                            measure(name, scenario, Bench(server.port, items, options, {}), tables, record)
                except harness.SkippedError as error:
                    skipped.append(f"{name} ({task}) was left out: {error}")
    report(tables, options)
    print("", *skipped, sep="\n")
    if options.json:
        options.json.write_text(json.dumps(record), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
