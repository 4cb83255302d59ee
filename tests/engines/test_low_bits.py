"""Matrices in 8 and 4 bits against the same numbers rounded by hand, and what the formats refuse."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from lagotto.core.errors import InvalidInputError, MissingDependencyError, UnsupportedModelError
from lagotto.engines import low_bits
from lagotto.engines.base import EngineInfo, WeightFormat
from lagotto.engines.low_bits import check_combination, check_shape, check_weights, packed_size, require_package
from support.low_bits import FORMATS, INT8, NF4

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from lagotto.engines.torch.low_bits import _bitsandbytes, _int4, pack  # noqa: E402
from lagotto.engines.torch.quiet import quiet_imports  # noqa: E402

CODE = (-1.0, -0.6961928, -0.52507305, -0.3949175, -0.28444138, -0.18477343, -0.09105004, 0.0)
CODE += (0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0)
"""The sixteen numbers of QLoRA's 4-bit NormalFloat (Dettmers et al. 2023, appendix E)."""


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(5)


def matrix(rows: int = 48, columns: int = 192) -> Any:
    made = torch.randn(rows, columns, generator=torch.Generator().manual_seed(3))
    made[:, 0] = 1.01 * made.abs().amax(1)  # as a negative number it would lie midway between -127 and -128
    return made


def by_hand(weight: Any, weights: WeightFormat) -> Any:
    """What the bits stand for, out of the definitions of the formats."""
    if weights == "int8":
        step = weight.abs().amax(1, keepdim=True) / 127.5
        return (weight / step).round().clamp(-128, 127) * step
    groups = weight.reshape(len(weight), -1, 64)
    if weights == "int4":
        low = groups.amin(2, keepdim=True)
        step = (groups.amax(2, keepdim=True) - low) / 15
        return (((groups - low) / step).round() * step + low).reshape(weight.shape)
    code, size = torch.tensor(CODE), groups.abs().amax(2, keepdim=True)
    nearest = (groups[..., None] / size[..., None] - code).abs().argmin(-1)
    return (code[nearest] * size).reshape(weight.shape)


@pytest.mark.parametrize("weights", FORMATS)
def test_a_product_is_that_of_the_numbers_rounded_by_hand(weights: WeightFormat) -> None:
    weight, x, bias = matrix(), torch.randn(2, 5, 192), torch.randn(48)
    with torch.inference_mode():
        found = torch.nn.functional.linear(x, pack(weight, weights, "w"), bias)
    expected = x @ by_hand(weight, weights).T + bias
    assert torch.allclose(found, expected, atol=1e-3)
    assert not torch.allclose(found, x @ weight.T + bias, atol=1e-3)


@pytest.mark.parametrize("weights", FORMATS)
def test_activations_stay_in_their_precision(weights: WeightFormat) -> None:
    weight, x = matrix().bfloat16(), torch.randn(3, 192).bfloat16()
    found = torch.nn.functional.linear(x, pack(weight, weights, "w"))
    assert found.dtype == torch.bfloat16
    expected = x.float() @ by_hand(weight.float(), weights).T
    near = torch.nn.functional.cosine_similarity(found.float(), expected)  # int4 has scales in bfloat16 too
    assert near.min() > (0.995 if weights == "int4" else 0.9999)


@pytest.mark.parametrize("weights", FORMATS)
def test_packed_numbers_take_less_memory(weights: WeightFormat) -> None:
    weight = matrix().bfloat16()
    packed = pack(weight, weights, "w")
    parts = [value for value in vars(packed).values() if isinstance(value, torch.Tensor)]
    size = packed.nbytes if weights == "nf4" else sum(part.nbytes for part in parts)
    assert packed_size(weights, weight.nbytes) <= size < 1.05 * packed_size(weights, weight.nbytes)


@pytest.mark.parametrize("weights", [NF4])
def test_an_nf4_matrix_stands_for_its_numbers_and_is_no_tensor(weights: WeightFormat) -> None:
    packed = pack(matrix(), weights, "w")
    assert torch.allclose(packed.dequantize(), by_hand(matrix(), weights), atol=1e-5)
    with pytest.raises(TypeError, match="no implementation found"):
        torch.nn.functional.relu(packed)


