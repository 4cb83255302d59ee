"""Devices by their spelling, and what torch makes of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lagotto.core.errors import InvalidInputError, UnsupportedModelError
from lagotto.engines.devices import parse_devices


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("auto", ("auto",)),
        ("cpu", ("cpu",)),
        ("cuda", ("cuda",)),
        ("cuda:0,cuda:1", ("cuda:0", "cuda:1")),
        (" cuda:0 , cuda:11 ", ("cuda:0", "cuda:11")),
        (["cpu", "mps"], ("cpu", "mps")),
        (("auto",), ("auto",)),
    ],
)
def test_names_of_devices(given: Any, expected: tuple[str, ...]) -> None:
    assert parse_devices(given) == expected


@pytest.mark.parametrize("given", ["", "gpu", "cuda:", "cuda:x", "CUDA", "cpu:0", [], [0], ["cpu", None], "auto,cpu"])
def test_other_names_are_refused(given: Any) -> None:
    with pytest.raises(InvalidInputError, match="allowed are auto, cpu, mps, cuda and cuda:N"):
        parse_devices(given)


class Cards:
    """Stands in for torch's view of the machine."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("torch")
        self._set = monkeypatch.setattr
        self.cuda(0)
        self.mps(False)

    def cuda(self, count: int, capability: tuple[int, int] = (9, 0)) -> None:
        self._set("torch.cuda.is_available", lambda: count > 0)
        self._set("torch.cuda.device_count", lambda: count)
        self._set("torch.cuda.get_device_capability", lambda device: capability)
        facts = SimpleNamespace(name="Some Card", total_memory=80_000_000_000)
        self._set("torch.cuda.get_device_properties", lambda number: facts)

    def mps(self, there: bool) -> None:
        self._set("torch.backends.mps.is_available", lambda: there)

    def flags(self, *flags: str) -> None:
        self._set("lagotto.engines.torch.devices.cpu_flags", lambda: frozenset(flags))


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> Cards:
    return Cards(monkeypatch)


def test_auto_is_cuda_then_mps_then_the_cpu(cards: Cards) -> None:
    from lagotto.engines.torch.devices import choose_devices

    assert choose_devices(("auto",)) == ("cpu",)
    cards.mps(True)
    assert choose_devices(("auto",)) == ("mps",)
    cards.cuda(2)
    assert choose_devices(("auto",)) == ("cuda:0",)


def test_named_devices_must_be_there(cards: Cards) -> None:
    from lagotto.engines.torch.devices import choose_devices

    assert choose_devices(("cpu", "cpu")) == ("cpu", "cpu")
    with pytest.raises(
        UnsupportedModelError, match=r"'cuda:1' is not here: torch .* finds no CUDA device.*device='cpu'"
    ):
        choose_devices(("cuda:1",))
    with pytest.raises(UnsupportedModelError, match="the GPU of a Mac"):
        choose_devices(("mps",))
    cards.cuda(2)
    assert choose_devices(("cuda", "cuda:1")) == ("cuda:0", "cuda:1")
    with pytest.raises(UnsupportedModelError, match="'cuda:2' is not here: there are cuda:0 to cuda:1"):
        choose_devices(("cuda:2",))


def test_auto_precision_follows_the_hardware(cards: Cards) -> None:
    from lagotto.engines.torch.devices import choose_precision

    cards.cuda(1, (8, 0))
    assert choose_precision("auto", "cuda:0") == "bf16"
    cards.cuda(1, (7, 5))
    assert choose_precision("auto", "cuda:0") == "f16"
    assert choose_precision("auto", "mps") == "f16"
    for flag, expected in (("avx512_bf16", "bf16"), ("amx_bf16", "bf16"), ("bf16", "bf16"), ("avx2", "f32")):
        cards.flags(flag)
        assert choose_precision("auto", "cpu") == expected
    for asked in ("f32", "bf16", "f16"):
        assert choose_precision(asked, "cpu") == asked


def test_devices_are_described(cards: Cards) -> None:
    from lagotto.engines.torch.devices import describe_devices

    cards.cuda(2)
    cards.mps(True)
    found = describe_devices()
    assert list(found) == ["torch", "cuda:0", "cuda:1", "mps", "cpu"]
    assert found["cuda:1"] == "Some Card, 80 GB, precision auto is bf16"
