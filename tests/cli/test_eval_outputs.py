"""``lagotto eval`` over several outputs of one model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.checkpoints import write_m3
from support.collection import write_collection
from support.errors import one_line
from support.strict_json import strict_json

FAST = ("--precision", "f32", "--threads", "1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The miniature collection."""
    return write_collection(tmp_path / "mini")


def test_outputs_of_one_model_from_one_command(run, folder, tmp_path):
    model = write_m3(tmp_path / "tiny-m3")
    args = ["--pooling", "cls", "--sparse", "--multivector", "--fuse", "dense=0.2, sparse=0.8", "--rescore-top-k", "9"]
    args += ["--rescore", "dense=0.15,sparse=0.5,multivector=0.35", "--measure", "ndcg@10", *FAST]
    result = run("eval", "-d", folder, "-m", model, "--json", *args)
    assert result.exit_code == 0, result.output
    report = strict_json(result.stdout)
    fused = "tiny-m3 [dense 0.2 + sparse 0.8]"
    assert [system["name"] for system in report["systems"]] == [
        *("tiny-m3", "tiny-m3 [sparse]", "tiny-m3 [multivector]", fused),
        f"{fused} → dense 0.15 + sparse 0.5 + multivector 0.35",
    ]
    # What the report says of a system is what a pipeline file says.
    description = report["systems"][-1]["description"]
    lines = ["[[system]]", f'name = "{fused}"', f"top_k = {description['top_k']}"]
    for table, rows in (("[[system.leg]]", description["leg"]), ("[system.fusion]", [description["fusion"]])):
        for row in rows:
            lines += [table, *(f"{key} = {json.dumps(value)}" for key, value in row.items())]
    lines += ["[system.rescore]", *(f"{key} = {json.dumps(value)}" for key, value in description["rescore"].items())]
    (tmp_path / "p.toml").write_text("\n".join(lines))
    again = run("eval", "-d", folder, "--pipeline", tmp_path / "p.toml", "--pooling", "cls", "--json", *args[-6:])
    assert again.exit_code == 0, again.output
    assert strict_json(again.stdout)["results"][0]["metrics"] == report["results"][-1]["metrics"]


@pytest.mark.parametrize("text", ["", "dense", "dense=", "=1", "dense=x", "dense=1,dense=2", "dense=1;sparse=2", "1,2"])
@pytest.mark.parametrize("option", ["--fuse", "--rescore"])
def test_weights_that_make_no_sense_are_refused_before_work(run, folder, option, text, monkeypatch):
    monkeypatch.setattr("lagotto.evaluation.evaluate.evaluate", lambda *_, **__: pytest.fail("worked"))
    one_line(run("eval", "-d", folder, option, text), rf"{option} is .*; say OUTPUT=WEIGHT,..., as dense=0.2,sparse")
