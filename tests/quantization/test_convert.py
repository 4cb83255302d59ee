"""The folder of int8 weights: what is in its files, and what is not taken over."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pytest

from lagotto.cards.starter import RECORD
from lagotto.cards.weights import INT8_WEIGHTS, Weights
from lagotto.quantization.convert import Converted, convert
from support.calibration import texts
from support.checkpoints import BERT, DenseLayer, write_embedder
from support.engines import checkpoint_of, tokenizer_of


def converted(folder: Path, out: Path, max_noise: float = 0.02, inner: str = "") -> tuple[Converted, Weights]:
    out.mkdir()
    checkpoint = checkpoint_of(folder, "rerank" if "reranker" in folder.name else "embed")
    sequences = tokenizer_of(checkpoint).encode(texts(48), checkpoint.max_length)
    return convert(checkpoint, folder, sequences, out, 1, max_noise), Weights.open(out / inner)


def test_linear_layers_are_int8_and_the_rest_is_kept(tiny_bert: Path, tmp_path: Path) -> None:
    made, found = converted(tiny_bert, tmp_path / "out")
    source = Weights.open(tiny_bert)
    assert [layer.name for layer in made.layers if layer.quantized] == [layer.name for layer in made.layers]
    assert len(made.layers) == 6 * BERT.layers
    assert made.kept == ()
    for layer in made.layers:
        weight, scale, steps = (found[f"{layer.name}.{part}"] for part in ("weight", "weight_scale", "input_scale"))
        assert weight.dtype == np.int8
        close = weight.astype(np.float32) * scale[:, None] / steps
        error = np.abs(close - source[f"{layer.name}.weight"]) * steps / scale[:, None]
        assert error.max() <= 0.51  # of a step, both ways
    others = set(source) - {f"{layer.name}.{part}" for layer in made.layers for part in ("weight", "bias")}
    assert others <= set(found)
    for name in others:
        matrix = source[name].ndim > 1
        assert found[name].dtype == (np.float16 if matrix else np.float32)
        np.testing.assert_allclose(found[name], source[name], atol=2e-3 if matrix else 0)
    assert made.bytes_before == (tiny_bert / "model.safetensors").stat().st_size
    assert made.bytes_after == (tmp_path / "out" / INT8_WEIGHTS).stat().st_size < made.bytes_before / 2


def test_query_key_and_value_share_their_steps(tiny_bert: Path, tmp_path: Path) -> None:
    _, found = converted(tiny_bert, tmp_path / "out")
    for layer in range(BERT.layers):
        name = f"encoder.layer.{layer}.attention.self"
        for part in ("key", "value"):
            np.testing.assert_array_equal(found[f"{name}.query.input_scale"], found[f"{name}.{part}.input_scale"])


def test_the_same_texts_give_the_same_bytes(tiny_xlmr: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        converted(tiny_xlmr, tmp_path / name)
    one, two = (tmp_path / name / INT8_WEIGHTS for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("max_noise", [0.0, 1e-4])
def test_layers_that_would_lose_too_much_stay_as_they_were(tiny_bert: Path, tmp_path: Path, max_noise: float) -> None:
    made, found = converted(tiny_bert, tmp_path / "out", max_noise)
    assert (len(made.kept) == len(made.layers)) is (max_noise == 0)
    assert made.kept
    for layer in made.layers:
        assert layer.quantized is (layer.noise <= max_noise)
        assert (f"{layer.name}.weight_scale" in found) is layer.quantized
        assert found[f"{layer.name}.weight"].dtype == (np.int8 if layer.quantized else np.float16)


def test_a_rerankers_prefix_and_head_are_kept(tiny_xlmr_reranker: Path, tmp_path: Path) -> None:
    made, found = converted(tiny_xlmr_reranker, tmp_path / "out")
    assert all(layer.name.startswith("roberta.encoder.layer.") for layer in made.layers)
    assert found["classifier.dense.weight"].dtype == np.float16


def test_files_that_are_copied_and_files_that_are_not(tmp_path: Path) -> None:
    folder = write_embedder(tmp_path / "model", BERT, dense=[DenseLayer()])
    kept = ["README.md", "sparse_linear.pt", "colbert_linear.safetensors", "1_Pooling/notes.txt"]
    left = ["model.onnx", "onnx/model.onnx", "openvino/openvino_model.bin", "pytorch_model.bin", "tf_model.h5"]
    left += [".git/HEAD", ".gitattributes", "model.fp16.safetensors", RECORD, "optimizer.pt", "checkpoint-10/a.bin"]
    for name in kept + left:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)
    converted(folder, tmp_path / "out")
    out = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    source = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert out == source - set(left) - {"model.safetensors"} | {INT8_WEIGHTS}
    assert "2_Dense/model.safetensors" in out
    assert (tmp_path / "out/README.md").read_text() == "README.md"


def test_a_transformer_in_a_folder_of_its_own(tmp_path: Path) -> None:
    folder = write_embedder(tmp_path / "model", BERT, transformer="0_Transformer")
    converted(folder, tmp_path / "out", inner="0_Transformer")
    assert not (tmp_path / "out/0_Transformer/model.safetensors").exists()
    assert (tmp_path / "out/modules.json").is_file()


def test_a_store_that_is_read_only(tmp_path: Path) -> None:
    folder = write_embedder(tmp_path / "model", BERT)
    for path in folder.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    folder.chmod(0o555)
    try:
        converted(folder, tmp_path / "out")
    finally:
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755)
    for path in (tmp_path / "out/1_Pooling", tmp_path / "out/config.json"):
        assert path.stat().st_mode & stat.S_IWUSR
