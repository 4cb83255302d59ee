"""Several devices, a process each: here processors that are the same one, most of them in processes without torch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lagotto
from lagotto import Embedder
from lagotto.batch.sequences import Batch
from lagotto.core.errors import ClosedError, EngineError, UnsupportedModelError
from lagotto.engines.torch import processes, worker_process, workers
from lagotto.engines.torch.processes import ProcessEngine
from support.checkpoints import some_texts
from support.engines import ManualEngine, checkpoint_of
from support.stub_worker import HANG, RAISE, RAISE_UNSENDABLE

TEXTS = some_texts(60)
SOURCES = str(Path(lagotto.__file__).parents[1])
pytestmark = pytest.mark.skipif(os.name == "nt", reason="several devices need Linux or macOS")


def batch(first: int = 5, rows: int = 2, length: int = 4) -> Batch:
    ids = np.full((rows, length), first, np.int32)
    return Batch(ids, np.full(rows, length, np.int32), np.full(rows, length, np.int32), 0)


@pytest.fixture
def stubs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "WORKER", "support.stub_worker")
    monkeypatch.setattr(worker_process, "_LOOK", 0.05)
    monkeypatch.setattr(workers, "FIRST_PAUSE", 0.01)


@pytest.fixture
def engine(stubs: None, tiny_bert: Path) -> Iterator[ProcessEngine]:
    opened = open_two(tiny_bert)
    yield opened
    opened.close()


def open_two(folder: Path, threads: int = 2) -> ProcessEngine:
    return ProcessEngine(checkpoint_of(folder), ("cpu", "cpu"), "f32", threads, 8)


def until(true: Any) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def children(engine: Any) -> list[Any]:
    return [worker._process for worker in engine._workers.all]


def test_every_batch_gets_its_own_answer_whoever_computes_it(engine: ProcessEngine) -> None:
    assert (engine.info.device, engine.info.parallel, engine.info.output) == ("cpu,cpu", 2, 3)
    given = [batch(number) for number in range(40)]
    for one, future in zip(given, [engine.submit(one) for one in given], strict=True):
        np.testing.assert_array_equal(future.result(), ManualEngine.answer(one))
    assert engine.submit(batch(), "states").result().shape == (2, 4, 4)


def test_a_free_worker_takes_the_next_batch(engine: ProcessEngine) -> None:
    hanging = engine.submit(batch(HANG))
    assert all(engine.submit(batch(number)).result(timeout=20) is not None for number in range(6))
    assert not hanging.done()
    children(engine)[0].kill()
    children(engine)[1].kill()
    assert isinstance(hanging.exception(timeout=20), EngineError)


def test_an_error_comes_back_as_the_cause_of_ours_and_the_worker_goes_on(engine: ProcessEngine) -> None:
    for _ in range(4):
        with pytest.raises(EngineError, match="KeyError") as raised:
            engine.submit(batch(RAISE)).result()
        assert "a batch's own error" in repr(raised.value.__cause__)
    with pytest.raises(EngineError, match=r"Unsendable: .*not sent whole"):
        engine.submit(batch(RAISE_UNSENDABLE)).result()
    assert engine.submit(batch()).result().shape == (2, 3)


def test_a_killed_worker_fails_its_batch_at_once_the_other_goes_on_and_it_is_started_again(
    engine: ProcessEngine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine._workers, "_pauses", [0.5, 0.5])
    hanging = engine.submit(batch(HANG))
    engine.submit(batch()).result()  # the first worker has the hanging batch, the second one answers
    first, second = children(engine)
    started = time.monotonic()
    os.kill(first.pid, signal.SIGKILL)
    error = hanging.exception(timeout=20)
    assert time.monotonic() - started < 5
    assert isinstance(error, EngineError)
    assert error.retry_after >= 1
    assert f"worker 0 on cpu (process {first.pid}) has died, exit code -9" in str(error)
    assert "1 of 2 are left; it is started again in 0.5 s" in caplog.text
    assert engine.submit(batch()).result().shape == (2, 3)
    until(lambda: engine.stats().restarts == 1)
    again = children(engine)
    assert again[0].pid != first.pid
    assert again[1] is second
    waiting = [engine.submit(batch(HANG, length=length)) for length in (4, 60)]
    until(lambda: not engine._workers._free)  # both are at work: the new one takes batches too
    for child in again:
        child.kill()
    assert all(isinstance(future.exception(timeout=20), EngineError) for future in waiting)


def test_while_all_workers_are_dead_nobody_waits_and_then_they_are_back(
    engine: ProcessEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine._workers, "_pauses", [1.0, 1.0])
    for child in children(engine):
        child.kill()
        child.wait()
    for _ in range(3):
        with pytest.raises(EngineError, match="are started again") as raised:
            engine.submit(batch()).result(timeout=20)
        assert raised.value.retry_after >= 1
    until(lambda: engine.stats().restarts == 2)
    assert engine.submit(batch()).result(timeout=20).shape == (2, 3)
    assert all(child.poll() is None for child in children(engine))


def test_a_worker_that_does_not_live_is_started_ever_less_often(
    engine: ProcessEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker_process, "WORKER", "support.no_such_worker")
    children(engine)[0].kill()
    children(engine)[0].wait()
    for _ in range(2):  # the first one finds out
        assert engine.submit(batch()).result(timeout=20).shape == (2, 3)
    until(lambda: caplog.text.count("could not be started again") >= 3)
    assert "next try in 0.02 s" in caplog.text
    assert "next try in 0.08 s" in caplog.text
    assert engine.submit(batch()).result().shape == (2, 3), "the other one goes on"
    monkeypatch.setattr(worker_process, "WORKER", "support.stub_worker")
    until(lambda: engine.stats().restarts == 1)


def test_the_pause_grows_to_a_bound_and_is_short_again_after_a_long_life(engine: ProcessEngine) -> None:
    pauses = [engine._workers._pause(0, lived=1.0) for _ in range(20)]
    assert pauses[:4] == [0.01, 0.02, 0.04, 0.08]
    assert max(pauses) == pauses[-1] == workers.LONGEST_PAUSE
    assert engine._workers._pause(0, lived=workers.HEALTHY) == 0.01


def test_closing_does_not_wait_for_a_worker_that_is_being_started(
    engine: ProcessEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_process, "WORKER", "support.slow_worker")
    children(engine)[0].kill()
    children(engine)[0].wait()
    for _ in range(2):
        engine.submit(batch()).result(timeout=20)
    until(lambda: engine._workers._starting)
    started = time.monotonic()
    engine.close()
    assert time.monotonic() - started < 10
    assert all(child.returncode is not None for child in children(engine))
    assert not engine._workers._starting


def test_closing_finishes_what_was_started_and_ends_the_processes(engine: ProcessEngine) -> None:
    futures = [engine.submit(batch(number)) for number in range(20)]
    engine.close()
    assert all(future.done() and future.exception() is None for future in futures)
    assert [child.returncode for child in children(engine)] == [0, 0]
    engine.close()
    with pytest.raises(ClosedError):
        engine.submit(batch())


def test_closing_does_not_wait_for_workers_that_hang(engine: ProcessEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "PATIENCE", 0.3)
    hanging = [engine.submit(batch(HANG, length=length)) for length in (4, 60)]  # too unlike to be one batch
    for child in children(engine):
        os.kill(child.pid, signal.SIGSTOP)  # not even SIGTERM ends it now
    started = time.monotonic()
    engine.close()
    assert time.monotonic() - started < 10
    assert all("did not answer for 0.3 s while closing" in str(future.exception(timeout=0)) for future in hanging)
    assert all(child.returncode is not None for child in children(engine))


def test_ctrl_c_is_for_the_parent_to_handle(engine: ProcessEngine) -> None:
    for child in children(engine):
        os.kill(child.pid, signal.SIGINT)
    assert engine.submit(batch()).result(timeout=20).shape == (2, 3)


def test_a_worker_that_can_not_load_raises_its_error_here(stubs: None, tiny_bert: Path) -> None:
    with pytest.raises(ValueError, match="seven threads are too many"):
        open_two(tiny_bert, threads=14)


def test_a_worker_that_can_not_start_is_an_engine_error(
    stubs: None, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_process, "WORKER", "support.no_such_worker")
    with pytest.raises(EngineError, match="worker 0 on cpu .* has died, exit code 1"):
        open_two(tiny_bert)


def test_windows_is_refused(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = checkpoint_of(tiny_bert)
    monkeypatch.setattr(processes.os, "name", "nt")
    with pytest.raises(UnsupportedModelError, match="need Linux or macOS"):
        ProcessEngine(checkpoint, ("cpu", "cpu"), "f32", 2, 8)


def test_the_callers_module_needs_no_torch() -> None:
    code = "import sys; import lagotto.engines.torch.processes; print('torch' in sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": SOURCES}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


# With torch: starting takes seconds, so once from this process and once from a script.


def test_two_devices_give_what_one_gives_until_one_is_killed(tiny_bert: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    with Embedder(tiny_bert, engine="torch", device="cpu", precision="f32", threads=1) as one:
        expected = one.encode(TEXTS).dense
    with Embedder(tiny_bert, device="cpu,cpu", precision="f32", threads=2) as two:
        assert (two.engine.name, two.engine.device, two.engine.parallel) == ("torch", "cpu,cpu", 2)
        found: list[np.ndarray] = []
        callers = [threading.Thread(target=lambda: found.append(two.encode(TEXTS).dense)) for _ in range(3)]
        for caller in callers:  # as the threads of a web server would
            caller.start()
        for caller in callers:
            caller.join()
        assert len(found) == 3
        for vectors in found:
            np.testing.assert_allclose(vectors, expected, atol=1e-5)
        first, second = children(two._loaded.engine)
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        np.testing.assert_allclose(two.encode(TEXTS).dense, expected, atol=1e-5)
        until(lambda: two.stats().restarts == 1)
        np.testing.assert_allclose(two.encode(TEXTS).dense, expected, atol=1e-5)
        again = children(two._loaded.engine)[0]
    assert (first.returncode, second.returncode, again.returncode) == (-signal.SIGKILL, 0, 0)


_SCRIPT = """
import sys
print("begins")
from lagotto import Embedder
model = Embedder(sys.argv[1], device=["cpu", "cpu"], precision="f32", threads=2)
print(model.encode(["a dog", "a cat"]).dense.shape)
"""


def test_a_script_needs_no_main_guard_and_may_forget_to_close(tiny_bert: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT)
    command = [sys.executable, str(script), str(tiny_bert)]
    environment = {**os.environ, "PYTHONPATH": SOURCES}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["begins", "(2, 32)"]
