"""Run `lagotto serve` for a long time under everything clients do, and tell whether it stays as it was.

    python benchmarks/soak.py [--minutes 30] [--embedder starter:bge-small-en-v1.5] [--rate 10] [--json FILE]
    python benchmarks/soak.py --minutes 1 --every 5     # to try it out; too short to tell anything of memory

Two threads send requests of every dialect and of lengths from a word to thousands, bad ones, and behave badly:
they go away in the midst of headers, bodies and computing, send and read slowly (`soak_load.py`). Every minute a
SIGHUP makes the server read settings in which a model has come or gone. The models are the embedder and three tiny ones
that are made on the spot, so that there are many requests rather than long ones.

After every minute the load rests for two seconds, and memory, file descriptors and threads are read, with what was
answered and how fast. The verdict looks at the last third: the slope of the memory (Theil-Sen), the growth of
descriptors and threads; and at every answer that was not allowed. Before that, memory grows to its bound: caches of
vectors fill, and a kernel is compiled for each new length of texts until as many are kept as may be. Linux only.
"""

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from local_server import ServerProcess, free_port
from soak_load import Client, Outcomes

THREADS = 2
DRIFT = 0.02
"""Share of its memory that a server may gain in the last third of the time."""
SPARE = 3
"""Descriptors and threads that may come and go: sockets that close a moment later, pools that start their threads."""
MODEL = '\n[[model]]\nname = "{folder}"\nalias = "{name}"\n'


def write_models(folder: Path) -> dict[str, Path]:
    """Tiny checkpoints: an embedder, one with all outputs, a reranker."""
    from support.checkpoints import XLMR, write_embedder, write_m3, write_modules, write_reranker

    every = write_m3(folder / "m3")
    write_modules(every, XLMR)
    return {"bert": write_embedder(folder / "bert"), "m3": every, "ranker": write_reranker(folder / "ranker")}


def write_settings(file: Path, models: dict[str, Path], guest: bool) -> None:
    """Settings with small caches, so that they are soon full; with or without the model that comes and goes."""
    limits = f'cache_memory_mb = 4\ncache_path = "{file.parent / "vectors.sqlite"}"\ncache_disk_mb = 8\n'
    tables = dict(models) | ({"guest": models["bert"]} if guest else {})
    text = limits + "".join(MODEL.format(name=name, folder=folder) for name, folder in tables.items())
    file.with_suffix(".new").write_text(text)
    file.with_suffix(".new").replace(file)


def held(pid: int) -> dict[str, float]:
    """Memory in MB, descriptors and threads of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = {name: value.split()[0] for name, _, value in (line.partition(":") for line in lines) if value.split()}
    return {
        "rss_mb": int(status["VmRSS"]) / 1024,
        "anonymous_mb": int(status["RssAnon"]) / 1024,
        "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        "threads": int(status["Threads"]),
    }


def errors_of(url: str) -> dict[str, float]:
    """The server's own count of errors by reason, and of loads and unloads."""
    wanted = ("lagotto_errors_total", "lagotto_model_loads_total", "lagotto_model_unloads_total")
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if line.startswith(wanted))
    return {name: float(value) for name, value in pairs if float(value)}


def sample(server: ServerProcess, clients: list[Client], outcomes: Outcomes, minute: float) -> dict[str, Any]:
    """Everything at this moment, with the load at rest."""
    for client in clients:
        client.rest.set()
    for client in clients:
        client.rests.wait(120)
    time.sleep(2)
    found = held(server.process.pid)
    statuses, times = outcomes.taken()
    for client in clients:
        client.rest.clear()
    spread = {"p50_ms": 0.0, "p99_ms": 0.0}
    if times:
        spread = {"p50_ms": statistics.median(times), "p99_ms": times[int(len(times) * 0.99)]}
    return {"minute": minute, **found, **spread, "answers": statuses, "errors": errors_of(server.url)}


def slope(points: list[tuple[float, float]]) -> float:
    """Theil and Sen's slope: the median over all pairs of points, which a single step does not move."""
    pairs = [(y2 - y1) / (x2 - x1) for i, (x1, y1) in enumerate(points) for x2, y2 in points[i + 1 :]]
    return statistics.median(pairs) if pairs else 0.0


def verdict(samples: list[dict[str, Any]], outcomes: Outcomes) -> list[str]:
    """What is wrong; nothing where all is well."""
    rest = samples[2 * len(samples) // 3 :]
    wrong = [f"an answer that was not allowed: {answer}" for answer in outcomes.unexpected]
    if len(rest) < 3:
        return [*wrong, "too short to tell anything of memory"]
    length, usual = rest[-1]["minute"] - rest[0]["minute"], statistics.median(s["rss_mb"] for s in rest)
    drift = slope([(s["minute"], s["rss_mb"]) for s in rest]) * length
    print(f"memory in the last third: {usual:.0f} MB, {drift:+.1f} MB in {length:.0f} minutes ({drift / usual:+.2%})")
    if drift > DRIFT * usual:
        wrong.append(f"memory grows: {drift:.1f} MB in {length:.0f} minutes, {DRIFT:.0%} of {usual:.0f} MB are allowed")
    for what in ("descriptors", "threads"):
        before, after = rest[0][what], rest[-1][what]
        print(f"{what}: {before} at first, {after} at the end, {max(s[what] for s in rest)} at most")
        if after > before + SPARE:
            wrong.append(f"{what} grow from {before} to {after}")
    return wrong


def run(given: argparse.Namespace, folder: Path) -> tuple[list[dict[str, Any]], Outcomes]:
    """The samples of the whole time."""
    models = write_models(folder)
    settings, port, outcomes, samples = folder / "lagotto.toml", free_port(), Outcomes(), []
    write_settings(settings, models, guest=True)
    command = [sys.executable, "-m", "lagotto.cli.main", "serve", "--config", str(settings), "--threads", "1"]
    command += ["--offline", "--port", str(port), "--model", f"main={given.embedder}", "--log-level", "warning"]
    with ServerProcess(command, port) as server:
        clients = [Client(port, "main", given.rate, seed, outcomes) for seed in range(THREADS)]
        for client in clients:
            client.thread.start()
        begin, number = time.monotonic(), 0
        while time.monotonic() - begin < given.minutes * 60:
            number += 1
            time.sleep(max(0.0, begin + number * given.every - time.monotonic()))
            samples.append(sample(server, clients, outcomes, (time.monotonic() - begin) / 60))
            print(json.dumps(samples[-1]), flush=True)
            write_settings(settings, models, guest=number % 2 == 0)
            server.process.send_signal(signal.SIGHUP)
        for client in clients:
            client.stop.set()
        for client in clients:
            client.thread.join(120)
        warnings = Path(server.log.name).read_text()
    print(f"the server's log, warnings and worse: {len(warnings.splitlines())} lines\n{warnings[-3000:]}")
    return samples, outcomes


def main() -> None:
    """Run, tell, and end with 1 where the server did not stay as it was."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--embedder", default="starter:bge-small-en-v1.5", help="the model of real size")
    parser.add_argument(
        "--rate", type=float, default=10, help="requests a second of each thread, when it does not wait"
    )
    parser.add_argument("--every", type=float, default=60, help="seconds between two samples")
    parser.add_argument("--json", type=Path, help="file for the samples")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        samples, outcomes = run(given, Path(folder))
    wrong = verdict(samples, outcomes)
    answered = sum(sum(s["answers"].values()) for s in samples)
    if given.json:
        given.json.write_text(json.dumps({"samples": samples, "wrong": wrong}, indent=1))
    print("\n".join(wrong) or f"all is well after {answered} answers")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
