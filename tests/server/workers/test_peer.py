"""Two ends that ask each other: at once, with errors as they are, and never waiting for one that is gone."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from multiprocessing.connection import Pipe
from typing import Any

import pytest

from lagotto.core import errors
from lagotto.core.errors import ClosedError, EngineError, InvalidInputError, MemoryBudgetError
from lagotto.server.workers.peer import Peer, packed, unpacked

PATIENCE = 30


def refuse() -> None:
    raise MemoryBudgetError("no room", retry_after=5)


def break_down() -> None:
    raise RuntimeError("bug")


@pytest.fixture
def ends() -> Iterator[tuple[Any, Any, threading.Event]]:
    one, other = Pipe()
    gate, closed = threading.Event(), threading.Event()
    handlers: dict[str, Any] = {
        "double": lambda value: value * 2,
        "wait": lambda: gate.wait(PATIENCE),
        "open": gate.set,
        "refuse": refuse,
        "break": break_down,
    }
    first_closed = threading.Event()
    yield Peer(one, {"add": lambda a, b: a + b}, first_closed.set), Peer(other, handlers, closed.set), closed
    gate.set()
    cut(one)
    assert first_closed.wait(PATIENCE)
    assert closed.wait(PATIENCE)
    one.close()
    other.close()


def cut(connection: Any) -> None:
    """End a connection as the kernel does for a process that is killed."""
    with socket.socket(fileno=os.dup(connection.fileno())) as line, contextlib.suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)


def test_both_ends_ask(ends: Any) -> None:
    one, other, _ = ends
    assert one.ask("double", [1], seconds=PATIENCE) == [1, 1]
    assert other.ask("add", 1, 2, seconds=PATIENCE) == 3


def test_one_question_does_not_wait_for_another(ends: Any) -> None:
    one, _, _ = ends
    slow = one.begin("wait")
    assert one.ask("double", 2, seconds=PATIENCE) == 4
    with pytest.raises(TimeoutError):
        one.ask("wait", seconds=0.01)
    one.ask("open", seconds=PATIENCE)
    assert slow.result(PATIENCE) is True


def test_errors_come_as_they_are_and_others_with_their_kind(ends: Any) -> None:
    one, _, _ = ends
    with pytest.raises(MemoryBudgetError, match="no room") as refused:
        one.ask("refuse", seconds=PATIENCE)
    assert refused.value.retry_after == 5
    with pytest.raises(EngineError, match="RuntimeError: bug"):
        one.ask("break", seconds=PATIENCE)


def test_what_waits_hears_that_the_other_end_is_gone(ends: Any) -> None:
    one, _, closed = ends
    slow = one.begin("wait")
    cut(one._connection)
    assert closed.wait(PATIENCE)
    for future in (slow, one.begin("double", 1)):
        with pytest.raises(ClosedError, match="has ended"):
            future.result(PATIENCE)


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_can_be_sent(name: str) -> None:
    kind = getattr(errors, name)
    error = kind("why", retry_after=2.0) if issubclass(kind, errors.TemporaryError) else kind("why")
    found = unpacked(packed(error))
    assert (type(found), str(found), vars(found)) == (kind, "why", vars(error))


def test_the_field_at_fault_is_sent_too() -> None:
    found = unpacked(packed(InvalidInputError("why", param="input")))
    assert isinstance(found, InvalidInputError)
    assert found.param == "input"
