"""What one of several workers may have."""

from __future__ import annotations

import pickle

import pytest

from lagotto.core.hardware import available_cpus
from lagotto.server.model_settings import ModelSettings
from lagotto.server.settings import Settings
from lagotto.server.workers.share import share_of


def test_what_all_have_together_is_divided() -> None:
    whole = Settings(
        threads=5,
        memory_budget_mb=1001,
        cache_memory_mb=64,
        max_connections=1000,
        max_queue_tokens=3,
        max_inputs=9,
        model=[ModelSettings(name="a", threads=3), ModelSettings(name="b")],
    )
    part = share_of(whole, 2)
    assert (part.threads, [table.threads for table in part.model]) == (3, [2, None]), "rounded up"
    assert (part.memory_budget_mb, part.cache_memory_mb, part.max_connections, part.max_queue_tokens) == (
        500,
        32,
        500,
        1,
    )
    assert part.max_inputs == 9
    assert whole.threads == 5
    assert share_of(whole, 100).max_queue_tokens == 1, "nothing becomes none"


def test_so_are_the_requests_that_a_language_model_elsewhere_gets() -> None:
    llm = {"url": "http://127.0.0.1:1/v1", "model": "m"}
    tables = [{"name": "a", "llm": llm}, {"name": "b", "llm": {**llm, "concurrency": 1, "max_requests": 9}}]
    part = share_of(Settings(model=[ModelSettings.model_validate(table) for table in tables]), 2)
    found = [(table.llm.concurrency, table.llm.max_requests) for table in part.model if table.llm is not None]
    assert found == [(2, 32), (1, 4)]
    assert pickle.loads(pickle.dumps(part)) == part


def test_what_is_not_bounded_stays_so_and_threads_are_those_of_the_machine() -> None:
    part = share_of(Settings(cache_memory_mb=0), 2)
    assert part.memory_budget_mb is None
    assert part.cache_memory_mb == 0
    assert part.threads == -(-available_cpus() // 2)


@pytest.mark.parametrize("key", ["lgt_secret", None])
def test_settings_can_be_sent(key: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(api_key=key, threads=3)
    monkeypatch.setenv("LAGOTTO_THREADS", "7")
    sent = pickle.loads(pickle.dumps(settings))
    assert sent == settings
    assert (sent.api_key and sent.api_key.get_secret_value()) == key
