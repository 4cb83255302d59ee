"""``lagotto doctor``."""

from __future__ import annotations

import json
import os
import sys

import pytest

import lagotto


def test_sections(run, tmp_path):
    result = run("doctor", "--json", "--cache-dir", tmp_path)
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["versions"]["lagotto"] == lagotto.__version__
    assert facts["processor"]["precision auto"] in ("f32", "bf16")
    assert int(facts["processor"]["threads"].split()[0]) >= 1
    assert facts["cache"] == {"folder": str(tmp_path), "exists": True, "size_mb": 0.0, "writable": True}
    assert facts["extras"]["parquet"] == "installed"
    assert facts["problems"] == []


def test_text(run):
    lines = run("doctor").stdout.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [
        "versions",
        "processor",
        "torch devices",
        "cache",
        "starter models",
        "extras",
        "settings",
        "problems",
    ]
    assert lines[-1] == "  none"


def test_the_devices_of_torch(run):
    pytest.importorskip("torch")
    facts = json.loads(run("doctor", "--json").stdout)["torch devices"]
    assert facts["cpu"] in ("precision auto is f32", "precision auto is bf16")
    assert facts["torch"][0].isdigit()


def test_without_torch(run, monkeypatch):
    monkeypatch.setattr("lagotto.cli.doctor.find_spec", lambda name: None)
    assert 'not installed: pip install "lagotto[torch]"' in run("doctor").stdout


def test_a_torch_that_does_not_work(run, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setitem(sys.modules, "lagotto.engines.torch.devices", None)
    result = run("doctor")
    assert result.exit_code == 0
    assert "does not work here" in result.stdout


@pytest.mark.parametrize(
    ("flags", "said"), [({"avx2"}, "does not run here: it needs AVX-VNNI"), ({"avx512_vnni"}, "runs here")]
)
def test_whether_int8_runs(run, monkeypatch, flags, said):
    monkeypatch.setattr("lagotto.core.hardware.cpu_flags", lambda: frozenset(flags))
    facts = json.loads(run("doctor", "--json").stdout)
    assert facts["processor"]["int8"].startswith(said)
    assert facts["problems"] == []


def test_no_secret_is_shown(run, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("LAGOTTO_LLM_API_KEY", "sk-secret")
    monkeypatch.setenv("HF_ENDPOINT", "https://me:secret@mirror.example/hf")
    result = run("doctor")
    assert "secret" not in result.output
    assert "https://***@mirror.example/hf" in result.output
    assert "set (not shown)" in result.output
    assert "LAGOTTO_LLM_API_KEY" in result.output


def test_without_openvino(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "lagotto.engines.openvino.engine", None)
    result = run("doctor")
    assert result.exit_code == 1
    assert "openvino does not work here" in result.stdout


def test_an_absent_starter_package_says_why(run, monkeypatch):
    from lagotto.core.errors import MissingDependencyError

    def absent(starter):
        raise MissingDependencyError(f"{starter.name} is absent")

    monkeypatch.setattr("lagotto.cards.starter.installed_folder", absent)
    assert "bge-small-en-v1.5 is absent" in run("doctor").stdout


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_cache_that_is_read_only(run, tmp_path):
    tmp_path.chmod(0o500)
    result = run("doctor", "--cache-dir", tmp_path / "cache")
    assert result.exit_code == 1
    assert "can't be written: set LAGOTTO_CACHE" in result.stdout


def test_a_cache_below_a_file(run, tmp_path):
    (tmp_path / "file").touch()
    result = run("doctor", "--cache-dir", tmp_path / "file/cache")
    assert result.exit_code == 1
    assert "can't be written: set LAGOTTO_CACHE" in result.stdout
