"""Modules of the page by themselves, loaded by a real browser."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.chromium import Browser

Call = Callable[[str, str], Any]

METRICS = r"""# HELP lagotto_requests_total Requests answered.
# TYPE lagotto_requests_total counter
lagotto_requests_total{route="/v1/encode",status="2xx"} 3.0
lagotto_requests_total{route="/metrics",status="2xx"} 40
lagotto_model_bytes{model="a\"b\\c{},d=\"e\n"} 1.5e+06
lagotto_resident_bytes 7
lagotto_request_seconds_bucket{le="0.1",route="/v1/encode"} 2.0
lagotto_request_seconds_bucket{le="0.5",route="/v1/encode"} 8.0
lagotto_request_seconds_bucket{le="+Inf",route="/v1/encode"} 10.0
"""


@pytest.fixture(scope="module")
def call(browser: Browser, address: str) -> Iterator[Call]:
    """``call("module.js", "module.name(...)")``: what a function of a module returns."""
    with browser.page() as page:
        page.open(f"{address}/")

        def go(module: str, script: str) -> Any:
            return page.value(f"import('./page/{module}').then((module) => {script})")

        yield go
        assert page.complaints == []


def test_metrics_are_read(call: Call) -> None:
    text = json.dumps(METRICS)
    found = dict(call("prometheus.js", f"[...module.parse({text})]"))
    assert found["lagotto_model_bytes"] == [{"labels": {"model": 'a"b\\c{},d="e\n'}, "value": 1_500_000}]
    assert found["lagotto_resident_bytes"] == [{"labels": {}, "value": 7}]
    assert call("prometheus.js", f"module.sum(module.parse({text}), 'lagotto_requests_total')") == 43
    assert call("prometheus.js", "module.sum(module.parse(''), 'lagotto_requests_total')") == 0


@pytest.mark.parametrize(
    ("share", "seconds"), [(0.1, 0.05), (0.2, 0.1), (0.5, 0.1 + 0.4 * 3 / 6), (0.8, 0.5), (0.95, 0.5)]
)
def test_quantiles_lie_on_a_straight_line_in_their_bucket(call: Call, share: float, seconds: float) -> None:
    scrape = f"module.parse({json.dumps(METRICS)})"
    quantile = f"module.quantile(module.parse(''), {scrape}, 'lagotto_request_seconds', {share}, () => true)"
    assert call("prometheus.js", quantile) == pytest.approx(seconds)
    none = f"module.quantile({scrape}, {scrape}, 'lagotto_request_seconds', {share}, () => true)"
    assert call("prometheus.js", none) is None


def test_rates_leave_out_what_the_page_asks_itself(call: Call) -> None:
    text = json.dumps(METRICS)

    def rates(before: str, now: str) -> Any:
        script = f"import('./page/prometheus.js').then(({{ parse }}) => module.rates(parse({before}), parse({now}), 2))"
        return call("rates.js", script)

    assert rates("''", text)["requests"] == 1.5
    assert rates("''", text)["padding"] is None
    assert rates(text, "''")["requests"] == 0, "a server that was started again"


@pytest.mark.parametrize(
    ("most", "side", "kept"),
    [
        (9, "right", [True] * 6),
        (4, "right", [True, True, True, False, False, True]),
        (4, "left", [True, False, False, True, True, True]),
        (1, "right", [True, False, False, False, False, True]),
    ],
)
def test_which_tokens_a_model_reads(call: Call, most: int, side: str, kept: list[bool]) -> None:
    pieces = json.dumps([{"special": place in (0, 5)} for place in range(6)])
    assert call("pieces.js", f"module.read({pieces}, {most}, '{side}')") == kept


def test_code_keeps_quotes_and_leaves_out_the_key(call: Call) -> None:
    asked = {"model": "it's", "input": ['a"b\\c\n', "大熊猫"], "flag": True, "none": None, "half": 0.5}
    requests = json.dumps([{"method": "POST", "path": "v1/encode", "body": asked}])
    curl = call("snippets.js", f"module.inCurl({requests}, true)")
    assert "it'\\''s" in curl
    assert curl.count("Authorization: Bearer YOUR_API_KEY") == 1
    program = call("snippets.js", f"module.inPython({requests}, true)")
    body = program.split("json.dumps(", 1)[1].split(").encode()", 1)[0]
    assert eval(body) == asked
    assert '"Authorization": "Bearer YOUR_API_KEY"' in program
