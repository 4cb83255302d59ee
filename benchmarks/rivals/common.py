"""What every runner shares: the job it is given, and the conversation with the script that drives it.

A runner is started as `python rivals/NAME.py JOB.json`. It loads its model, makes one warm-up pass, and then times one
pass for each line it reads on standard input, so that the driver can take turns between rivals. It answers one JSON
object a line on standard output: first {"load": s, "first": s}, then {"seconds": s} for each pass, and at the end of
its input {"peak_mb": n, "version": "..."}. The values of the last pass lie in the job's `out` file (.npy).
"""

import importlib.metadata
import json
import os
import re
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Job:
    """One task for one rival; `items` are texts (encode) or [query, passage] pairs (rerank)."""

    task: str  # "encode" or "rerank"
    model: str  # folder of the checkpoint
    items: list[Any]
    out: str  # the .npy file for the vectors (n, dim) or the scores (n,)
    threads: int = 2
    warm: int = 0  # how many items the warm-up pass takes; 0 means all
    onnx: str = ""  # folder with the model exported by export_onnx.py, for the rivals that run it
    cache: str = ""  # folder where a runner may keep its own export
    options: dict[str, Any] = field(default_factory=dict)


Pass = Callable[[list[Any]], np.ndarray]


def serve(load: Callable[[Job], Pass], package: str, prepare: Callable[[Job], bool] | None = None) -> None:
    """Run one job: `load` gives the function that does one pass.

    `prepare` makes what the rival needs on disk (an export), before any clock starts; it tells whether there was work.
    """
    answers, sys.stdout = os.fdopen(os.dup(1), "w", buffering=1), sys.stderr
    os.dup2(2, 1)  # whatever a library prints goes to standard error
    job = Job(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    if prepare and prepare(job):  # an export took memory that is not the rival's: begin again without it
        os.dup2(answers.fileno(), 1)
        os.execv(sys.executable, [sys.executable, *sys.argv])
    start = time.perf_counter()
    run = load(job)
    loaded = time.perf_counter()
    values = run(job.items[: job.warm] if job.warm else job.items)
    answers.write(json.dumps({"load": loaded - start, "first": time.perf_counter() - loaded}) + "\n")
    for _ in sys.stdin:
        start = time.perf_counter()
        values = run(job.items)
        answers.write(json.dumps({"seconds": time.perf_counter() - start}) + "\n")
    np.save(job.out, np.asarray(values, dtype=np.float32))
    facts = {"peak_mb": peak_mb(), "version": version(package), **getattr(run, "facts", {})}
    answers.write(json.dumps(facts) + "\n")
    answers.flush()
    os._exit(0)  # some rivals leave threads that never end


def version(package: str) -> str:
    """The version that is installed; a package run from its source tree has none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "from source"


def peak_mb() -> float:
    """The most memory this process ever held, in megabytes (10^6 bytes)."""
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(found[1]) * 1024 / 1e6
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e6
