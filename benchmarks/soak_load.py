"""What soak.py sends: good requests of every dialect and length, bad ones, and clients that behave badly."""

import http.client
import json
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

PATIENCE = 60
"""Seconds after which a request that was not answered counts as hung."""
WORDS = ["dog", "cat", "panda", "river", "mountain", "of", "and", "the", "city", "water", "letter", "熊", "猫", "水"]
JSON = {"content-type": "application/json"}
Made = tuple[str, Any]


class Outcomes:
    """What became of the requests since the last look. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.statuses: Counter[str] = Counter()
        self.milliseconds: list[float] = []
        self.unexpected: list[str] = []
        """Answers that should not have come, over the whole time; the first hundred of them."""

    def add(self, kind: str, status: int, allowed: set[int], milliseconds: float | None, about: str) -> None:
        """One answer."""
        with self._lock:
            self.statuses[f"{kind} {status}"] += 1
            if milliseconds is not None:
                self.milliseconds.append(milliseconds)
            if status not in allowed and len(self.unexpected) < 100:
                self.unexpected.append(f"{kind} {status}: {about[:300]}")

    def taken(self) -> tuple[dict[str, int], list[float]]:
        """Statuses and milliseconds since the last look."""
        with self._lock:
            found = dict(sorted(self.statuses.items())), sorted(self.milliseconds)
            self.statuses, self.milliseconds = Counter(), []
        return found


def texts(draw: random.Random, most: int) -> list[str]:
    """So many texts at most, most of them short, some far longer than a model reads; some come again and again."""
    return [text(draw) for _ in range(draw.randint(1, most))]


def text(draw: random.Random) -> str:
    """A text of 1 to 2,000 words."""
    if draw.random() < 0.2:
        return f"question {draw.randint(0, 50)}"
    length = min(2000, max(1, int(draw.lognormvariate(2.5, 1.2))))
    return " ".join(draw.choices(WORDS, k=length))


def good(draw: random.Random, embedder: str) -> Made:
    """A request that is answered with 200, in any of the dialects."""
    model, some = draw.choice([embedder, embedder, "bert", "m3"]), texts(draw, 8)
    query, outputs = text(draw), draw.sample(["dense", "sparse", "multivector"], draw.randint(1, 3))
    kinds = draw.sample(["float", "int8", "ubinary"], 2)
    pairs = [[query, other] for other in some]
    return draw.choice(
        [
            ("/v1/embeddings", {"model": model, "input": some}),
            ("/v1/embeddings", {"model": model, "input": some, "encoding_format": "base64"}),
            ("/v1/embeddings", {"model": model, "input": some, "task": "retrieval.query"}),
            ("/v1/embeddings", {"model": model, "input": some, "input_type": "document"}),
            ("/v2/embed", {"model": model, "texts": some, "input_type": "search_query", "embedding_types": kinds}),
            ("/v1/encode", {"model": "m3", "input": some, "outputs": outputs}),
            ("/v1/encode", {"model": "m3", "input": some, "outputs": outputs, "format": "ndjson"}),
            ("/v1/encode", {"model": "m3", "input": some, "outputs": ["dense"], "format": "npy"}),
            ("/v1/encode", {"model": model, "input": some, "truncation": {"windows": {"overlap": 4}}}),
            ("/embed", {"inputs": some, "truncate": True}),
            ("/embeddings", {"model": model, "input": some}),
            ("/pooling", {"model": model, "input": some, "task": "token_embed"}),
            ("/v1/rerank", {"query": query, "documents": some, "return_documents": True}),
            ("/v2/rerank", {"model": "ranker", "query": query, "documents": some, "top_n": 2}),
            ("/rerank", {"query": query, "texts": some, "truncate": True}),
            ("/score", {"model": "ranker", "text_1": query, "text_2": some}),
            ("/predict", {"inputs": pairs, "truncate": True}),
            ("/tokenize", {"inputs": some}),
        ]
    )


def bad(draw: random.Random, embedder: str) -> Made:
    """A request that is refused."""
    return draw.choice(
        [
            ("/v1/embeddings", {"model": embedder, "input": []}),
            ("/v1/embeddings", {"model": f"no-such-model-{draw.random()}", "input": "a"}),
            ("/v1/embeddings", {"model": embedder, "input": "a", "surprise": draw.random()}),
            ("/v1/embeddings", {"model": embedder, "input": "\ud800"}),
            ("/v1/embeddings", {"model": embedder, "input": "a", "dimensions": 10**9}),
            ("/v1/embeddings", b'{"model": ' + b"[" * 20_000),
            ("/v1/embeddings", bytes(draw.getrandbits(8) for _ in range(200))),
            ("/v1/encode", {"model": "ranker", "input": "a"}),
            ("/v1/rerank", {"query": "", "documents": ["a"]}),
            ("/embed_sparse", {"inputs": 5}),
            (f"/nowhere/{draw.random()}", {}),
        ]
    )


class Client:
    """One thread of load; it rests while `rest` is set, so that what the server holds then is its own."""

    def __init__(self, port: int, embedder: str, rate: float, seed: int, outcomes: Outcomes) -> None:
        self._port, self._embedder, self._rate, self._outcomes = port, embedder, rate, outcomes
        self._draw = random.Random(seed)
        self._connection: http.client.HTTPConnection | None = None
        self.rest, self.rests, self.stop = threading.Event(), threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        doings: list[tuple[int, Callable[[], None]]] = [
            (80, self._ask), (8, self._ask_badly), (5, self._leave), (2, self._leave_headers),
            (2, self._send_slowly), (2, self._read_slowly), (1, self._come_and_go),
        ]  # fmt: skip
        weights = [weight for weight, _ in doings]
        while not self.stop.is_set():
            if self.rest.is_set():
                self._close()
                self.rests.set()
                time.sleep(0.02)
                continue
            self.rests.clear()
            doing = self._draw.choices(doings, weights)[0][1]
            try:
                doing()
            except Exception as error:  # a fault of the server, or of a client that behaves badly: it is told
                self._close()
                self._outcomes.add("connection", 0, set(), None, f"{doing.__name__}: {type(error).__name__} {error}")
            time.sleep(self._draw.expovariate(self._rate))
        self._close()

    def _ask(self) -> None:
        self._post("good", *good(self._draw, self._embedder), {200, 429})

    def _ask_badly(self) -> None:
        self._post("bad", *bad(self._draw, self._embedder), {400, 404, 413, 422})

    def _come_and_go(self) -> None:
        """Ask for the model that reloads withdraw and offer again."""
        self._post("withdrawn", "/v1/embeddings", {"model": "guest", "input": text(self._draw)}, {200, 404, 429})

    def _leave(self) -> None:
        """Ask for much and go away before it is answered."""
        much = {"model": self._embedder, "input": texts(self._draw, 40)}
        with self._opened() as connection:
            connection.sendall(self._raw("/v1/embeddings", json.dumps(much).encode()))
            time.sleep(self._draw.random() * 0.05)

    def _leave_headers(self) -> None:
        """Begin a request, or a body, and go away."""
        whole = self._raw("/v1/embeddings", b'{"model": "m3", "input": "a"}')
        with self._opened() as connection:
            connection.sendall(whole[: self._draw.randint(1, len(whole) - 1)])
            time.sleep(0.05)

    def _send_slowly(self) -> None:
        whole = self._raw("/v1/embeddings", json.dumps({"model": "bert", "input": text(self._draw)}).encode())
        with self._opened() as connection:
            step = max(1, len(whole) // 10)
            for start in range(0, len(whole), step):
                connection.sendall(whole[start : start + step])
                time.sleep(0.02)
            self._outcomes.add("slow", int(connection.recv(65536)[9:12]), {200}, None, "")

    def _read_slowly(self) -> None:
        body = json.dumps({"model": "m3", "input": texts(self._draw, 60), "outputs": ["multivector"]}).encode()
        with self._opened() as connection:
            connection.sendall(self._raw("/v1/encode", body, "connection: close"))
            first = connection.recv(1024)
            for _ in range(10):
                time.sleep(0.02)
                connection.recv(512)  # nothing where the answer was short
            self._outcomes.add("slow", int(first[9:12]), {200, 429}, None, "")

    def _post(self, kind: str, path: str, body: Any, allowed: set[int]) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        if self._connection is None or self._draw.random() < 0.05:
            self._close()
            self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        start = time.perf_counter()
        self._connection.request("POST", path, content, JSON)
        answer = self._connection.getresponse()
        found = answer.read()
        taken = (time.perf_counter() - start) * 1000 if kind == "good" else None
        self._outcomes.add(kind, answer.status, allowed, taken, f"{path} {found[:200]!r}")
        if answer.will_close:
            self._close()

    def _raw(self, path: str, body: bytes, more: str = "connection: keep-alive") -> bytes:
        head = f"POST {path} HTTP/1.1\r\nhost: here\r\n{more}\r\ncontent-type: application/json\r\n"
        head += f"content-length: {len(body)}"
        return f"{head}\r\n\r\n".encode() + body

    def _opened(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
