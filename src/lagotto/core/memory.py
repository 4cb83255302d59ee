"""How much memory this process holds, and how to hand back what it no longer needs."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

_STATM = Path("/proc/self/statm")


def resident_bytes() -> int:
    """Bytes of this process that are in memory now; where only a maximum can be had (macOS), that; 0 on Windows."""
    if _STATM.is_file():  # Linux
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    try:
        import resource
    except ImportError:
        return 0
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024


def release_memory() -> None:
    """Give freed memory back to the system: collect cycles, then `trim_heaps`."""
    gc.collect()
    trim_heaps()


def trim_heaps() -> None:
    """Ask glibc to trim its heaps; does nothing elsewhere.

    Without it malloc keeps what was freed for later, and a process never shrinks.
    """
    libc = _libc()
    if libc is not None:
        libc.malloc_trim(0)


@cache
def _libc() -> Any:
    """The C library where it can trim its heaps, which is glibc alone."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        found = ctypes.CDLL("libc.so.6")
        return found if hasattr(found, "malloc_trim") else None
    except OSError:  # musl
        return None
