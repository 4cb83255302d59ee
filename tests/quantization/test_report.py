"""The report as JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from lagotto import QuantizationReport
from lagotto.quantization.convert import Converted, Layer
from lagotto.quantization.gate import Agreement, Limits, Quality
from lagotto.quantization.report import write_report
from support.strict_json import strict_json

REPORT = QuantizationReport(
    out=Path("/models/int8"),
    source="BAAI/bge-m3",
    fingerprint="0" * 32,
    task="embed",
    accepted=True,
    forced=False,
    verdict="mean cosine 0.99900; nDCG@10 not measured",
    agreement=Agreement(10, {"mean": 0.999}, 0.99, 0.98),
    quality=(Quality("mine", 0.5, 0.49),),
    limits=Limits(),
    converted=Converted((Layer("a", 0.001, True), Layer("b", 0.5, False)), 100, 30),
    calibration="texts.jsonl",
    samples=265,
)


def test_all_of_it_is_in_the_dictionary() -> None:
    found = json.loads(json.dumps(REPORT.to_dict()))
    assert (found["format"], found["precision"], found["out"]) == (1, "int8", "/models/int8")
    assert found["agreement"]["cosine"] == {"mean": 0.999}
    assert round(found["quality"][0].pop("loss"), 6) == 1.0
    assert found["quality"] == [{"dataset": "mine", "original": 0.5, "int8": 0.49}]
    assert found["converted"]["layers"][1] == {"name": "b", "noise": 0.5, "quantized": False}
    assert found["limits"] == {"mean_cosine": 0.998, "rank_correlation": 0.99, "ndcg_loss": 0.5}
    assert [layer.name for layer in REPORT.converted.kept] == ["b"]


def test_the_file_does_not_say_where_it_lies_and_is_strict_json(tmp_path: Path) -> None:
    bad = replace(REPORT, agreement=Agreement(10, {"mean": float("nan")}, float("inf"), 0.0))
    write_report(tmp_path / "quantization.json", bad.to_dict())
    found = strict_json((tmp_path / "quantization.json").read_text())
    assert "out" not in found
    assert found["agreement"]["cosine"]["mean"] is None
    assert found["agreement"]["pearson"] is None


def test_usable_is_accepted_or_forced() -> None:
    assert REPORT.usable
    assert not replace(REPORT, accepted=False).usable
    assert replace(REPORT, accepted=False, forced=True).usable
