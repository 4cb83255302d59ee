"""What is the torch engine's own: which engine is chosen, threads, compiling, kernels for packed texts."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lagotto import Embedder
from lagotto.core.errors import UnsupportedModelError
from support.checkpoints import BERT, some_texts, write_embedder
from support.engines import checkpoint_of, compute, encode

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from lagotto.engines.torch import attention, packing, softcap  # noqa: E402
from lagotto.engines.torch.engine import TorchEngine  # noqa: E402
from lagotto.engines.torch.forward import Forward  # noqa: E402

TEXTS = some_texts(30)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "openvino"),
        ({"device": "cpu"}, "openvino"),
        ({"engine": "openvino"}, "openvino"),
        ({"engine": "torch"}, "torch"),
        ({"engine": "torch", "device": "cpu"}, "torch"),
    ],
)
def test_which_engine_runs_a_bert_model(tiny_bert: Path, options: Any, name: str) -> None:
    with Embedder(tiny_bert, threads=1, **options) as model:
        assert (model.engine.name, model.engine.device) == (name, "cpu")


def test_auto_never_leaves_the_cpu_unless_torch_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from support.architectures import write_architecture

    seen: list[tuple[str, ...]] = []

    def refuse(asked: tuple[str, ...]) -> None:
        seen.append(asked)
        raise UnsupportedModelError("enough seen")

    monkeypatch.setattr("lagotto.engines.torch.devices.choose_devices", refuse)
    folder = write_architecture(tmp_path / "model", "distilbert")
    for options in ({}, {"device": "auto", "engine": "torch"}, {"device": "cuda:1"}):
        with pytest.raises(UnsupportedModelError, match="enough seen"):
            Embedder(folder, **options)  # type: ignore[arg-type]
    assert seen == [("cpu",), ("auto",), ("cuda:1",)]
    with pytest.raises(UnsupportedModelError, match="'openvino' runs bert, .*; pass engine='torch' for"):
        Embedder(folder, engine="openvino")


@pytest.mark.usefixtures("no_gpu")
def test_a_fingerprint_tells_the_engines_apart(tiny_bert: Path) -> None:
    found = set()
    for options in ({}, {"engine": "torch"}):
        with Embedder(tiny_bert, precision="f32", threads=1, **options) as model:  # type: ignore[arg-type]
            found.add(model.fingerprint)
    assert len(found) == 2


def test_config_json_counts_where_transformers_reads_it(tmp_path: Path, cache: Path) -> None:
    from support.architectures import write_architecture
    from support.checkpoints import change_json

    folder = write_architecture(tmp_path / "model", "modernbert")
    before = checkpoint_of(folder).fingerprint("f32", cache)
    change_json(folder / "config.json", local_attention=16)
    assert checkpoint_of(folder).fingerprint("f32", cache) != before


def test_it_computes_with_the_threads_it_was_given(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, seen = torch.get_num_threads(), list[int]()

    class Recorded:
        def __init__(self, compute: Any, device: str) -> None:
            self._compute = compute

        def __call__(self, *given: Any) -> Any:
            seen.append(torch.get_num_threads())
            return self._compute(*given)

    monkeypatch.setattr("lagotto.engines.torch.engine.WithinMemory", Recorded)
    try:
        engines = [TorchEngine(checkpoint_of(tiny_bert), "cpu", "f32", threads) for threads in (1, 2, 1)]
        for engine in engines:
            engine.submit(_whole(encode(tiny_bert, TEXTS))).result()
            engine.close()
    finally:
        torch.set_num_threads(before)
    assert [threads for threads, _ in groupby(seen)] == [1, 2, 1]


def test_compiling_is_asked_of_torch(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def compiled(module: Any, **options: Any) -> Any:
        asked.append(options)
        return module

    monkeypatch.setattr("torch.compile", compiled)
    engine = TorchEngine(checkpoint_of(tiny_bert), "cpu", "f32", 1, compile=True)
    assert compute(engine, encode(tiny_bert, TEXTS), 0).shape == (30, 32)
    engine.close()
    assert asked == [{"dynamic": True}]


def test_packing_what_can_not_be_packed_is_refused(tmp_path: Path) -> None:
    from support.architectures import write_architecture

    folder = write_architecture(tmp_path / "model", "mpnet")
    with pytest.raises(ValueError, match="texts of mpnet can't be packed"):
        TorchEngine(checkpoint_of(folder), "cpu", "f32", 1, packing=True)


def test_packing_is_for_gpus_with_a_kernel(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = checkpoint_of(tiny_bert).config

    class Module:
        class config:  # noqa: N801 - as transformers calls it
            hidden_size, num_attention_heads = 32, 2

    def pays(device: str = "cuda:0", half: bool = True) -> bool:
        return packing.should_pack(config, "embed", Module, device, half)

    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: (8, 0))
    monkeypatch.setattr(packing, "find_kernel", lambda: attention.attend)
    monkeypatch.setattr(packing, "_release", lambda: 5)
    assert pays()
    assert not pays("cpu")
    assert not pays("mps")
    assert not pays(half=False)
    monkeypatch.setattr(Module.config, "num_attention_heads", 3)  # FlashAttention wants multiples of eight
    assert not pays()
    monkeypatch.setattr(Module.config, "num_attention_heads", 2)
    monkeypatch.setattr(packing, "find_kernel", lambda: None)
    assert not pays()
    monkeypatch.setattr(packing, "find_kernel", lambda: attention.attend)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: (7, 5))
    assert not pays()
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: (8, 0))
    monkeypatch.setattr(packing, "_release", lambda: 4)
    assert not pays()


def test_capped_scores_are_always_packed(tmp_path: Path) -> None:
    from support.architectures import write_architecture

    checkpoint = checkpoint_of(write_architecture(tmp_path / "model", "gemma2"))
    assert Forward(checkpoint, "cpu", "f32").packing == packing.can_pack(checkpoint.config, "embed")
    assert not Forward(checkpoint, "cpu", "f32", packing=False).packing  # transformers' own plain attention


# A kernel gets (tokens, heads, width); this one stands in for FlashAttention's, and is told apart by what it is asked.


def plain(q: Any, k: Any, v: Any, texts: Any, scale: Any, window: tuple[int, int], causal: bool, cap: float) -> Any:
    outputs, start = [], 0
    assert texts.bounds.tolist() == np.cumsum([0, *texts.lengths]).tolist()
    for length in texts.lengths:
        part = [x[start : start + length].transpose(0, 1) for x in (q, k, v)]
        part[1:] = [x.repeat_interleave(q.shape[1] // k.shape[1], dim=0) for x in part[1:]]
        scores = part[0] @ part[1].transpose(1, 2) * (q.shape[-1] ** -0.5 if scale is None else scale)
        if cap:
            scores = cap * torch.tanh(scores / cap)
        gap = torch.arange(length)[:, None] - torch.arange(length)[None, :]
        seen = gap >= (0 if causal else -length if window[1] < 0 else -window[1])
        if window[0] >= 0:
            seen &= gap <= window[0]
        outputs.append((scores.masked_fill(~seen, -torch.inf).softmax(-1) @ part[2]).transpose(0, 1))
        start += length
    return torch.cat(outputs)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [None, 4, 100])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("cap", [None, 0.5])
def test_text_by_text_and_a_kernel_agree(
    causal: bool, window: int | None, groups: int, cap: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(softcap, "BLOCK", 5)
    lengths, draw = (9, 9, 7, 1, 1, 1, 12), torch.Generator().manual_seed(3)
    bounds = torch.tensor(np.cumsum([0, *lengths]), dtype=torch.int32)
    texts = attention.Packing(lengths, bounds)
    query = torch.randn(1, 4, sum(lengths), 8, generator=draw)
    key, value = (torch.randn(1, 4 // groups, sum(lengths), 8, generator=draw) for _ in range(2))

    class Layer:
        is_causal = causal

    with attention.packed(texts):
        found, _ = attention.attend(Layer, query, key, value, sliding_window=window, softcap=cap)
    side = -1 if window is None else window - 1
    rows = [x[0].transpose(0, 1) for x in (query, key, value)]
    expected = plain(*rows, texts, None, (side, side), causal, cap or 0.0)[None]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_kernels_are_asked_in_their_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    from types import ModuleType

    asked: list[dict[str, Any]] = []

    def flash_attn_varlen_func(*tensors: Any, **options: Any) -> str:
        asked.append(options)
        return "flash"

    module = ModuleType("flash_attn")
    module.flash_attn_varlen_func = flash_attn_varlen_func  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flash_attn", module)
    texts, x = attention.Packing((3, 2), torch.tensor([0, 3, 5])), torch.zeros(5, 2, 8)
    kernel = attention.find_kernel()
    assert kernel is not None
    assert kernel(x, x, x, texts, 0.5, (3, 3), True, 0.0) == "flash"
    assert asked == [{"softmax_scale": 0.5, "causal": True, "window_size": (3, 3)}]
    assert attention.find_kernel(capped=True) is None  # a release that has no cap

    def with_cap(*tensors: Any, softcap: float = 0.0, **options: Any) -> float:
        return softcap

    module.flash_attn_varlen_func = with_cap  # type: ignore[attr-defined]
    kernel = attention.find_kernel(capped=True)
    assert kernel is not None
    assert kernel(x, x, x, texts, 0.5, (3, 3), True, 50.0) == 50.0

    varlen = pytest.importorskip("torch.nn.attention.varlen")
    seen: list[dict[str, Any]] = []

    def varlen_attn(
        *tensors: Any, scale: Any = None, window_size: tuple[int, int] = (-1, -1), enable_gqa: bool = False
    ) -> str:
        seen.append({"scale": scale, "window_size": window_size, "enable_gqa": enable_gqa})
        return "torch"

    monkeypatch.setitem(sys.modules, "flash_attn", None)
    monkeypatch.setattr(varlen, "varlen_attn", varlen_attn)
    kernel = attention.find_kernel()
    assert kernel is not None
    assert kernel(x, x[:, :1], x[:, :1], texts, None, (-1, -1), True, 0.0) == "torch"
    kernel(x, x, x, texts, 0.5, (3, 3), False, 0.0)
    assert attention.find_kernel(capped=True) is None
    assert seen == [
        {"scale": None, "window_size": (-1, 0), "enable_gqa": True},
        {"scale": 0.5, "window_size": (3, 3), "enable_gqa": False},
    ]
    monkeypatch.setattr(varlen, "varlen_attn", lambda q, k, v, is_causal=False: "older")
    assert attention.find_kernel() is None


def test_a_models_vectors_do_not_change_what_others_get(tmp_path: Path) -> None:
    """The registered function is shared, the place of texts is not: a packed and a padded model side by side."""
    folder = write_embedder(tmp_path / "model", BERT, pooling="mean")
    if not packing.can_pack(checkpoint_of(folder).config, "embed"):
        pytest.skip("this transformers takes no packed texts")
    checkpoint, sequences = checkpoint_of(folder), encode(folder, TEXTS)
    engines = [TorchEngine(checkpoint, "cpu", "f32", 1, packing=choice) for choice in (True, False, True)]
    started = [engine.submit(batch) for engine in engines for batch in [_whole(sequences)] * 4]
    expected = started[0].result()
    for future in started:
        np.testing.assert_allclose(future.result(), expected, atol=1e-5)
    for engine in engines:
        engine.close()


def _whole(sequences: Any) -> Any:
    from lagotto.batch.sequences import pad

    return pad(sequences, range(len(sequences)), 0)
