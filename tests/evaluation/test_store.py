"""`VectorStore`: what it keeps is what the model gives, and nothing stale, damaged or half done is ever read."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import lagotto
from lagotto import Embedder, Reranker
from lagotto.core.errors import ClosedError, InvalidInputError
from lagotto.evaluation import store as module
from lagotto.evaluation.instructions import Wording
from lagotto.evaluation.pipeline import DenseLeg, Rerank
from lagotto.evaluation.store import VectorStore
from lagotto.evaluation.workbench import Workbench
from support.checkpoints import XLMR, some_texts, write_embedder

TEXTS = some_texts(20, seed=1, longest=20)
PLAIN = Wording()
PAIRS = [(f"what is {text}", f"panda {text}") for text in TEXTS]


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 8 texts."""
    monkeypatch.setattr(module, "BLOCK", 8)


@pytest.fixture
def model(counts, bench: Workbench, dense: DenseLeg) -> Embedder:
    """`tiny_bert`, whose work is counted."""
    return bench.embedder(dense)


@pytest.fixture
def judge(counts, bench: Workbench, rerank: Rerank) -> Reranker:
    """`tiny_reranker`, whose work is counted."""
    return bench.reranker(rerank)


def files(store: VectorStore) -> list[Path]:
    return sorted(path for path in store.folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("wording", "encode"),
    [
        (Wording(), lambda model: model.encode(TEXTS)),
        (Wording("query"), lambda model: model.encode_queries(TEXTS)),
        (Wording("document"), lambda model: model.encode_documents(TEXTS)),
        (Wording(prompt="search: "), lambda model: model.encode(TEXTS, prompt="search: ")),
        (Wording("query", instruction="find"), lambda model: model.encode_queries(TEXTS, instruction="find")),
    ],
)
def test_vectors_are_those_of_the_embedder(store, model, wording, encode: Callable[[Embedder], object]):
    stored, wanted = store.embed(model, TEXTS, wording), encode(model)
    np.testing.assert_allclose(stored.values(), wanted.dense, atol=2e-6)
    assert stored.values().dtype == np.float32
    assert stored.tokens.tolist() == wanted.tokens.tolist()
    assert len(stored) == len(TEXTS)
    assert stored.seconds > 0
    assert not stored.cached


def test_scores_are_those_of_the_reranker(store, judge):
    stored, wanted = store.score(judge, PAIRS), judge.score(PAIRS)
    np.testing.assert_allclose(stored.values(), wanted.scores, atol=2e-6)
    assert stored.tokens.tolist() == wanted.tokens.tolist()


def test_texts_that_were_cut_are_marked_and_stay_marked(store, model):
    texts = ["panda", "panda " * 100, "bear"]
    for _ in range(2):
        stored = store.embed(model, texts, PLAIN)
        assert stored.truncated.tolist() == [False, True, False]
        assert stored.tokens.tolist() == [3, 64, 3]


def test_pairs_that_were_cut_are_marked(store, judge):
    pairs = [("panda", "bear " * 1000), ("panda", "bear")]
    assert store.score(judge, pairs, max_windows=1).truncated.tolist() == [True, False]
    assert store.score(judge, pairs, max_windows=None).truncated.tolist() == [False, False]


def test_the_second_time_it_is_read(store, model, judge, counts, small_blocks):
    counts.clear()
    first = store.embed(model, TEXTS, PLAIN)
    scored = store.score(judge, PAIRS)
    assert (counts.texts, counts.pairs) == (20, 20)
    again, scored_again = store.embed(model, TEXTS, PLAIN), store.score(judge, PAIRS)
    assert (counts.texts, counts.pairs) == (20, 20)
    assert (again.cached, scored_again.cached) == (20, 20)
    assert (again.values() == first.values()).all()
    assert (scored_again.values() == scored.values()).all()
    assert again.seconds == pytest.approx(first.seconds)
    assert (again.tokens == first.tokens).all()


def test_another_store_on_the_same_folder_reads_it_too(store, model, counts):
    store.embed(model, TEXTS, PLAIN)
    counts.clear()
    assert VectorStore(store.folder).embed(model, TEXTS, PLAIN).cached == 20
    assert not counts.texts


