"""Compiled graphs on disk: used when sound, made anew when not, and never needed."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import lagotto.engines.openvino.engine as engine_module
from lagotto import Embedder
from lagotto.engines.base import Precision
from support.checkpoints import BERT, change_json, encoder_tensors, some_texts, write_embedder, write_weights

TEXTS = some_texts(20)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A cache of the test's own."""
    return tmp_path / "cache"


def vectors(folder: Path, cache: Path, precision: Precision = "f32", threads: int = 1) -> np.ndarray:
    with Embedder(folder, precision=precision, threads=threads, cache_dir=cache) as model:
        return model.encode(TEXTS).dense


def blob(cache: Path) -> Path:
    (found,) = (cache / "compiled").iterdir()
    return found


@pytest.fixture
def forbid_building(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def fail(*_: object) -> None:
        pytest.fail("the graph was built again")

    return lambda: monkeypatch.setattr(engine_module, "build", fail)


def test_the_second_open_uses_the_first_ones_graph(
    tiny_bert: Path, place: Path, forbid_building: Callable[[], None]
) -> None:
    first = vectors(tiny_bert, place)
    forbid_building()
    np.testing.assert_array_equal(vectors(tiny_bert, place), first)


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def keep_a_few_bytes(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20])


def garbage_with_a_right_digest(path: Path) -> None:
    garbage = b"no graph at all" * 100
    path.write_bytes(garbage + hashlib.sha256(garbage).digest())


@pytest.mark.parametrize("damage", [flip_a_byte, truncate, empty, keep_a_few_bytes, garbage_with_a_right_digest])
def test_a_damaged_graph_is_made_anew(
    tiny_bert: Path,
    place: Path,
    damage: Callable[[Path], None],
    forbid_building: Callable[[], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, path = vectors(tiny_bert, place), blob(place)
    damage(path)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(vectors(tiny_bert, place), first)
    assert path.name in caplog.text
    assert "made anew" in caplog.text
    assert blob(place) == path
    forbid_building()
    np.testing.assert_array_equal(vectors(tiny_bert, place), first)


@pytest.mark.parametrize("where", ["", "compiled"])
def test_a_cache_that_cannot_be_written_costs_a_warning(
    tiny_bert: Path, place: Path, cache: Path, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    (place / where).parent.mkdir(parents=True, exist_ok=True)
    (place / where).write_text("a file where a folder should be")
    with caplog.at_level(logging.WARNING):
        found = vectors(tiny_bert, place)
    assert "can't be kept" in caplog.text
    np.testing.assert_array_equal(found, vectors(tiny_bert, cache))


def test_nothing_is_warned_of_when_all_is_well(tiny_bert: Path, place: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        vectors(tiny_bert, place)
        vectors(tiny_bert, place)
    assert not caplog.records


def test_each_precision_and_thread_count_has_its_own_graph(tiny_bert: Path, place: Path) -> None:
    for precision, threads in (("f32", 1), ("f32", 2), ("bf16", 1)):
        vectors(tiny_bert, place, precision, threads)
    assert len(list((place / "compiled").iterdir())) == 3


def test_changed_weights_get_a_graph_of_their_own(tmp_path: Path, place: Path) -> None:
    folder = write_embedder(tmp_path / "model", BERT)
    before = vectors(folder, place)
    tensors = encoder_tensors(BERT)
    tensors["embeddings.LayerNorm.bias"] += 1
    write_weights(folder, tensors)
    assert np.abs(vectors(folder, place) - before).max() > 1e-3


def test_changed_pooling_gets_a_graph_of_its_own(tmp_path: Path, place: Path) -> None:
    folder = write_embedder(tmp_path / "model", BERT, pooling="cls")
    before = vectors(folder, place)
    change_json(folder / "1_Pooling/config.json", pooling_mode_cls_token=False, pooling_mode_mean_tokens=True)
    assert np.abs(vectors(folder, place) - before).max() > 1e-3


def test_a_copy_of_the_folder_shares_the_graph(
    tmp_path: Path, place: Path, forbid_building: Callable[[], None]
) -> None:
    first = vectors(write_embedder(tmp_path / "one", BERT), place)
    forbid_building()
    np.testing.assert_array_equal(vectors(write_embedder(tmp_path / "two", BERT), place), first)


def test_the_graph_outlives_its_file(tiny_bert: Path, place: Path) -> None:
    first = vectors(tiny_bert, place)
    model = Embedder(tiny_bert, precision="f32", threads=1, cache_dir=place)
    blob(place).unlink()
    np.testing.assert_array_equal(model.encode(TEXTS).dense, first)
    model.close()


_OPEN = """
import json, sys
from lagotto import Embedder
model = Embedder(sys.argv[1], precision="f32", threads=1, cache_dir=sys.argv[2])
print(json.dumps(model.encode(json.loads(sys.argv[3])).dense.tolist()))
"""


def test_two_processes_may_fill_the_cache_at_once(tiny_bert: Path, place: Path) -> None:
    command = [sys.executable, "-c", _OPEN, str(tiny_bert), str(place), json.dumps(TEXTS)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    processes = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) for _ in range(2)]
    answers = [json.loads(process.communicate()[0]) for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    expected = vectors(tiny_bert, place)
    for answer in answers:
        np.testing.assert_array_equal(np.array(answer, np.float32), expected)
    assert blob(place).suffix == ".blob"


def test_kernels_that_are_kept_have_a_bound_which_openvino_knows() -> None:
    """Without one of ours, texts of ever other lengths take memory for an hour."""
    from lagotto.engines.openvino.compiled import Settings, ov

    numbers = ov.opset13.parameter([-1, 4], np.float32)
    graph, properties = ov.Model([ov.opset13.relu(numbers)], [numbers]), Settings("f32", 1, 1).properties()
    assert properties["CPU_RUNTIME_CACHE_CAPACITY"] <= 1000
    assert ov.Core().compile_model(graph, "CPU", properties)
    with pytest.raises(RuntimeError, match="CPU_RUNTIME_CACHE_CAPACITY"):
        ov.Core().compile_model(graph, "CPU", properties | {"CPU_RUNTIME_CACHE_CAPACITY": "many"})
