"""``lagotto serve``: flags become settings."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def served(monkeypatch):
    """The settings the server was started with."""
    found = []
    monkeypatch.setattr("lagotto.server.run.serve", lambda settings, read: found.append(settings))
    return found


def test_flags(run, served, tmp_path):
    listening = ["--host", "0.0.0.0", "--port", "9", "--log-level", "warning"]
    computing = ["--precision", "f32", "--weights", "int8", "--threads", "3"]
    running = [*computing, "--offline", "--engine", "torch", "--device", "cuda:0,cuda:1"]
    result = run(
        "serve", "-m", "a", "-m", "b", *listening, *running, "--models-dir", tmp_path, "--cache-dir", tmp_path / "c"
    )
    assert result.exit_code == 0, result.output
    (settings,) = served
    assert settings.models == ["a", "b"]
    assert (settings.host, settings.port, settings.log_level) == ("0.0.0.0", 9, "warning")
    assert (settings.engine, settings.device) == ("torch", "cuda:0,cuda:1")
    assert (settings.precision, settings.weights, settings.threads, settings.offline) == ("f32", "int8", 3, True)
    assert (settings.model_storage_path, settings.cache_dir) == (tmp_path, tmp_path / "c")


def test_what_is_not_given_is_left_to_the_settings_file(run, served, tmp_path, monkeypatch):
    file = tmp_path / "settings.toml"
    file.write_text('models = ["x"]\nport = 1234\nhost = "::1"\noffline = true\n')
    monkeypatch.setenv("LAGOTTO_PORT", "99")
    run("serve", "--config", file, "--host", "127.0.0.1")
    (settings,) = served
    assert (settings.models, settings.port, settings.host, settings.offline) == (["x"], 99, "127.0.0.1", True)


def test_a_bad_setting_is_one_line(run, served, tmp_path):
    result = run("serve", "--config", tmp_path / "none.toml")
    assert result.exit_code == 1
    assert result.stderr.startswith("lagotto: error: settings file ")
    assert run("serve", "--precision", "int3").exit_code == 1
    assert served == []


def test_paths_stay_paths(run, served):
    run("serve", "--cache-dir", "here")
    assert served[0].cache_dir == Path("here")


def test_the_cache_can_be_left_out(run, served):
    run("serve", "-m", "a")
    run("serve", "-m", "a", "--no-cache")
    assert [settings.embedding_cache for settings in served] == [True, False]


def test_a_reload_reads_the_file_again_below_the_same_flags(run, monkeypatch, tmp_path):
    file, found = tmp_path / "settings.toml", []
    monkeypatch.setattr("lagotto.server.run.serve", lambda settings, read: found.extend([settings, read]))
    file.write_text('models = ["x"]\nport = 1\n')
    run("serve", "--config", file, "--port", "2")
    file.write_text('models = ["y"]\nport = 3\n')
    again = found[1]()
    assert (again.models, again.port) == (["y"], 2)
