"""`PackageFiles`: files that lie in this package and are shown in browsers: ``/docs`` and the page at ``/``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
"""By a file's ending. Not from `mimetypes`: it asks the machine, and browsers run no module of another type."""
_PLAIN = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    type: str
    etag: str


class PackageFiles:
    """The files of a folder, read once. What is not among them can't be asked for, whatever a path says.

    ``headers`` stand on every answer.
    """

    def __init__(self, folder: Path, headers: Mapping[str, str]) -> None:
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        self._files = {path.relative_to(folder).as_posix(): _read(path) for path in paths}
        self._headers = {"cache-control": "no-cache", "x-content-type-options": "nosniff", **headers}

    def answer(self, name: str, request: Request) -> Response:
        """A file, or 304 to a browser that has it already. Raises `HTTPException` 404 for a name that is none."""
        file = self._files.get(name)
        if file is None:
            raise HTTPException(404)
        headers = {**self._headers, "etag": file.etag}
        if _has(request, file.etag):
            return Response(status_code=304, headers=headers)
        return Response(file.content, headers=headers, media_type=file.type)

    def mount(self, app: FastAPI, path: str) -> None:
        """Serve all of them below a path."""

        @app.api_route(f"{path}/{{name:path}}", methods=["GET", "HEAD"], include_in_schema=False)
        async def file(name: str, request: Request) -> Response:
            return self.answer(name, request)


def _read(path: Path) -> _File:
    content = path.read_bytes()
    return _File(content, _TYPES.get(path.suffix, _PLAIN), f'"{hashlib.sha256(content).hexdigest()[:32]}"')


def _has(request: Request, etag: str) -> bool:
    """Whether a browser names, among what it has, this very content."""
    given = request.headers.get("if-none-match", "")
    return given.strip() == "*" or etag in [one.strip().removeprefix("W/") for one in given.split(",")]
