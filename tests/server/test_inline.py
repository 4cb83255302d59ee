"""Small requests are computed on the event loop's own thread, and it never stands still for them."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from lagotto import Embedder
from lagotto.batch.demand import Demand
from lagotto.server.inline import run_inline

MARK: contextvars.ContextVar[str] = contextvars.ContextVar("mark")


def inline(work: Callable[[Demand], Any], demand: Demand) -> Any:
    return run_inline(lambda: work(demand), demand, contextvars.copy_context())


def test_work_that_never_waits_is_done_at_once() -> None:
    assert asyncio.run(inline(lambda _: threading.get_ident(), Demand())) == threading.get_ident()


def test_an_error_of_the_work_is_that_of_the_caller() -> None:
    def work(demand: Demand) -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        asyncio.run(inline(work, Demand()))


def test_many_wait_side_by_side_in_one_thread_each_in_its_context() -> None:
    parts: list[Future[int]] = [Future() for _ in range(20)]

    def work(number: int) -> Callable[[Demand], Any]:
        def both(demand: Demand) -> tuple[int, int, str, int]:
            first = demand.result(parts[number])
            second = demand.result(parts[(number + 1) % len(parts)])
            return first, second, MARK.get(), threading.get_ident()

        return both

    async def main() -> list[Any]:
        tasks = []
        for number in range(len(parts)):
            MARK.set(f"request {number}")
            tasks.append(asyncio.ensure_future(inline(work(number), Demand())))
        await asyncio.sleep(0)
        for number, part in reversed(list(enumerate(parts))):
            threading.Thread(target=part.set_result, args=(number,)).start()
        return list(await asyncio.gather(*tasks))

    here = threading.get_ident()
    expected = [(number, (number + 1) % 20, f"request {number}", here) for number in range(20)]
    assert asyncio.run(main()) == expected


def test_a_part_that_fails_fails_where_it_is_waited_for() -> None:
    part: Future[int] = Future()

    def work(demand: Demand) -> str:
        try:
            demand.result(part)
        except KeyError:
            return "caught"
        return "missed"

    async def main() -> Any:
        task = asyncio.ensure_future(inline(work, Demand()))
        await asyncio.sleep(0)
        part.set_exception(KeyError("part"))
        return await task

    assert asyncio.run(main()) == "caught"


def test_who_gives_up_unwinds_the_work() -> None:
    steps = []

    def work(demand: Demand) -> None:
        try:
            demand.result(Future())
        finally:
            steps.append("unwound")

    async def main() -> None:
        task = asyncio.ensure_future(inline(work, Demand()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert steps == ["unwound"]


def test_a_demand_blocks_again_when_the_work_is_over() -> None:
    demand = Demand()
    asyncio.run(inline(lambda _: None, demand))
    part: Future[int] = Future()
    threading.Timer(0.01, part.set_result, args=(7,)).start()
    assert demand.result(part) == 7


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the threads that called `Embedder.encode`."""
    names: list[str] = []
    encode = Embedder.encode

    def noted(self: Embedder, *args: Any, **how: Any) -> Any:
        names.append(threading.current_thread().name)
        return encode(self, *args, **how)

    monkeypatch.setattr(Embedder, "encode", noted)
    return names


def embed(client: TestClient, texts: list[str], **headers: str) -> list[list[float]]:
    reply = client.post("/v1/embeddings", json={"model": "bert", "input": texts}, headers=headers)
    assert reply.status_code == 200, reply.text
    return [row["embedding"] for row in reply.json()["data"]]


def test_large_and_bulk_requests_have_threads_and_small_ones_none(
    open_client: Any, tiny_bert: Path, seen: list[str]
) -> None:
    with open_client(models=[f"bert={tiny_bert}"], embedding_cache=False) as client:
        small = embed(client, ["a dog"])
        bulk = embed(client, ["a dog"], **{"x-lagotto-priority": "bulk"})
        large = embed(client, ["a dog"] + ["the cat sat on a dog"] * 500)
    assert small[0] == bulk[0] == pytest.approx(large[0], abs=1e-6)
    assert "lagotto" not in seen[0]
    assert [name.partition("_")[0] for name in seen[1:]] == ["lagotto-bulk", "lagotto-request"]


def test_a_cache_file_is_read_in_a_thread(open_client: Any, tiny_bert: Path, tmp_path: Path, seen: list[str]) -> None:
    with open_client(models=[f"bert={tiny_bert}"], cache_path=tmp_path / "vectors.db") as client:
        embed(client, ["a dog"])
    assert seen[0].startswith("lagotto-request")
