"""Memory that the process holds."""

from __future__ import annotations

import sys
import threading
import time

import numpy as np
import pytest

from lagotto.core import memory
from lagotto.core.memory import resident_bytes
from lagotto.evaluation.cost import MemoryMeter

MEGABYTES = 1 << 20


def watchers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "memory-meter"]


def test_where_nothing_is_known_it_is_0(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_STATM", tmp_path / "none")
    monkeypatch.setitem(sys.modules, "resource", None)
    with MemoryMeter() as meter:
        assert resident_bytes() == 0
    assert meter.peak == 0


def test_the_peak_is_seen_though_it_is_over():
    with MemoryMeter(0.002) as meter:
        before = resident_bytes()
        held = np.ones(64 * MEGABYTES, np.uint8)
        deadline = time.monotonic() + 10
        while meter.peak - before < 50 * MEGABYTES:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        del held
    assert meter.peak - before > 50 * MEGABYTES
    assert not watchers()


def test_work_shorter_than_the_beat_is_measured_at_its_end():
    with MemoryMeter(3600) as meter:
        held = np.ones(64 * MEGABYTES, np.uint8)
    assert meter.peak >= resident_bytes() - 10 * MEGABYTES
    assert len(held)


def test_an_error_stops_the_watch_too():
    def work() -> None:
        with MemoryMeter(3600):
            assert watchers()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert not watchers()
