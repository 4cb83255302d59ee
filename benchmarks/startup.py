"""How light lagotto is: its import, the server's start, and the size of a default installation.

    python benchmarks/startup.py [--model starter:bge-small-en-v1.5] [--project DIR] [--sizes]

With --sizes, the project (--project, default: the folder above this one) is installed with its default dependencies
into a new environment, and the environment's size is listed by package.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from local_server import LocalServer

HEAVY = (
    "torch", "transformers", "openvino", "fastapi", "uvicorn", "pydantic", "qdrant_client", "huggingface_hub",
    "tokenizers",
)  # fmt: skip
PROBE = "import sys, time; t = time.perf_counter(); import lagotto; print(time.perf_counter() - t); print(*sys.modules)"


def import_time(python: Path, runs: int = 7) -> list[str]:
    """Seconds of `import lagotto` in new processes, and which heavy modules it loads."""
    seconds, loaded = [], set()
    for _ in range(runs):
        done = subprocess.run([str(python), "-c", PROBE], capture_output=True, text=True, check=True)
        first, modules = done.stdout.splitlines()
        seconds.append(float(first))
        loaded |= set(modules.split())
    heavy = [name for name in HEAVY if name in loaded]
    return [
        f"| import lagotto | {statistics.median(seconds) * 1000:.0f} ms (median of {runs}) |",
        f"| heavy modules loaded by it, of {', '.join(HEAVY)} | {', '.join(heavy) or 'none'} |",
    ]


def server_start(python: Path, model: str, runs: int = 3) -> str:
    """Seconds from the command to the first 200 of /health, after one start that fills the cache."""
    seconds = []
    for _ in range(runs + 1):
        with LocalServer(python, model) as server:
            seconds.append(server.seconds_to_health)
    warm = statistics.median(seconds[1:])
    return f"| lagotto serve --model {model}, to /health | {warm:.2f} s (median of {runs}; first {seconds[0]:.2f} s) |"


def size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; links are not followed."""
    if not path.is_dir():
        return path.lstat().st_size
    return sum((Path(at) / f).lstat().st_size for at, _, files in os.walk(path) for f in files)


def installed(project: Path, extra: str) -> list[str]:
    """Install the project into a new environment; the table of its size by package, the twelve largest."""
    folder = Path(tempfile.mkdtemp(prefix="lagotto-size-"))
    try:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
        python = next(p for p in (folder / "bin/python", folder / "Scripts/python.exe") if p.exists())
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-compile"]
        start = time.perf_counter()
        subprocess.run([*pip, f"{project}{extra}"], check=True, stdout=subprocess.DEVNULL)
        took = time.perf_counter() - start
        where = "import site; print(site.getsitepackages()[-1])"
        site = Path(subprocess.check_output([str(python), "-c", where], text=True).strip())
        sizes = sorted(((size(p), p.name) for p in site.iterdir() if not p.name.endswith(".dist-info")), reverse=True)
        total = size(site)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    lines = ["", f"| package | MB of {total / 1e6:.0f} (pip took {took:.0f} s) |", "|---|---:|"]
    return [*lines, *(f"| {name} | {bytes_ / 1e6:.1f} |" for bytes_, name in sizes[:12])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="starter:bge-small-en-v1.5")
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="the Python that has lagotto")
    parser.add_argument("--project", type=Path, default=Path(__file__).parent.parent)
    parser.add_argument("--extra", default="", help="extras for --sizes, such as [starter]")
    parser.add_argument("--sizes", action="store_true", help="also measure a default installation")
    options = parser.parse_args()
    print("| what | found |\n|---|---|")
    print("\n".join(import_time(options.python)), flush=True)
    print(server_start(options.python, options.model), flush=True)
    if options.sizes:
        print("\n".join(installed(options.project.absolute(), options.extra)))


if __name__ == "__main__":
    main()
