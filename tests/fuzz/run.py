"""Let schemathesis send a real server so many requests, made from its OpenAPI document. Started by `scripts/fuzz`.

The server is `lagotto serve` as a process of its own, with an embedder, a model with all outputs, and a reranker, all
tiny. No answer may be a 5xx, have a status or a kind of content that the document does not tell, or a body of another
shape; what contradicts the document must be refused; and the server must be alive at the end, without a traceback in
its log. What is wrong is printed with a command that sends it again.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.checkpoints import BERT, XLMR, write_embedder, write_m3, write_modules, write_reranker

HERE = Path(__file__).parent
PATIENCE = 120
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
)
"""Not that all that the document allows is taken: no schema tells that a text is empty, or two wishes contradictory."""
_REQUESTS = re.compile(r'lagotto_requests_total\{[^}]*status="(\dxx)"\} (\S+)')


def models(folder: Path) -> dict[str, Path]:
    """Tiny checkpoints: an embedder, one with all outputs and with prompts, a reranker."""
    every = write_m3(folder / "m3", XLMR)
    write_modules(every, XLMR, prompts={"query": "query: ", "document": "passage: "})
    return {
        "bert": write_embedder(folder / "bert", BERT),
        "m3": every,
        "ranker": write_reranker(folder / "ranker", BERT),
    }


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, Path]]:
    """Address and log of a server."""
    command = [sys.executable, "-m", "lagotto.cli.main", "serve", "--port", "0", "--offline", "--threads", "2"]
    command += [part for name, model in models(folder).items() for part in ("--model", f"{name}={model}")]
    log = folder / "server.log"
    environment = {**os.environ, "LAGOTTO_CACHE": str(folder / "cache"), "LAGOTTO_MAX_INPUTS": "64"}
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + PATIENCE
        while not (found := re.search(r"serving on (http://\S+)", log.read_text())):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(log.read_text())
            time.sleep(0.05)
        yield found.group(1), log
        if process.poll() is not None:
            sys.exit(f"the server ended with {process.returncode}:\n{log.read_text()[-5000:]}")
    finally:
        process.terminate()
        process.wait(PATIENCE)


def answered(url: str) -> dict[str, int]:
    """The server's own count of answers, by the first digit of their status."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=PATIENCE) as answer:
        text = answer.read().decode()
    found: dict[str, int] = {}
    for status, number in _REQUESTS.findall(text):
        found[status] = found.get(status, 0) + int(float(number))
    return found


def one_round(url: str, mode: str, seed: int, examples: int, more: list[str]) -> int:
    """Exit code of schemathesis over all routes. Mode ``all`` is what breaks the document's rules too."""
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{url}/openapi.json", "--mode", mode]
    phases = "fuzzing" if mode == "positive" else "examples,coverage,fuzzing"
    command += ["--checks", ",".join(CHECKS), "--phases", phases, "--no-color"]
    command += ["--seed", str(seed), "--max-examples", str(examples), "--continue-on-failure", "--warnings", "off"]
    command += ["--suppress-health-check", "all", "--request-timeout", str(PATIENCE), *more]
    environment = {**os.environ, "PYTHONPATH": str(HERE), "SCHEMATHESIS_HOOKS": "hooks", "FUZZ_MODE": mode}
    with tempfile.TemporaryDirectory() as elsewhere:  # schemathesis keeps what it found where it is started
        return subprocess.run(command, env=environment, cwd=elsewhere, check=False).returncode


def main() -> None:
    """Send, count, and end with 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000, help="how many at least")
    parser.add_argument("--examples", type=int, default=100, help="of each route in each round")
    parser.add_argument("--seed", type=int, default=1, help="of the first round; the next ones count on")
    given, more = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as (url, log):
        failed, seed, counts = 0, given.seed, answered(url)
        while not failed and sum(counts.values()) < given.requests:
            mode = "positive" if (seed - given.seed) % 2 else "all"
            failed = one_round(url, mode, seed, given.examples, more)
            seed, counts = seed + 1, answered(url)
        lines = log.read_text().splitlines()
    bad = [line for line in lines if "Traceback" in line or " ERROR " in line]
    print(f"{sum(counts.values())} requests in {seed - given.seed} rounds: {counts}; {len(bad)} errors in the log")
    print("\n".join(bad[:20]))
    sys.exit(bool(failed or bad or counts.get("5xx")))


if __name__ == "__main__":
    main()
