"""Memory that the process holds."""

from __future__ import annotations

import resource
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from lagotto.evaluation import cost
from lagotto.evaluation.cost import MemoryMeter, resident_bytes

MEGABYTES = 1 << 20


def watchers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "memory-meter"]


def test_resident_bytes_grow_with_what_is_held():
    before = resident_bytes()
    held = np.ones(64 * MEGABYTES, np.uint8)
    assert resident_bytes() - before > 50 * MEGABYTES
    assert len(held)


def test_where_only_a_maximum_is_known_it_is_that(monkeypatch, tmp_path):
    monkeypatch.setattr(cost, "_STATM", tmp_path / "none")
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    monkeypatch.setattr("sys.platform", "freebsd")
    assert resident_bytes() >= largest * 1024
    monkeypatch.setattr("sys.platform", "darwin")
    assert largest <= resident_bytes() < largest * 1024


def test_where_nothing_is_known_it_is_0(monkeypatch, tmp_path):
    monkeypatch.setattr(cost, "_STATM", tmp_path / "none")
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


def test_this_machine_tells():
    assert isinstance(cost._STATM, Path)
    assert resident_bytes() > 10 * MEGABYTES
