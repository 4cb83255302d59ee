"""Servers on free ports, `lagotto serve` above all, for the scripts that measure them."""

import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self


class ServerProcess:
    """Starts a server and waits for /health; a context manager."""

    def __init__(self, command: list[str], port: int, seconds: float = 180, env: dict[str, str] | None = None) -> None:
        self.log = tempfile.NamedTemporaryFile("w+", suffix=".log", prefix="server-")  # noqa: SIM115
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        start = time.perf_counter()
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, env=env)
        try:
            while not self._healthy():
                if self.process.poll() is not None or time.perf_counter() - start > seconds:
                    raise RuntimeError(f"the server did not become healthy:\n{self._tail()}")
                time.sleep(0.01)
        except BaseException:
            self.process.kill()
            raise
        self.seconds_to_health = time.perf_counter() - start

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=1) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _tail(self) -> str:
        self.log.seek(0)
        return "".join(self.log.readlines()[-12:])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


class LocalServer(ServerProcess):
    """A `lagotto serve` of our own.

    >>> with LocalServer(Path(sys.executable), "starter:bge-small-en-v1.5") as server: ...   # doctest: +SKIP
    """

    def __init__(self, python: Path, model: str, *arguments: str, seconds: float = 180) -> None:
        port = free_port()
        command = [str(python), "-m", "lagotto.cli.main", "serve", "--model", model, "--port", str(port)]
        super().__init__([*command, *arguments], port, seconds)


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit("this file is used by startup.py, server.py and serve.py")
