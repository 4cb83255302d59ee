"""Quotas in a table that processes share: exact, lasting, and held up by nobody who is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lagotto
from lagotto.core.errors import ConfigError
from lagotto.server.key_settings import KeySettings, digest_of

if sys.platform == "win32":
    pytest.skip("workers need Linux or macOS", allow_module_level=True)

from lagotto.server.workers import ledger as module
from lagotto.server.workers.ledger import Ledger, new_table

KEY = KeySettings(name="a", hash=digest_of("lgt_a"))
CHILD = """
import sys, time
from lagotto.server.key_settings import KeySettings, digest_of
from lagotto.server.workers.ledger import Ledger
ledger = Ledger(int(sys.argv[1]))
bucket = ledger.bucket(KeySettings(name="a", hash=digest_of("lgt_a")), "requests", 3000, lambda: 1.0)
if sys.argv[2] == "take":
    taken = 0
    while not bucket.take():
        taken += 1
    print(taken)
else:
    with ledger.locked(1):
        print("locked", flush=True)
        time.sleep(600)
"""


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def table() -> Iterator[Any]:
    with new_table() as table:
        yield table


def child(table: Any, what: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(table.fileno()), what],
        pass_fds=[table.fileno()],
        env={**os.environ, "PYTHONPATH": str(Path(lagotto.__file__).parents[1])},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_processes_together_take_what_there_is_and_no_more(table: Any) -> None:
    children = [child(table, "take") for _ in range(3)]
    taken = [int(process.communicate(timeout=60)[0]) for process in children]
    assert sum(taken) == 3000


def test_one_that_is_killed_with_the_lock_holds_up_nobody(table: Any) -> None:
    bucket = Ledger(table.fileno()).bucket(KEY, "requests", 3000)
    process = child(table, "hold")
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    started = time.monotonic()
    assert bucket.take() == 0
    assert time.monotonic() - started < 10


def test_the_same_quota_is_one_and_others_are_others(table: Any) -> None:
    clock, ledger = Clock(), Ledger(table.fileno())
    one, same = (ledger.bucket(KEY, "requests", 2, clock) for _ in range(2))
    assert [one.take(), same.take()] == [0, 0]
    assert one.take() == pytest.approx(30)
    other = KeySettings(name="b", hash=digest_of("lgt_b"))
    for bucket in (
        ledger.bucket(KEY, "tokens", 2, clock),
        ledger.bucket(KEY, "requests", 3, clock),
        ledger.bucket(other, "requests", 2, clock),
    ):
        assert bucket.take() == 0
    clock.now += 30
    assert same.take() == 0
    assert one.take() == pytest.approx(30)


def test_what_is_owed_is_owed_everywhere(table: Any) -> None:
    clock, ledger = Clock(), Ledger(table.fileno())
    one, same = (ledger.bucket(KEY, "tokens", 60, clock) for _ in range(2))
    assert one.wait() == 0
    one.charge(100)
    assert same.wait() == pytest.approx(41)


def test_a_full_table_says_so(table: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROWS", 3)
    ledger = Ledger(table.fileno())
    ledger.bucket(KEY, "requests", 1)
    ledger.bucket(KEY, "requests", 2)
    with pytest.raises(ConfigError, match="more than 2 quotas"):
        ledger.bucket(KEY, "requests", 3)
