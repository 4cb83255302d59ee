"""`ChatServer`: an OpenAI-compatible endpoint on this machine whose answers are scripted, and judges who give some."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "judge-1"


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def prompt(self) -> str:
        """The first user message."""
        return next(turn["content"] for turn in self.body["messages"] if turn["role"] == "user")

    @property
    def passages(self) -> dict[str, str]:
        """Identifier -> text of the passages in it."""
        return dict(re.findall(r'<passage id="(\w+)">\n(.*?)\n</passage>', self.prompt, re.DOTALL))


@dataclass(frozen=True)
class Say:
    """A good answer."""

    text: str | None
    finish: str = "stop"
    logprobs: Mapping[str, float] | None = None
    usage: bool = True

    def send(self, handler: _Handler, asked: Asked) -> None:
        choice: dict[str, Any] = {
            "index": 0,
            "message": {"role": "assistant", "content": self.text},
            "finish_reason": self.finish,
        }
        if self.logprobs is not None:
            top = [{"token": token, "logprob": value} for token, value in self.logprobs.items()]
            choice["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
        body: dict[str, Any] = {"object": "chat.completion", "model": MODEL, "choices": [choice]}
        if self.usage:
            body["usage"] = {"prompt_tokens": 100, "completion_tokens": 7}
        handler.reply(200, json.dumps(body).encode())


@dataclass(frozen=True)
class Status:
    """An answer of another status, or of another body."""

    code: int
    body: Any = field(default_factory=lambda: {"error": {"message": "no"}})
    headers: Mapping[str, str] = field(default_factory=dict)

    def send(self, handler: _Handler, asked: Asked) -> None:
        raw = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        handler.reply(self.code, raw, self.headers)


@dataclass(frozen=True)
class Half:
    """The beginning of an answer, then the end of the connection."""

    def send(self, handler: _Handler, asked: Asked) -> None:
        handler.start(200, {"Content-Length": "500"})
        handler.wfile.write(b'{"choices": [')


@dataclass(frozen=True)
class Drip:
    """A byte now and then, for ever: each comes in time, the whole never does."""

    def send(self, handler: _Handler, asked: Asked) -> None:
        handler.start(200, {"Content-Length": "100000"})
        while not handler.server.over.wait(0.02):
            handler.wfile.write(b" ")
            handler.wfile.flush()


@dataclass(frozen=True)
class Silence:
    """No answer until the test is over."""

    def send(self, handler: _Handler, asked: Asked) -> None:
        handler.server.over.wait(30)


@dataclass(frozen=True)
class Drop:
    """The end of the connection, without a word."""

    def send(self, handler: _Handler, asked: Asked) -> None:
        return


@dataclass(frozen=True)
class After:
    """Another answer, after some seconds."""

    seconds: float
    then: Any

    def send(self, handler: _Handler, asked: Asked) -> None:
        time.sleep(self.seconds)
        self.then.send(handler, asked)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    owner: ChatServer
    over: threading.Event

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        body = json.loads(self.rfile.read(length))
        asked = Asked(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
        self.close_connection = True
        self.server.owner.answer(asked).send(self, asked)

    def start(self, status: int, headers: Mapping[str, str]) -> None:
        self.server.owner.left()  # before the client can hear of it and send the next one
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def reply(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.start(status, {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})})
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


class ChatServer:
    """Answers with the steps of ``script`` first, each once, then with whatever ``judge`` says."""

    def __init__(self, judge: Callable[[Asked], Any] | None = None, script: list[Any] | None = None) -> None:
        self.judge: Callable[[Asked], Any] = judge or (lambda asked: Say("ok"))
        self.script = list(script or [])
        self.asked: list[Asked] = []
        self.most = 0
        """The most requests that were open at once."""
        self._open = 0
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner, self._server.over = self, threading.Event()
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        """The base address."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def answer(self, asked: Asked) -> Any:
        with self._lock:
            self.asked.append(asked)
            self._open += 1
            self.most = max(self.most, self._open)
            step = self.script.pop(0) if self.script else None
        if step is None:
            step = self.judge(asked)
        return step

    def left(self) -> None:
        with self._lock:
            self._open -= 1

    def __enter__(self) -> ChatServer:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


Value = Callable[[str], float]
"""How relevant a passage is."""


def worth(text: str) -> float:
    """A passage says its own relevance: "worth 7"."""
    return float(re.findall(r"worth (-?\d+)", text)[-1])


def judge(value: Value = worth, bias: float = 0.0) -> Callable[[Asked], Say]:
    """A judge who knows each passage's value, and adds ``bias`` for every place that it is shown before the last."""

    def answer(asked: Asked) -> Say:
        shown = asked.passages
        found = {name: value(text) + bias * (len(shown) - place) for place, (name, text) in enumerate(shown.items())}
        best_first = sorted(found, key=lambda name: -found[name])
        return Say(_form(asked, best_first, next(iter(found.values()))))

    return answer


def _form(asked: Asked, best_first: list[str], grade: float) -> str:
    """The answer in the form that the request asks for."""
    form = asked.body.get("response_format")
    told = asked.prompt
    if form is None:
        if "[3] > [1]" in told:
            return " > ".join(f"[{name}]" for name in best_first)
        if set(best_first) == {"A", "B"}:
            return best_first[0]
        return str(round(grade)) if "10" in told else "yes" if grade >= 5 else "no"
    if "ranking" in told:
        return json.dumps({"ranking": [int(name) for name in best_first]})
    if "better" in told:
        return json.dumps({"better": best_first[0]})
    if "relevance" in told:
        return json.dumps({"relevance": round(grade)})
    return json.dumps({"relevant": grade >= 5})
