"""What this machine allows: processors granted by the cgroup quota, memory, instruction sets."""

from __future__ import annotations

import math
import os
import platform
from functools import cache
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_INT8_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"})
INT8_INSTRUCTIONS = "AVX-VNNI, AVX512-VNNI, AMX; dot product on ARM"
"""What `supports_int8` looks for, in words."""


def cgroup_cpus(root: Path = _CGROUP) -> float | None:
    """Processors' worth of time the container may use (cgroup v2, then v1), or None without a limit."""
    try:
        quota, period = (root / "cpu.max").read_text().split()[:2]
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass  # not cgroup v2; v1 keeps the two numbers in two files
    try:
        quota_us = int((root / "cpu/cpu.cfs_quota_us").read_text())
        return quota_us / int((root / "cpu/cpu.cfs_period_us").read_text()) if quota_us > 0 else None
    except (OSError, ValueError):
        return None


def available_cpus() -> int:
    """Threads worth starting: the affinity mask, cut by the cgroup quota rounded up; at least 1.

    Rounding up loses less than rounding down: a quota of 1.5 runs two threads at three quarters.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    visible = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota = cgroup_cpus()
    return max(1, visible if quota is None else min(visible, math.ceil(quota)))


@cache
def cpu_flags() -> frozenset[str]:
    """Instruction set flags as Linux names them (``avx512_bf16`` ...); empty where they can't be read."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def supports_int8() -> bool:
    """Whether this CPU multiplies int8 without overflow in hardware.

    Older instructions add two products in 16 bits, which saturates.
    """
    return bool(_INT8_FLAGS & cpu_flags())


def cpu_name() -> str:
    """The processor's name, as well as the platform tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