@pytest.mark.parametrize(
    "wording",
    [Wording("query"), Wording("document"), Wording(prompt=""), Wording(prompt="x"), Wording("query", instruction="x")],
)
def test_another_wording_is_another_entry(store, model, wording):
    store.embed(model, TEXTS, PLAIN)
    assert not store.embed(model, TEXTS, wording).cached
    assert store.embed(model, TEXTS, wording).cached == 20


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["a", "b"], ["b", "a"]),
        (["ab", "c"], ["a", "bc"]),
        (["a", "b"], ["a b"]),
        (["a", ""], ["a"]),
        (["a"], ["A"]),
        (["panda"], ["panda "]),
        (["1 a"], ["1", "a"]),
    ],
)
def test_other_texts_are_another_entry(store, model, before, after):
    store.embed(model, before, PLAIN)
    assert not store.embed(model, after, PLAIN).cached


def test_texts_and_pairs_of_the_same_strings_differ(store, model, judge):
    store.embed(model, ["panda", "bear"], PLAIN)
    scored = store.score(judge, [("panda", "bear")])
    assert not scored.cached
    assert scored.values().shape == (1,)


@pytest.mark.parametrize("options", [{"max_length": 10}, {"truncation": "left"}])
def test_another_length_or_end_is_another_entry(store, tiny_bert, options):
    texts = ["dog " + "panda " * 100]
    with Embedder(tiny_bert, precision="f32", threads=1) as model:
        first = store.embed(model, texts, PLAIN).values()
    with Embedder(tiny_bert, precision="f32", threads=1, **options) as model:
        second = store.embed(model, texts, PLAIN)
        np.testing.assert_allclose(second.values(), model.encode(texts).dense, atol=2e-6)
    assert not second.cached
    assert abs(second.values() - first).max() > 0.01


@pytest.mark.parametrize("options", [{"max_length": 10}, {"truncation": "left"}])
def test_another_length_or_end_is_another_entry_for_pairs(store, tiny_reranker, options):
    pairs = [("dog", "cat " + "panda " * 100)]
    with Reranker(tiny_reranker, precision="f32", threads=1) as model:
        store.score(model, pairs, max_windows=1)
        assert not store.score(model, pairs, max_windows=2).cached
    with Reranker(tiny_reranker, precision="f32", threads=1, **options) as model:
        assert not store.score(model, pairs, max_windows=1).cached


def test_another_model_is_another_entry(store, model, tmp_path):
    store.embed(model, TEXTS, PLAIN)
    folder = write_embedder(tmp_path / "other", replace(XLMR, seed=9))
    with Embedder(folder, precision="f32", threads=1) as other:
        assert not store.embed(other, TEXTS, PLAIN).cached


def test_another_version_of_lagotto_is_another_entry(store, model, monkeypatch):
    store.embed(model, TEXTS, PLAIN)
    monkeypatch.setattr(module, "__version__", "999")
    assert not store.embed(model, TEXTS, PLAIN).cached


def test_a_corpus_that_grew_at_its_end_computes_what_is_new(store, model, counts, small_blocks):
    first = store.embed(model, TEXTS, PLAIN)
    counts.clear()
    grown = store.embed(model, TEXTS + some_texts(10, seed=2), PLAIN)
    assert grown.cached == 16  # two whole blocks of 8
    assert counts.texts == 14
    np.testing.assert_allclose(grown.values()[:20], first.values(), atol=2e-6)


def test_blocks_come_one_by_one_with_their_places(store, model, small_blocks):
    stored = store.embed(model, TEXTS, PLAIN)
    blocks = list(stored.blocks())
    assert [(start, len(values)) for start, values in blocks] == [(0, 8), (8, 8), (16, 4)]
    assert (np.concatenate([values for _, values in blocks]) == stored.values()).all()
    assert stored.sizes == [8, 8, 4]


