"""A data set hub on localhost, and an ir_datasets with a home of its own."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow
import pyarrow.parquet
import pytest
import yaml
from huggingface_hub import constants

from lagotto.evaluation.benchmarks.prepare import prepare
from lagotto.evaluation.benchmarks.registry import expand
from lagotto.evaluation.datasets.retrieval import RetrievalData, read_retrieval

Opened = Callable[[str], RetrievalData]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class DatasetHub:
    """What the hub offers, and what was asked of it."""

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Repository -> path -> content."""
    gated: set[str] = field(default_factory=set)
    sent: list[str] = field(default_factory=list)
    """``repository/path`` of the files whose content was sent."""

    def offer(self, repository: str, path: str, *records: dict[str, Any]) -> None:
        """A file of records, in the format that its name tells."""
        lines = b"".join(json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in records)
        content = gzip.compress(lines) if path.endswith(".gz") else lines
        if path.endswith(".parquet"):
            buffer = io.BytesIO()
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(records)), buffer)
            content = buffer.getvalue()
        self.repositories.setdefault(repository, {})[path] = content

    def declare(self, repository: str, **configs: dict[str, str | list[str]]) -> None:
        """A README that declares the files of the splits of configurations."""
        card = {
            "license": "mit",
            "configs": [
                {"config_name": name, "data_files": [{"split": split, "path": path} for split, path in files.items()]}
                for name, files in configs.items()
            ],
        }
        content = f"---\n{yaml.safe_dump(card)}---\n# A data set\n".encode()
        self.repositories.setdefault(repository, {})["README.md"] = content


@pytest.fixture(autouse=True)
def _no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own exported benchmarks are left out."""
    monkeypatch.delenv("LAGOTTO_BENCHMARKS", raising=False)


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if HF_HUB_OFFLINE were not set."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, online: None) -> Iterator[DatasetHub]:
    """A running hub that huggingface_hub takes for its own, with an empty cache."""
    running = DatasetHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(running))
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    _use(monkeypatch, f"http://127.0.0.1:{server.server_port}", tmp_path / "hub-cache")
    yield running
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def dead_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, online: None) -> None:
    """A hub at the discard port, where nobody listens."""
    _use(monkeypatch, "http://127.0.0.1:9", tmp_path / "hub-cache")


def _use(monkeypatch: pytest.MonkeyPatch, address: str, cache: Path) -> None:
    """What HF_ENDPOINT and HF_HOME do before huggingface_hub is imported."""
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))


def _handler(hub: DatasetHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer()

        def do_HEAD(self) -> None:
            self._answer()

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

        def _answer(self) -> None:
            path = unquote(urlsplit(self.path).path).removeprefix("/api").removeprefix("/datasets/")
            owner, name, verb, _, *rest = path.split("/")
            repository = f"{owner}/{name}"
            files = hub.repositories.get(repository)
            if files is None:
                self._send(b"", {"X-Error-Code": "RepoNotFound"}, 401)
            elif repository in hub.gated:
                self._send(b"", {"X-Error-Code": "GatedRepo"}, 403)
            elif verb == "revision":
                self._send(json.dumps({"_id": "0", "id": repository, "sha": COMMIT, "siblings": []}).encode())
            elif verb == "tree":
                listing = [{"type": "file", "path": p, "size": len(c), "oid": _digest(c)} for p, c in files.items()]
                self._send(json.dumps(listing).encode())
            else:
                content = files["/".join(rest)]
                if self.command == "GET":
                    hub.sent.append(f"{repository}/{'/'.join(rest)}")
                self._send(content, {"ETag": f'"{_digest(content)}"', "X-Repo-Commit": COMMIT})

        def _send(self, content: bytes, headers: dict[str, str] | None = None, status: int = 200) -> None:
            self.send_response(status)
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    return Handler


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:40]


@pytest.fixture(scope="module")
def ir_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home of an ir_datasets that was imported for this module, so that files put there count as downloaded.

    The package fixes its folders when it is imported, hence the import of its own.
    """
    home = tmp_path_factory.mktemp("ir_datasets")
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "ir_datasets"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IR_DATASETS_HOME", str(home))
        patch.setenv("IR_DATASETS_TMP", str(home / "tmp"))
        patch.setenv("IR_DATASETS_DL_TRIES", "1")
        yield home
    for name in [name for name in sys.modules if name.partition(".")[0] == "ir_datasets"]:
        del sys.modules[name]
    sys.modules.update(before)


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    """The whole way of a name: its row, its exported folder, the data in it."""

    def open_one(name: str) -> RetrievalData:
        (benchmark,) = expand(name)
        return read_retrieval(prepare(benchmark, cache=tmp_path / "cache"), benchmark.split)

    return open_one
