"""A real server on a free port, for other people's clients."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from lagotto.server.app import create_app
from lagotto.server.settings import load_settings

OUTSIDE = ("MODEL_STORAGE_PATH", "API_HOST", "API_PORT", "LOG_LEVEL", "USE_FP16")


@pytest.fixture(scope="session")
def url(cache: Path, tiny_bert: Path, tiny_xlmr: Path, tiny_reranker: Path) -> Iterator[str]:
    """``http://127.0.0.1:PORT`` of a server with ``bert``, ``org/xlmr:1`` and ``ranker``."""
    models = [f"bert={tiny_bert}", f"org/xlmr:1={tiny_xlmr}", f"ranker={tiny_reranker}"]
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name != "LAGOTTO_CACHE" and (name.startswith("LAGOTTO_") or name in OUTSIDE):
                patch.delenv(name)
        app = create_app(load_settings(models=models, precision="f32", threads=2))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()
