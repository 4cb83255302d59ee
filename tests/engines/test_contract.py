"""What every engine promises; one suite over all of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import get_args

import numpy as np
import pytest

from lagotto.batch.demand import demand
from lagotto.batch.sequences import Batch, Sequences, pad
from lagotto.cards.checkpoint import Checkpoint
from lagotto.core.arrays import normalize
from lagotto.core.errors import ClosedError, DeadlineExceededError, InvalidInputError
from lagotto.engines.base import TOKEN_BUDGET, Engine, Precision, check_precision
from support.checkpoints import BERT, Shape, some_texts, write_embedder
from support.engines import ENGINES, Opener, Vectors, batches, checkpoint_of, compute, encode, held, tokenizer_of

TEXTS = some_texts(120)
FINE = 2e-5


@pytest.fixture(params=list(ENGINES), scope="module")
def opener(request: pytest.FixtureRequest) -> Opener:
    return ENGINES[request.param]


@pytest.fixture(params=["bert", "xlm-roberta"], scope="module")
def checkpoint(request: pytest.FixtureRequest, tiny_bert: Path, tiny_xlmr: Path) -> Checkpoint:
    return checkpoint_of(tiny_bert if request.param == "bert" else tiny_xlmr)


@pytest.fixture(scope="module")
def engine(opener: Opener, checkpoint: Checkpoint, cache: Path) -> Iterator[Engine]:
    opened = opener(checkpoint, "f32", 2, cache)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def sequences(checkpoint: Checkpoint) -> Sequences:
    return tokenizer_of(checkpoint).encode(TEXTS, checkpoint.max_length)


def pad_id(checkpoint: Checkpoint) -> int:
    return checkpoint.config.pad_token_id


def widened(batch: Batch, width: int, pad_with: int) -> Batch:
    ids = np.full((len(batch.ids), width), pad_with, np.int32)
    ids[:, : batch.ids.shape[1]] = batch.ids
    return replace(batch, ids=ids)


def test_it_says_what_it_runs_on(engine: Engine) -> None:
    info = engine.info
    assert info.output == 32
    assert info.threads == 2
    assert info.precision == "f32"
    assert info.name in ENGINES


def test_results_are_float32_and_own_their_memory(engine: Engine, checkpoint: Checkpoint, sequences: Sequences) -> None:
    batch = pad(sequences, [0, 1, 2], pad_id(checkpoint))
    first = engine.submit(batch).result()
    kept = first.copy()
    for _ in range(2 * engine.info.parallel):
        engine.submit(pad(sequences, [5, 6, 7], pad_id(checkpoint))).result()
    assert (first.dtype, first.shape) == (np.float32, (3, 32))
    np.testing.assert_array_equal(first, kept)


def test_the_batch_is_not_written_to(engine: Engine, checkpoint: Checkpoint, sequences: Sequences) -> None:
    batch = pad(sequences, [0, 1, 2], pad_id(checkpoint))
    before = [array.copy() for array in (batch.ids, batch.lengths, batch.second)]
    engine.submit(batch).result()
    for array, copy in zip((batch.ids, batch.lengths, batch.second), before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_a_text_alone_gets_the_vector_it_gets_in_a_batch(
    engine: Engine, checkpoint: Checkpoint, sequences: Sequences
) -> None:
    together = compute(engine, sequences, pad_id(checkpoint), budget=2048)
    alone = compute(engine, sequences, pad_id(checkpoint), budget=1)
    np.testing.assert_allclose(normalize(together), normalize(alone), atol=FINE)


@pytest.mark.parametrize("width", [64, 100])
def test_padding_changes_nothing(engine: Engine, checkpoint: Checkpoint, sequences: Sequences, width: int) -> None:
    if not checkpoint.config.counts_positions_from_padding:
        width = min(width, checkpoint.config.max_tokens)  # BERT has no positions for padding behind its last one
    batch = pad(sequences, range(10), pad_id(checkpoint))
    plain = normalize(engine.submit(batch).result())
    padded = normalize(engine.submit(widened(batch, width, pad_id(checkpoint))).result())
    np.testing.assert_allclose(padded, plain, atol=FINE)


def test_many_threads_get_what_one_gets(engine: Engine, checkpoint: Checkpoint, sequences: Sequences) -> None:
    expected = compute(engine, sequences, pad_id(checkpoint))

    def work(_: int) -> Vectors:
        return compute(engine, sequences, pad_id(checkpoint))

    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(work, range(12)):
            np.testing.assert_allclose(found, expected, atol=FINE)


def test_submitting_never_waits(opener: Opener, tiny_bert: Path, cache: Path) -> None:
    engine, sequences = opener(checkpoint_of(tiny_bert), "f32", 1, cache), encode(tiny_bert, TEXTS)
    batch = pad(sequences, range(40), 0)
    with held(engine, batch):
        started = [engine.submit(batch) for _ in range(100)]
        assert not any(future.done() for future in started)
    expected = started[0].result()
    for future in started:
        np.testing.assert_allclose(future.result(), expected, atol=FINE)
    engine.close()


def test_a_cancelled_batch_is_not_computed(opener: Opener, tiny_bert: Path, cache: Path) -> None:
    engine, sequences = opener(checkpoint_of(tiny_bert), "f32", 1, cache), encode(tiny_bert, TEXTS)
    batch = pad(sequences, range(40), 0)
    with held(engine, batch):
        started = [engine.submit(batch) for _ in range(10)]
        assert all(future.cancel() for future in started[1::2])
    assert all(future.result().shape == (40, 32) for future in started[::2])
    assert all(future.cancelled() for future in started[1::2])
    engine.close()


def test_single_texts_of_many_callers_get_their_own_vectors(
    opener: Opener, checkpoint: Checkpoint, cache: Path, engine: Engine, sequences: Sequences
) -> None:
    expected = normalize(compute(engine, sequences, pad_id(checkpoint)))
    single = opener(checkpoint, "f32", 1, cache)
    with held(single, pad(sequences, [0], pad_id(checkpoint))):  # so that all of them wait side by side
        started = [single.submit(pad(sequences, [row], pad_id(checkpoint))) for row in range(len(sequences))]
    found = normalize(np.concatenate([future.result() for future in started]))
    np.testing.assert_allclose(found, expected, atol=FINE)
    single.close()


def test_a_deadline_and_a_priority_are_kept(opener: Opener, tiny_bert: Path, cache: Path) -> None:
    engine, sequences = opener(checkpoint_of(tiny_bert), "f32", 1, cache), encode(tiny_bert, TEXTS)
    order: list[str] = []
    with held(engine, pad(sequences, range(40), 0)):
        with demand(timeout=0.001):
            late = engine.submit(pad(sequences, [50], 0))
        with demand(priority="bulk"):
            bulk = engine.submit(pad(sequences, [60], 0), "states")
        query = engine.submit(pad(sequences, [70], 0))
        bulk.add_done_callback(lambda _: order.append("bulk"))
        query.add_done_callback(lambda _: order.append("query"))
        time.sleep(0.002)
    with pytest.raises(DeadlineExceededError):
        late.result()
    wait([bulk, query])
    engine.close()
    assert order == ["query", "bulk"]


def test_it_tells_what_waits_and_what_it_did(opener: Opener, tiny_bert: Path, cache: Path) -> None:
    engine, sequences = opener(checkpoint_of(tiny_bert), "f32", 1, cache), encode(tiny_bert, TEXTS)
    fresh = engine.stats()
    assert (fresh.waiting, fresh.batches, fresh.tokens, fresh.tokens_per_second) == (0, 0, 0, 0)
    with held(engine, pad(sequences, range(3), 0)):
        engine.submit(pad(sequences, [50, 60], 0))
        waiting = engine.stats()
        full = [engine.submit(part) for _, part in batches(sequences, 0, TOKEN_BUDGET)]
    wait(full)
    engine.close()
    done = engine.stats()
    assert waiting.waiting == 2
    assert waiting.waiting_tokens == sum(len(sequences.ids[row]) for row in (50, 60))
    assert (done.waiting, done.waiting_tokens, done.failed) == (0, 0, 0)
    assert done.rows >= waiting.rows + 2
    assert done.padded_tokens >= done.tokens > waiting.tokens
    assert done.tokens_per_second > 0


def test_closing_finishes_what_was_started(opener: Opener, tiny_bert: Path, cache: Path) -> None:
    engine, sequences = opener(checkpoint_of(tiny_bert), "f32", 1, cache), encode(tiny_bert, TEXTS)
    batch = pad(sequences, range(40), 0)
    started = [engine.submit(batch) for _ in range(4)]
    engine.close()
    assert all(future.done() and future.result().shape == (40, 32) for future in started)
    engine.close()
    with pytest.raises(ClosedError, match="closed"):
        engine.submit(batch)
    assert engine.info.output == 32


def test_closing_under_load_loses_nothing(opener: Opener, tiny_bert: Path, cache: Path) -> None:
    engine, sequences = opener(checkpoint_of(tiny_bert), "f32", 2, cache), encode(tiny_bert, TEXTS)
    batch, begun = pad(sequences, range(5), 0), Event()
    started: list[Future[Vectors]] = []

    def produce() -> None:
        try:
            while True:
                future = engine.submit(batch)
                started.append(future)
                begun.set()
                future.result()
        except ClosedError:
            return

    producers = [Thread(target=produce) for _ in range(4)]
    for producer in producers:
        producer.start()
    begun.wait()
    engine.close()
    for producer in producers:
        producer.join()
    assert not wait(started, timeout=0).not_done
    assert all(future.result().shape == (5, 32) for future in started)


def test_bf16_keeps_the_direction(
    opener: Opener, checkpoint: Checkpoint, cache: Path, engine: Engine, sequences: Sequences
) -> None:
    half = opener(checkpoint, "bf16", 2, cache)
    exact, rough = (normalize(compute(e, sequences, pad_id(checkpoint))) for e in (engine, half))
    half.close()
    assert (exact * rough).sum(axis=1).min() >= 0.9995


@pytest.mark.parametrize("rows", [1, 7, 1024])
def test_any_number_of_rows(engine: Engine, checkpoint: Checkpoint, sequences: Sequences, rows: int) -> None:
    chosen = [number % 5 for number in range(rows)]
    out = engine.submit(pad(sequences, chosen, pad_id(checkpoint))).result()
    assert out.shape == (rows, 32)
    np.testing.assert_allclose(out[5:], out[:-5] if rows > 5 else out[5:], atol=FINE)


@pytest.mark.parametrize("hidden,heads", [(6, 2), (33, 3), (40, 8), (80, 1)])
def test_odd_widths(opener: Opener, tmp_path: Path, hidden: int, heads: int) -> None:
    shape = Shape(hidden=hidden, heads=heads, inner=hidden + 7, layers=1)
    folder = write_embedder(tmp_path / "model", shape)
    engine = opener(checkpoint_of(folder), "f32", 1, tmp_path)
    out = compute(engine, encode(folder, TEXTS[:9]), BERT.pad_id)
    engine.close()
    assert out.shape == (9, hidden)
    assert np.isfinite(out).all()


def test_batches_cover_all_rows(checkpoint: Checkpoint, sequences: Sequences) -> None:
    rows = [row for chosen, _ in batches(sequences, pad_id(checkpoint)) for row in chosen]
    assert sorted(rows) == list(range(len(TEXTS)))


@pytest.mark.parametrize("precision", ["auto", *get_args(Precision)])
def test_known_precisions_pass(precision: str) -> None:
    check_precision(precision)


@pytest.mark.parametrize("precision", ["", "fp16", "F32", "int4"])
def test_an_unknown_precision_is_refused_with_the_choices(precision: str) -> None:
    with pytest.raises(InvalidInputError, match="auto, f32, bf16"):
        check_precision(precision)


def test_a_token_behind_the_length_sees_and_is_not_seen(
    engine: Engine, sequences: Sequences, checkpoint: Checkpoint
) -> None:
    whole = pad(sequences, [next(i for i, ids in enumerate(sequences.ids) if len(ids) > 9)], pad_id(checkpoint))
    short = replace(whole, lengths=np.array([6], np.int32))
    other = replace(short, ids=whole.ids.copy())
    other.ids[0, 2] += 1  # one that is seen
    cut = replace(short, ids=whole.ids[:, :6])
    states, changed, alone = (engine.submit(batch, "states").result()[0] for batch in (short, other, cut))
    np.testing.assert_allclose(states[:6], alone[:6], atol=FINE)
    assert np.isfinite(states[: whole.ids.shape[1]]).all()
    assert np.abs(states[8] - changed[8]).max() > 1e-3
