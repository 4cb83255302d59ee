"""`VectorStore`: a damaged file is computed again, and never read as something else."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from lagotto import Embedder
from lagotto.evaluation import store as module
from lagotto.evaluation.blocks import DENSE, Block, read_block, write_block
from lagotto.evaluation.instructions import Wording
from lagotto.evaluation.pipeline import DenseLeg
from lagotto.evaluation.store import VectorStore
from lagotto.evaluation.workbench import Workbench
from support.checkpoints import some_texts

TEXTS = some_texts(20, seed=1, longest=20)
PLAIN = Wording()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of 8 texts."""
    monkeypatch.setattr(module, "BLOCK", 8)


@pytest.fixture
def model(counts, bench: Workbench, dense: DenseLeg) -> Embedder:
    """`tiny_bert`, whose work is counted."""
    return bench.embedder(dense)


def files(store: VectorStore) -> list[Path]:
    return sorted(store.folder.rglob("*.npz"))


def damages():
    def cut(raw: bytes) -> bytes:
        return raw[: len(raw) // 2]

    def flipped(raw: bytes) -> bytes:
        place = raw.index(b"values.npy") + 200
        return raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]

    return [cut, flipped, lambda raw: b"", lambda raw: b"nonsense", lambda raw: raw[:-1], lambda raw: raw[1:]]


@pytest.mark.parametrize("damage", damages())
def test_a_damaged_file_is_computed_again(store, model, counts, caplog, damage):
    wanted = store.embed(model, TEXTS, PLAIN).values()
    path = files(store)[1]
    path.write_bytes(damage(path.read_bytes()))
    counts.clear()
    with caplog.at_level(logging.WARNING):
        stored = store.embed(model, TEXTS, PLAIN)
    assert f"{path} is damaged" in caplog.text
    assert "is computed again" in caplog.text
    np.testing.assert_allclose(stored.values(), wanted, atol=2e-6)
    assert counts.texts in (4, 8)  # that block alone
    caplog.clear()
    assert store.embed(model, TEXTS, PLAIN).cached == 20
    assert not caplog.records


def test_an_archive_of_something_else_is_computed_again(store, model, caplog):
    store.embed(model, TEXTS[:5], PLAIN)
    with files(store)[0].open("wb") as file:
        np.savez(file, other=np.zeros(3))
    assert not store.embed(model, TEXTS[:5], PLAIN).cached
    assert "is damaged" in caplog.text


def test_objects_in_a_file_are_never_unpickled(store, model, caplog):
    store.embed(model, TEXTS[:5], PLAIN)

    class Trap:
        def __reduce__(self):
            return pytest.fail, ("unpickled",)

    trap = np.empty(1, object)
    trap[0] = Trap()
    with files(store)[0].open("wb") as file:
        np.savez(file, values=trap, tokens=trap, truncated=trap, seconds=trap)
    assert not store.embed(model, TEXTS[:5], PLAIN).cached
    assert "is damaged" in caplog.text


def test_no_flipped_byte_and_no_cut_gives_other_numbers(store, tmp_path, caplog):
    caplog.set_level(logging.CRITICAL)
    path = tmp_path / "block.npz"
    whole = Block(
        np.arange(12, dtype=np.float32).reshape(3, 4),
        np.array([1, 2, 3], np.int32),
        np.array([0, 1, 0], bool),
        1.5,
        False,
    )
    write_block(path, whole, DENSE)
    raw = path.read_bytes()
    read = 0
    for place in range(0, len(raw), 4):
        for bits in (0x01, 0xFF):
            path.write_bytes(raw[:place] + bytes([raw[place] ^ bits]) + raw[place + 1 :])
            if (found := read_block(path, DENSE)) is not None:  # a date in the archive, say
                read += 1
                for name in ("values", "tokens", "truncated"):
                    assert getattr(found, name).dtype == getattr(whole, name).dtype
                    assert (getattr(found, name) == getattr(whole, name)).all()
                assert found.seconds == 1.5
        path.write_bytes(raw[:place])
        assert read_block(path, DENSE) is None
    assert read < len(raw) / 4  # most bytes are guarded
