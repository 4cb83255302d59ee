"""A client that goes away when a test wants it to, which an HTTP client in the same process can't."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.types import ASGIApp


async def post(app: ASGIApp, path: str, body: Any, gone: asyncio.Event) -> list[Any]:
    """What an app sends in answer to a body; the connection is closed once ``gone`` is set."""
    content = json.dumps(body).encode()
    messages, sent = [{"type": "http.request", "body": content, "more_body": False}], list[Any]()

    async def receive() -> Any:
        if messages:
            return messages.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "headers": [(b"content-type", b"application/json")], "client": ("127.0.0.1", 1), "server": ("here", 80),
    }  # fmt: skip
    await app(scope, receive, send)
    return sent
