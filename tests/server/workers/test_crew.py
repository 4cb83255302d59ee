"""Workers asked as one, by workers that do as they are told: all have new settings or none, and no figure is lost."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry, Counter

from lagotto.core.errors import ClosedError, ConfigError, EngineError, ModelNotFoundError
from lagotto.server.settings import Settings
from lagotto.server.workers import crew as module
from lagotto.server.workers.crew import Crew
from lagotto.server.workers.process import WorkerProcess

OLD, NEW = Settings(port=1), Settings(port=2)


class Worker:
    """What `Crew` knows of a worker, and of the peer that it is asked by."""

    def __init__(
        self, number: int, apply: Callable[[Settings], Any] = lambda settings: {"port": settings.port}
    ) -> None:
        self.number, self.settings, self.figures, self.peer = number, OLD, [], self
        self.told: list[Settings] = []
        self.counted = 0.0
        self.answers = True
        self._apply = apply

    def ask(self, what: str, settings: Settings) -> Any:
        assert what == "apply"
        found = self._apply(settings)
        self.told.append(settings)
        return found

    def begin(self, what: str) -> Future[Any]:
        assert what == "figures"
        registry = CollectorRegistry()
        Counter("lagotto_texts", "Texts.", registry=registry).inc(self.counted)
        future: Future[Any] = Future()
        if self.answers:
            future.set_result(list(registry.collect()))
        return future


def refuse(settings: Settings) -> Any:
    if settings is NEW:
        raise ModelNotFoundError("no such model")


def die(settings: Settings) -> Any:
    raise ClosedError("the process that was asked has ended")


def crew_of(*workers: Worker, read: Callable[[], Settings] | None = lambda: NEW) -> Crew:
    crew = Crew(OLD, read)
    for worker in workers:
        crew.join(cast(WorkerProcess, worker))
    return crew


def texts(crew: Crew) -> float:
    (line,) = [line for line in crew.metrics().decode().splitlines() if line.startswith("lagotto_texts_total ")]
    return float(line.split()[1])


def test_all_have_new_settings() -> None:
    one, two = Worker(1), Worker(2)
    crew = crew_of(one, two)
    assert crew.reload() == {"port": 2}
    assert crew.settings is NEW
    assert one.told == two.told == [NEW]


def test_where_one_can_t_have_them_the_others_have_the_old_ones_again() -> None:
    one, bad, three = Worker(1), Worker(2, refuse), Worker(3)
    crew = crew_of(one, bad, three)
    with pytest.raises(ModelNotFoundError, match="no such model"):
        crew.reload()
    assert crew.settings is OLD
    assert (one.told, bad.told, three.told) == ([NEW, OLD], [], [])
    assert one.settings is OLD


def test_a_file_that_is_wrong_reaches_nobody() -> None:
    def wrong() -> Settings:
        raise ConfigError("not TOML")

    one = Worker(1)
    with pytest.raises(ConfigError):
        crew_of(one, read=wrong).reload()
    assert one.told == []


def test_without_a_reader_the_same_settings_are_told_again() -> None:
    one = Worker(1)
    assert crew_of(one, read=None).reload() == {"port": 1}
    assert one.told == [OLD]


def test_one_that_dies_meanwhile_is_no_obstacle_unless_it_is_the_only_one() -> None:
    assert crew_of(Worker(1, die), Worker(2)).reload() == {"port": 2}
    crew = crew_of(Worker(1, die))
    with pytest.raises(EngineError, match="no worker"):
        crew.reload()
    assert crew.settings is OLD


def test_one_that_was_started_before_a_reload_catches_up() -> None:
    crew = crew_of(Worker(1))
    crew.reload()
    late = Worker(2)
    crew.join(cast(WorkerProcess, late))
    assert late.told == [NEW]


def test_counters_of_one_that_has_ended_stay() -> None:
    one, two = Worker(1), Worker(2)
    crew = crew_of(one, two)
    one.counted, two.counted = 3, 4
    assert texts(crew) == 7
    crew.leave(cast(WorkerProcess, one))
    two.counted = 5
    assert texts(crew) == 8
    crew.leave(cast(WorkerProcess, one))
    assert texts(crew) == 8, "it has left once"


def test_one_that_does_not_answer_counts_as_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.01)
    one, two = Worker(1), Worker(2)
    crew = crew_of(one, two)
    one.counted, two.counted = 3, 4
    assert texts(crew) == 7
    one.answers, one.counted, two.counted = False, 100, 5
    assert texts(crew) == 8
