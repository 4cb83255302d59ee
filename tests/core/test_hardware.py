"""Processors granted by the container, from made-up cgroup files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lagotto.core import hardware
from lagotto.core.hardware import available_cpus, cgroup_cpus, cpu_flags, cpu_name, supports_int8


def test_cgroup_2_quota(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert cgroup_cpus(tmp_path) == 1.5


def test_cgroup_2_without_a_limit(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert cgroup_cpus(tmp_path) is None


def test_cgroup_1_quota(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("300000")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000")
    assert cgroup_cpus(tmp_path) == 3


def test_cgroup_1_without_a_limit(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("-1")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000")
    assert cgroup_cpus(tmp_path) is None


@pytest.mark.parametrize("content", ["", "nonsense\n", "1 two"])
def test_unreadable_quota_is_no_limit(tmp_path: Path, content: str) -> None:
    (tmp_path / "cpu.max").write_text(content)
    assert cgroup_cpus(tmp_path) is None


@pytest.mark.parametrize(("quota", "expected"), [(None, 4), (0.2, 1), (1.5, 2), (9.0, 4)])
def test_quota_cuts_the_affinity_mask_and_is_rounded_up(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(hardware, "cgroup_cpus", lambda: quota)
    assert available_cpus() == expected


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"avx2", "fma"}, False),
        ({"avx2", "avx512f", "avx512bw"}, False),
        (set(), False),
        ({"avx2", "avx_vnni"}, True),
        ({"avx512f", "avx512_vnni"}, True),
        ({"amx_int8"}, True),
        ({"asimd", "asimddp"}, True),
    ],
)
def test_int8_needs_products_that_do_not_overflow(
    monkeypatch: pytest.MonkeyPatch, flags: set[str], expected: bool
) -> None:
    monkeypatch.setattr(hardware, "cpu_flags", lambda: frozenset(flags))
    assert supports_int8() is expected


def test_this_machine_can_be_described() -> None:
    assert available_cpus() >= 1
    assert isinstance(cpu_flags(), frozenset)
    assert cpu_name()
