"""The tutorials run as they stand, with starter models, in an empty folder and without a connection."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from lagotto.core.errors import LagottoError
from lagotto.models.loading import resolve

TUTORIALS = Path(__file__).parents[1] / "docs" / "tutorials"

if not TUTORIALS.is_dir():
    pytest.skip("no tutorials here: these tests belong to the repository", allow_module_level=True)


@pytest.mark.parametrize(
    ("script", "models", "folder"),
    [
        ("evaluation.py", ("bge-small-en-v1.5", "ms-marco-MiniLM-L-12-v2"), "tutorial-evaluation"),
        ("evaluation_zh.py", ("multilingual-e5-small",), "tutorial-evaluation-zh"),
    ],
)
def test_a_tutorial_runs(
    script: str,
    models: tuple[str, ...],
    folder: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for model in models:
        try:
            resolve(f"starter:{model}")
        except LagottoError as error:
            pytest.skip(str(error))
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(TUTORIALS / script))
    report = json.loads((tmp_path / folder / "report" / "report.json").read_text(encoding="utf-8"))
    best = max(result["metrics"]["ndcg@10"]["value"] for result in report["results"])
    assert best > 0.8
    assert (tmp_path / folder / "report" / "report.html").stat().st_size > 10_000
    assert "report.html" in capsys.readouterr().out


def test_every_tutorial_is_run_here() -> None:
    assert {path.name for path in TUTORIALS.glob("*.py")} == {"evaluation.py", "evaluation_zh.py"}
