"""How much memory the process holds, and that freed memory goes back."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import numpy as np
import pytest

from lagotto.core import memory
from lagotto.core.memory import release_memory, resident_bytes

MEGABYTES = 1 << 20


def test_resident_bytes_grow_with_what_is_held():
    before = resident_bytes()
    held = np.ones(64 * MEGABYTES, np.uint8)
    assert resident_bytes() - before > 50 * MEGABYTES
    assert len(held)


def test_where_only_a_maximum_is_known_it_is_that(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_STATM", tmp_path / "none")
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    monkeypatch.setattr("sys.platform", "freebsd")
    assert resident_bytes() >= largest * 1024
    monkeypatch.setattr("sys.platform", "darwin")
    assert largest <= resident_bytes() < largest * 1024


def test_this_machine_tells():
    assert isinstance(memory._STATM, Path)
    assert resident_bytes() > 10 * MEGABYTES


@pytest.mark.skipif(memory._libc() is None, reason="only glibc can be asked to trim its heaps")
def test_released_memory_goes_back_to_the_system():
    held = [bytes(1000) for _ in range(100_000)]  # small blocks, which malloc keeps when they are freed
    kept = [bytes(1000) for _ in range(10)]
    full = resident_bytes()
    del held
    release_memory()
    assert full - resident_bytes() > 50 * MEGABYTES
    assert len(kept) == 10


def test_releasing_is_harmless_where_there_is_no_glibc(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    memory._libc.cache_clear()
    try:
        release_memory()
        assert memory._libc() is None
    finally:
        memory._libc.cache_clear()
