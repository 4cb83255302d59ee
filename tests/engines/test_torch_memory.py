"""What happens when the memory of a device is too small, with a memory that counts tokens."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from lagotto.batch.sequences import Batch
from lagotto.core.errors import OutOfMemoryError
from lagotto.engines.base import Output
from support.engines import ManualEngine, Vectors

torch = pytest.importorskip("torch")

from lagotto.engines.torch.memory import WithinMemory  # noqa: E402


class Device:
    """Runs out of memory on batches of more than so many padded tokens."""

    def __init__(self, tokens: int) -> None:
        self.tokens, self.tried = tokens, list[tuple[int, int]]()

    def __call__(self, batch: Batch, output: Output) -> Vectors:
        self.tried.append((batch.ids.shape[0], batch.ids.shape[1]))
        if batch.ids.size > self.tokens:
            raise torch.OutOfMemoryError(f"tried to allocate {batch.ids.size} tokens\nof memory")
        if output == "states":
            return np.repeat(batch.ids[:, :, None], 4, axis=2).astype(np.float32)
        return ManualEngine.answer(batch)


def batch(rows: int, tokens: int) -> Batch:
    ids = np.arange(rows * tokens, dtype=np.int32).reshape(rows, tokens)
    return Batch(ids, np.full(rows, tokens, np.int32), np.full(rows, tokens, np.int32), 0)


def test_what_fits_is_computed_at_once() -> None:
    device = Device(100)
    compute = WithinMemory(device, "cpu")
    np.testing.assert_array_equal(compute(batch(10, 10), "pooled"), ManualEngine.answer(batch(10, 10)))
    assert device.tried == [(10, 10)]
    assert compute.limit is None


@pytest.mark.parametrize("output", ["pooled", "states"])
@pytest.mark.parametrize("rows", [2, 3, 7, 16, 33])
def test_a_batch_is_halved_until_it_fits_and_rows_keep_their_places(rows: int, output: Output) -> None:
    given = batch(rows, 10)
    expected = Device(10_000)(given, output)
    np.testing.assert_array_equal(WithinMemory(Device(25), "cpu")(given, output), expected)


def test_what_fitted_is_remembered_and_told(caplog: pytest.LogCaptureFixture) -> None:
    device = Device(45)
    compute = WithinMemory(device, "cuda:9")
    with caplog.at_level(logging.WARNING):
        compute(batch(16, 10), "pooled")
    assert device.tried == [(16, 10), (8, 10), (4, 10), (4, 10), (8, 10), (4, 10), (4, 10)]
    assert compute.limit == 40
    first = caplog.records[0].getMessage()
    assert first.startswith(
        "cuda:9 ran out of memory on a batch of 16 texts, padded to 10 tokens each; batches have at"
    )
    assert "at most 80 tokens from now on (tried to allocate 160 tokens)" in first
    device.tried.clear()
    np.testing.assert_array_equal(compute(batch(9, 10), "pooled"), ManualEngine.answer(batch(9, 10)))
    assert device.tried == [(4, 10), (4, 10), (1, 10)]
    compute(batch(4, 10), "pooled")
    assert device.tried[-1] == (4, 10)


def test_one_text_that_does_not_fit_is_an_error_with_its_length() -> None:
    compute = WithinMemory(Device(50), "cuda:0")
    with pytest.raises(OutOfMemoryError, match=r"one text of 60 tokens does not fit the memory of cuda:0.*max_length"):
        compute(batch(3, 60), "pooled")
    with pytest.raises(MemoryError):
        compute(batch(1, 60), "pooled")
    np.testing.assert_array_equal(compute(batch(2, 20), "pooled"), ManualEngine.answer(batch(2, 20)))


@pytest.mark.parametrize("error", [RuntimeError("CUDA error: illegal address"), MemoryError("host"), ValueError("x")])
def test_any_other_error_surfaces_unchanged(error: Exception) -> None:
    def broken(given: Batch, output: Output) -> Vectors:
        raise error

    with pytest.raises(type(error)) as caught:
        WithinMemory(broken, "cpu")(batch(4, 4), "pooled")
    assert caught.value is error
