"""The server under load, beside the library: 64 clients at once against `lagotto serve`, on the same texts.

    python benchmarks/server.py [--model starter:bge-small-en-v1.5] [--clients 64] [--count 1000]

Each client posts to /v1/embeddings, one request after the other, until the texts are used up: in batches of 8 texts,
then one text at a time. Every answer is checked against the library's vectors. The ratio is the server's texts a second
over the library's, each the median of --rounds turns; the target is 0.9. The clients share the processor with the
server. Needs httpx2 (or httpx) beside lagotto.
"""

import argparse
import asyncio
import base64
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import texts
from local_server import LocalServer

TARGET = 0.9


def http() -> Any:
    """httpx2, or httpx where that is what there is: they have the same names."""
    try:
        import httpx2
    except ImportError:
        import httpx

        return httpx
    return httpx2


async def ask(
    url: str, model: str, items: list[str], batch: int, clients: int
) -> tuple[float, np.ndarray, list[float]]:
    """Seconds for all texts, their vectors in order, and each request's own seconds."""
    waiting = iter(range(0, len(items), batch))
    vectors: dict[int, list[np.ndarray]] = {}
    waits: list[float] = []
    library = http()
    limits = library.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with library.AsyncClient(base_url=url, limits=limits, timeout=600) as client:

        async def work() -> None:
            for at in waiting:
                body = {"model": model, "input": items[at : at + batch], "encoding_format": "base64"}
                begin = time.perf_counter()
                answer = await client.post("/v1/embeddings", json=body)
                answer.raise_for_status()
                waits.append(time.perf_counter() - begin)
                rows = sorted(answer.json()["data"], key=lambda row: row["index"])
                vectors[at] = [np.frombuffer(base64.b64decode(row["embedding"]), "<f4") for row in rows]

        start = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(clients)))
        took = time.perf_counter() - start
    return took, np.stack([row for at in sorted(vectors) for row in vectors[at]]), waits


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="starter:bge-small-en-v1.5")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--texts", type=Path, help="JSON Lines file with a text field (default: see texts.py)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="the Python that serves")
    options = parser.parse_args()
    from lagotto import Embedder

    everything = texts.load(options.texts)
    items = [everything[i] for i in texts.sample(everything, options.count)]
    os.environ["LAGOTTO_EMBEDDING_CACHE"] = "false"  # the same texts come in every round
    library: list[float] = []
    served: dict[int, list[float]] = {8: [], 1: []}
    waits: dict[int, list[float]] = {8: [], 1: []}
    flags = ("--threads", str(options.threads), "--precision", options.precision)
    with (
        Embedder(options.model, precision=options.precision, threads=options.threads) as model,
        LocalServer(options.python, options.model, *flags) as server,
    ):
        expected = np.asarray(model.encode(items).dense)  # also the library's warm-up pass
        worst = 1.0
        for number in range(options.rounds + 1):
            if number:
                start = time.perf_counter()
                model.encode(items)
                library.append(time.perf_counter() - start)
            for batch in served:
                took, vectors, each = asyncio.run(ask(server.url, options.model, items, batch, options.clients))
                worst = min(worst, float((vectors * expected).sum(axis=1).min()))
                if number:  # the first turn warms up
                    served[batch].append(took)
                    waits[batch] += each
    base = len(items) / statistics.median(library)
    print("| how | texts/s | of the library | target | median wait ms | 99th wait ms |\n|---|---:|---:|---|---:|---:|")
    print(f"| library | {base:.1f} | | | | |")
    for batch, seconds in served.items():
        rate = len(items) / statistics.median(seconds)
        verdict = "met" if rate / base >= TARGET else "missed"
        middle, late = np.quantile(waits[batch], (0.5, 0.99)) * 1000
        how = f"{options.clients} clients, {batch} text{'s' * (batch > 1)} a request"
        print(f"| {how} | {rate:.1f} | {rate / base:.2f} | >= {TARGET}, {verdict} | {middle:.0f} | {late:.0f} |")
    print(f"\nLowest cosine between a served vector and the library's: {worst:.6f} ({len(items)} texts).")
    return 0 if worst > 0.999 else 1


if __name__ == "__main__":
    sys.exit(main())
