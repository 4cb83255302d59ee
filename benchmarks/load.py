"""A load generator in a process of its own: one job from a file, figures to standard output. Used by serve.py.

Two kinds of load. *Closed*: so many clients, each asks again as soon as it is answered; what they get done a second is
the server's capacity. *Open*: requests come at random moments (a Poisson process) at a given rate, whether or not the
earlier ones were answered, as they come from people; each is timed from the moment at which it was due, so that a
server that falls behind does not make its own load smaller. With a deadline a client gives up then and closes its
connection; with keep-alive otherwise, over bare sockets, so that the client's own work stays small.
"""

import asyncio
import json
import random
import sys
import time
from pathlib import Path
from typing import Any


class Client:
    """HTTP/1.1 over sockets that are kept open and used again."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def post(self, request: bytes) -> int:
        """The status of the answer, which is read whole. A connection that fails, or is given up, is closed."""
        connection = self.idle.pop() if self.idle else await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = connection
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.lower().split(b"\r\n")
            length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
            await reader.readexactly(length)
        except BaseException:
            writer.close()
            raise
        if b"connection: close" in lines:
            writer.close()
        else:
            self.idle.append(connection)
        return int(head[9:12])


def request(port: int, item: dict[str, Any], headers: dict[str, str]) -> bytes:
    """A request as it goes over the wire."""
    body = json.dumps(item["body"]).encode()
    fields = {"host": f"127.0.0.1:{port}", "content-type": "application/json", "content-length": str(len(body))}
    fields |= headers | item.get("headers", {})
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {item['path']} HTTP/1.1\r\n{head}\r\n".encode() + body


async def closed(client: Client, requests: list[bytes], clients: int, seconds: float) -> dict[str, float]:
    """Requests answered a second by so many clients; the first fifth of the time warms up."""
    begin = time.perf_counter()
    warm, end, done = begin + seconds / 5, begin + seconds, 0

    async def work(first: int) -> None:
        nonlocal done
        number = first
        while time.perf_counter() < end:
            status = await client.post(requests[number % len(requests)])
            done += status == 200 and warm < time.perf_counter() <= end
            number += clients

    await asyncio.gather(*(work(first) for first in range(clients)))
    return {"rate": done / (end - warm)}


async def opened(client: Client, requests: list[tuple[str, bytes]], job: dict[str, Any]) -> dict[str, Any]:
    """What became of requests that came at random: [kind, status, seconds since due]; status -1: no answer in time."""
    draw, at, due = random.Random(job["seed"]), 0.0, []
    while at < job["seconds"]:
        due.append(at)
        at += draw.expovariate(job["rate"])
    begin = time.perf_counter()
    results: list[tuple[str, int, float]] = []

    async def one(number: int, moment: float) -> None:
        kind, content = requests[number % len(requests)]
        try:
            left = begin + moment + job["patience"] - time.perf_counter()
            status = await asyncio.wait_for(client.post(content), max(0.001, left))
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            status = -1
        results.append((kind, status, time.perf_counter() - begin - moment))

    tasks = []
    for number, moment in enumerate(due):
        pause = begin + moment - time.perf_counter()
        await asyncio.sleep(max(0.0, pause))
        tasks.append(asyncio.create_task(one(number, moment)))
    await asyncio.gather(*tasks)
    return {"results": results, "offered": len(due) / job["seconds"]}


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    client = Client(job["port"])
    requests = [(item["kind"], request(job["port"], item, job["headers"])) for item in job["items"]]
    if job["clients"]:
        found: Any = asyncio.run(closed(client, [content for _, content in requests], job["clients"], job["seconds"]))
    else:
        found = asyncio.run(opened(client, requests, job))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