def test_long_texts_make_small_blocks(store, model, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_CHARACTERS", 40)
    stored = store.embed(model, ["x" * 50, "a", "b", "y" * 39, "c"], PLAIN)
    assert stored.sizes == [1, 3, 1]


def test_no_texts(store, model, judge):
    stored = store.embed(model, [], PLAIN)
    assert len(stored) == len(stored.tokens) == len(stored.values()) == stored.cached == 0
    assert list(stored.blocks()) == []
    assert len(store.score(judge, []).values()) == 0
    assert not store.folder.exists()


def test_texts_are_read_as_they_are_needed(store, model, small_blocks):
    read = []

    def texts():
        for text in TEXTS:
            read.append(text)
            yield text

    class Stop(Exception):
        pass

    def done(_: int) -> None:
        raise Stop

    with pytest.raises(Stop):
        store.embed(model, texts(), PLAIN, done)
    assert len(read) == 8


@pytest.mark.parametrize("text", ["nul \0 byte", "\u2028", "🐕" * 3, "\r\n"])
def test_strange_texts_are_kept(store, model, text):
    store.embed(model, [text], PLAIN)
    assert store.embed(model, [text], PLAIN).cached == 1


def test_half_a_character_is_refused_by_the_model_and_not_by_the_store(store, model):
    with pytest.raises(InvalidInputError):
        store.embed(model, ["lone \ud800"], PLAIN)


def test_progress_hears_of_every_text_once(store, model, judge, small_blocks):
    for _ in range(2):  # computed, then read
        heard: list[int] = []
        store.embed(model, TEXTS, PLAIN, heard.append)
        assert sum(heard) == 20
        heard = []
        store.score(judge, PAIRS, heard.append)
        assert sum(heard) == 20


@pytest.mark.parametrize("kind", [KeyboardInterrupt, RuntimeError])
def test_an_interruption_keeps_whole_blocks(store, model, counts, small_blocks, kind):
    seen = 0

    def done(count: int) -> None:
        nonlocal seen
        seen += count
        if seen > 16:
            raise kind

    with pytest.raises(kind):
        store.embed(model, TEXTS, PLAIN, done)
    assert len(files(store)) == 2
    counts.clear()
    stored = store.embed(model, TEXTS, PLAIN)
    assert (stored.cached, counts.texts) == (16, 4)
    np.testing.assert_allclose(stored.values(), model.encode(TEXTS).dense, atol=2e-6)


def test_an_interruption_while_a_block_is_written_leaves_no_half(store, model, monkeypatch, small_blocks):
    def stop(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            store.embed(model, TEXTS, PLAIN)
    assert files(store) == []


_WRITER = """
import sys, time
from pathlib import Path
import numpy as np
from lagotto.core.values import Embeddings
from lagotto.evaluation import store
from lagotto.evaluation.instructions import Wording

store.BLOCK = 4
class Model:
    fingerprint, max_length, truncation = "f", 64, "right"
    def stream(self, texts, **_):
        time.sleep(0.002)
        n = len(texts)
        dense = np.array([[float(t)] * 64 for t in texts], np.float32)
        yield Embeddings(dense, np.ones(n, np.int32), np.zeros(n, bool))

folder = Path(sys.argv[1])
(folder / sys.argv[2]).touch()
while len(list(folder.glob("ready*"))) < 2:
    time.sleep(0.001)
for round in range(3):
    texts = [str(round * 1000 + i) for i in range(200)]
    stored = store.VectorStore(folder / "vectors").embed(Model(), texts, Wording())
    assert stored.values()[:, 0].tolist() == [float(t) for t in texts]
    print(stored.cached)
"""


def test_two_processes_write_the_same_folder_at_once(tmp_path):
    sources = str(Path(lagotto.__file__).parents[1])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path), f"ready{i}"],
            env={"PYTHONPATH": sources},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for i in range(2)
    ]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [(process.returncode, err) for process, (_, err) in zip(processes, outputs, strict=True)] == [(0, b"")] * 2
    written = [path for path in (tmp_path / "vectors").rglob("*") if path.is_file()]
    assert len(written) == 150
    assert {path.suffix for path in written} == {".npz"}  # no temporary file is left


def test_a_full_disk_is_an_os_error(store, model, monkeypatch):
    def full(path: Path, *parts: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("lagotto.evaluation.blocks.write_atomically", full)
    with pytest.raises(OSError, match="No space left"):
        store.embed(model, TEXTS, PLAIN)


def test_a_folder_that_cannot_be_one_is_an_os_error(model, judge, tmp_path):
    (tmp_path / "file").write_text("")
    store = VectorStore(tmp_path / "file")
    with pytest.raises(OSError, match="file"):
        store.embed(model, TEXTS, PLAIN)
    with pytest.raises(OSError, match="file"):
        store.score(judge, PAIRS)


def test_errors_of_the_model_reach_the_caller(store, model):
    model.close()
    with pytest.raises(ClosedError):
        store.embed(model, TEXTS, PLAIN)
    assert not files(store)
