"""Servers that listen, for a browser: each in a thread of this process, one of them with all that the page shows."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from lagotto.server.app import create_app
from lagotto.server.settings import load_settings
from support.chromium import BROWSER, NO_BROWSER, PATIENCE, Browser, Page

PREFIX = "/behind/a proxy"
"""A path that a proxy might put before the server's own."""

Serve = Callable[..., contextlib.AbstractContextManager[str]]


class _Proxied:
    """An app, and the same below `PREFIX`, which is taken off as a proxy does."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(f"{PREFIX}/"):
            bare = scope["path"].removeprefix(PREFIX)
            scope = {**scope, "path": bare, "raw_path": bare.encode()}
        await self._app(scope, receive, send)


@contextlib.contextmanager
def _served(**options: Any) -> Iterator[str]:
    app = _Proxied(create_app(load_settings(None, **({"precision": "f32", "threads": 2} | options))))
    server = uvicorn.Server(
        uvicorn.Config(app, port=0, log_config=None, access_log=False, ws="none", timeout_graceful_shutdown=5)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    waiting = threading.Event()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        waiting.wait(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE)


@pytest.fixture(scope="session")
def serve() -> Serve:
    """``with serve(models=[...], ...) as address``: a server with those settings."""
    return _served


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The browser all tests share; each has pages of its own."""
    if BROWSER is None:
        pytest.skip(NO_BROWSER)
    browser = Browser(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def address(
    browser: Browser, tiny_bert: Path, tiny_m3: Path, tiny_xlmr: Path, tiny_reranker: Path, tmp_path_factory: Any
) -> Iterator[str]:
    """A server with models of every kind and in every state."""
    store = tmp_path_factory.mktemp("store")
    (store / "broken").mkdir()
    (store / "broken/config.json").write_text(json.dumps({"model_type": "bert"}))
    idle = {"name": str(tiny_xlmr), "alias": "idle", "eager": False}
    models = [f"bert={tiny_bert}", f"m3={tiny_m3}", f"ranker={tiny_reranker}"]
    with _served(models=models, model=[idle], model_storage_path=store) as address:
        yield address


@pytest.fixture
def visit(browser: Browser, address: str) -> Iterator[Callable[..., Page]]:
    """``visit("#panel=rerank", width=400, ...)``: a page of that server, without complaints when the test has ended."""
    with contextlib.ExitStack() as stack:
        pages = []

        def go(place: str = "", url: str = address, **how: Any) -> Page:
            page = stack.enter_context(browser.page(**how))
            page.open(f"{url}/{place}")
            pages.append(page)
            return page

        yield go
        assert [page.complaints for page in pages] == [[] for _ in pages]


@pytest.fixture
def run() -> Callable[[Page, str], None]:
    """``run(page, "rerank")``: fill-in done, press a panel's button and wait for what comes."""

    def press(page: Page, panel: str) -> None:
        page.click(f"#{panel} button[type=submit]")
        page.until(f"!document.querySelector('#{panel} .empty') || !document.querySelector('#{panel} .failure').hidden")
        page.until(f"!document.querySelector('#{panel} button.running')")

    return press