@pytest.mark.parametrize(
    ("weights", "device", "rows", "columns", "message"),
    [
        ("nf4", "cpu", 8, 96, "groups of 64 numbers; 'w' has rows of 96"),
        ("int4", "cuda", 8, 96, "groups of 64 numbers; 'w' has rows of 96"),
        ("int4", "cpu", 40, 64, "16 rows together on a CPU; 'w' has 40"),
    ],
)
def test_sizes_that_a_format_does_not_divide_are_refused(
    weights: WeightFormat, device: str, rows: int, columns: int, message: str
) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        check_shape(weights, device, "w", rows, columns)
    check_shape("int8", device, "w", rows, columns)
    check_shape(weights, "cuda", "w", rows, 64)


@pytest.mark.parametrize(
    ("weights", "device", "precision", "message"),
    [
        ("int4", "mps", "f16", "run on cpu and cuda, device is 'mps'"),
        ("nf4", "mps", "f32", "run on cpu and cuda, device is 'mps'"),
        ("int8", "cuda:0", "f16", "overflows in precision 'f16'"),
        ("int4", "cuda:0", "f16", "multiplied in bf16 alone on a GPU, precision is 'f16'"),
    ],
)
def test_combinations_that_do_not_compute_are_refused(
    weights: WeightFormat, device: str, precision: str, message: str
) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        check_combination(weights, device, precision)
    check_combination(weights, "cuda:0", "bf16")


@pytest.mark.parametrize("weights", [INT8])
def test_int8_is_refused_in_f16_because_its_sums_overflow(weights: WeightFormat) -> None:
    weight, x = torch.full((16, 1024), 0.1).half(), torch.ones(1, 1024).half()
    assert torch.isinf(torch.nn.functional.linear(x, pack(weight, weights, "w"))).all()


def test_an_older_gpu_is_refused_int4(monkeypatch: pytest.MonkeyPatch) -> None:
    class OnGpu:
        device = torch.device("cuda:0")

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    with pytest.raises(UnsupportedModelError, match="card since Ampere, cuda:0 is older"):
        _int4(OnGpu())


def test_a_library_that_does_not_work_here_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(MissingDependencyError, match=r"torchao does not work here.*lagotto\[torch,torchao\]"):
        pack(matrix(), "int8", "w")


def test_a_library_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(low_bits, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"'nf4' needs bitsandbytes: .*lagotto\[torch,bitsandbytes\]"):
        require_package("nf4")
    with pytest.raises(MissingDependencyError, match=r"'int4' needs torchao"):
        require_package("int4")
    require_package("full")


def test_a_format_that_does_not_exist_is_refused() -> None:
    assert [check_weights(name) for name in get_args(WeightFormat)] == list(get_args(WeightFormat))
    with pytest.raises(InvalidInputError, match="weights is 'int2'; allowed are full, int8, int4, nf4"):
        check_weights("int2")


def test_what_an_engine_says_of_its_arithmetic() -> None:
    info = EngineInfo("torch", "cpu", "bf16", 1, 1, 8)
    assert info.arithmetic == "bf16"
    assert EngineInfo("torch", "cpu", "bf16", 1, 1, 8, weights="nf4").arithmetic == "bf16, nf4 weights"


def test_bitsandbytes_is_kept_from_fetching_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bitsandbytes").mkdir()
    (tmp_path / "bitsandbytes/__init__.py").write_text(
        "matmul_4bit = 'product'\nfetched = True\ntry:\n    import kernels\nexcept ImportError:\n    fetched = False\n"
    )
    (tmp_path / "bitsandbytes/functional.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "bitsandbytes"]:
        monkeypatch.delitem(sys.modules, name)
    kernels = type(sys)("kernels")
    monkeypatch.setitem(sys.modules, "kernels", kernels)
    assert _bitsandbytes.__wrapped__()[1] == "product"
    assert sys.modules["bitsandbytes"].fetched is False
    assert sys.modules["kernels"] is kernels
    for name in ("bitsandbytes", "bitsandbytes.functional"):
        del sys.modules[name]  # the real ones, where there are any, come back afterwards


def test_imports_are_quiet_and_loggers_are_as_before(caplog: pytest.LogCaptureFixture) -> None:
    with quiet_imports():
        logging.getLogger("torchao").warning("Failed to load a kernel")
    logging.getLogger("torchao").warning("of use")
    assert [record.message for record in caplog.records] == ["of use"]
