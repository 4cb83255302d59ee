"""A Hugging Face hub of one's own on localhost: repositories, revisions, gates, tokens, and a log of requests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

Files = Mapping[str, bytes]


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by its path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def digest(content: bytes) -> str:
    """What the fake hub uses for ids and ETags."""
    return hashlib.sha256(content).hexdigest()[:40]


@dataclass
class Repository:
    """Files by revision; a commit's id is made of the revision's name."""

    revisions: Mapping[str, Files]
    gated: bool = False
    """Described to everyone, as by the real hub; its files are not sent."""
    token: str | None = None
    """Who does not send it is told that there is no such repository, as the real hub does."""

    def commit(self, revision: str) -> str | None:
        """The commit of a branch, tag or commit; None for an unknown one."""
        commits = {name: digest(name.encode()) for name in self.revisions}
        return commits.get(revision) or (revision if revision in commits.values() else None)

    def files(self, commit: str) -> Files:
        """The files of a commit."""
        return next(files for name, files in self.revisions.items() if digest(name.encode()) == commit)


@dataclass
class Request:
    """One request the hub saw."""

    method: str
    path: str
    authorization: str | None


@dataclass
class Hub:
    """The running hub."""

    address: str
    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)

    def downloads(self, repo: str) -> list[str]:
        """Paths of the files whose content was sent, in alphabetical order."""
        start = f"/{repo}/resolve/"
        paths = [r.path.removeprefix(start) for r in self.requests if r.method == "GET" and r.path.startswith(start)]
        return sorted(path.partition("/")[2] for path in paths)


class _Refusal(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A hub on a free port, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer()

        def do_HEAD(self) -> None:
            self._answer()

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

        def _answer(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.requests.append(Request(self.command, path, self.headers.get("Authorization")))
            try:
                if path.startswith("/api/models/"):
                    self._send(json.dumps(self._describe(path.removeprefix("/api/models/"))).encode(), {})
                else:
                    self._send_file(path.removeprefix("/"))
            except _Refusal as refusal:
                headers = {"X-Error-Code": refusal.code, "X-Error-Message": refusal.message}
                self._send(json.dumps({"error": refusal.message}).encode(), headers, refusal.status)

        def _describe(self, rest: str) -> object:
            owner, name, *parts = rest.split("/")
            kind, revision = (*parts, "", "main")[:2] if len(parts) >= 2 else ("revision", "main")
            repository, commit = self._find(f"{owner}/{name}", revision)
            files = repository.files(commit)
            if kind == "tree":
                return [
                    {"type": "file", "path": path, "size": len(content), "oid": digest(content)}
                    for path, content in files.items()
                ]
            siblings = [{"rfilename": path} for path in files]
            return {"_id": "0", "id": f"{owner}/{name}", "sha": commit, "private": False, "siblings": siblings}

        def _send_file(self, rest: str) -> None:
            owner, name, _, revision, *parts = rest.split("/")
            repository, commit = self._find(f"{owner}/{name}", revision)
            if repository.gated:
                raise _Refusal(403, "GatedRepo", "Access to this model is restricted")
            content = repository.files(commit).get("/".join(parts))
            if content is None:
                raise _Refusal(404, "EntryNotFound", "Entry not found")
            headers = {"ETag": f'"{digest(content)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
            wanted, status = self.headers.get("Range"), 200
            if wanted:
                start = int(wanted.removeprefix("bytes=").partition("-")[0])
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
                content, status = content[start:], 206
            self._send(content, headers, status)

        def _find(self, repo: str, revision: str) -> tuple[Repository, str]:
            repository = hub.repositories.get(repo)
            known = repository is not None and (
                repository.token is None or self.headers.get("Authorization") == f"Bearer {repository.token}"
            )
            if repository is None or not known:
                raise _Refusal(401, "RepoNotFound", "Repository not found")
            commit = repository.commit(revision)
            if commit is None:
                raise _Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return repository, commit

        def _send(self, content: bytes, headers: Mapping[str, str], status: int = 200) -> None:
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub = Hub(f"http://127.0.0.1:{server.server_port}")
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
