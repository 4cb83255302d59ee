"""The page is one file that loads nothing, names everything, and that no text can break out of."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources

import pytest

from lagotto.evaluation.report.html import to_html
from lagotto.evaluation.report.notation import value
from lagotto.evaluation.report.svg import PALETTE
from lagotto.evaluation.results import Cost, DatasetInfo, Estimate, Report, Result, SystemInfo

VOID = {"meta", "link", "input", "br"}


class Page(HTMLParser):
    """Elements and texts of a page; fails where they are not well nested."""

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.elements, self.texts, self.inside = [], [], []
        self.content = {"script": [], "style": []}
        self.feed(source)
        self.close()
        assert self.inside == []

    def handle_starttag(self, tag, attrs):
        assert len(attrs) == len(dict(attrs)), f"an attribute of {tag} is there twice: {attrs}"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.inside.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.inside.pop() == tag

    def handle_data(self, data):
        if self.inside and self.inside[-1] in self.content:
            self.content[self.inside[-1]].append(data)
        else:
            self.texts.append(data)

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data}")

    def all(self, tag, **wanted):
        return [
            attrs for name, attrs in self.elements if name == tag and all(attrs.get(k) == v for k, v in wanted.items())
        ]

    def attributes(self, *names):
        return [value for _, attrs in self.elements for name, value in attrs.items() if name in names]


@pytest.fixture(scope="session")
def parsed(page):
    return Page(page)


def text_of(parsed):
    return " ".join(" ".join(parsed.texts).split())


def test_the_page_is_whole(page, parsed):
    assert page.startswith("<!doctype html>\n")
    assert {"html", "head", "title", "body", "header", "nav", "main", "footer"} <= {tag for tag, _ in parsed.elements}
    assert len(parsed.all("h1")) == 1
    assert "$" not in "".join(parsed.texts).replace("$x$", "")


def test_everything_is_named(report, parsed):
    shown = text_of(parsed)
    for system in report.systems:
        assert system.name in shown
        for model, fingerprint in system.models.items():
            assert model in shown
            assert fingerprint in shown
    for dataset in report.datasets:
        assert {dataset.name, dataset.language, dataset.fingerprint, dataset.source, f"{dataset.documents:,}"} <= set(
            parsed.texts
        )
        assert all(warning in shown for warning in dataset.warnings)
    for result in report.results:
        assert all(warning in shown for warning in result.warnings)
    assert set(report.environment.values()) <= set(parsed.texts)
    assert "先召回，后重排" in shown


def test_every_value_is_there_with_its_interval(report, parsed):
    for result in report.results:
        for estimate in result.metrics.values():
            assert value(estimate.value) in parsed.texts
            assert f"[{value(estimate.low, 3)}, {value(estimate.high, 3)}]" in parsed.texts


def test_means_are_there(report, parsed):
    shown = text_of(parsed)
    best = report.systems[3].name
    found = {name: report.result(best, name).metrics["ndcg@10"].value for name in ("nfcorpus", *forums(report))}
    group = sum(found[name] for name in forums(report)) / 2
    assert value(group) in parsed.texts
    assert value((found["nfcorpus"] + group) / 2) in parsed.texts
    assert "cqadupstack: mean of 2" in shown
    assert "Mean of 2: Retrieval" in shown


def forums(report):
    return [dataset.name for dataset in report.datasets if dataset.group == "cqadupstack"]


def test_key_figures(report, page):
    (card,) = re.findall(r"<article[^>]*>(?:(?!</article>).)*mean of 2.*?</article>", page)
    best = [
        report.result(report.systems[3].name, name).metrics["ndcg@10"].value for name in ("nfcorpus", *forums(report))
    ]
    mean = (best[0] + (best[1] + best[2]) / 2) / 2
    assert f">{value(mean)}<" in card
    assert report.systems[3].name in card
    assert "Data sets: 3 of 3 significantly better, 0 worse" in card
    assert "▲" in card


def test_significance_is_said_in_words_and_by_shape(parsed):
    counted = Counter(parsed.texts)
    assert counted["▲"] > 5
    assert counted["▼"] == counted["significantly worse than the baseline"] >= 3
    assert counted["▲"] == counted["significantly better than the baseline"]


def test_comparisons(report, parsed):
    item = report.comparisons[0]
    assert {"−0.0500", "[−0.080, −0.020]", "0.0040", "80", "151"} <= set(parsed.texts)
    assert f"{item.ties}" in parsed.texts
    assert "Mean of 2 data sets" in parsed.texts
    assert len(parsed.all("circle")) == len(report.comparisons)


def test_costs(parsed):
    wanted = {"21.8 s", "167", "208", "130 MB", "1.54 kB", "5.58 MB", "85%", "index: bge", "建索引: bge"}
    assert wanted <= set(parsed.texts)


def test_examples(report, parsed):
    shown = text_of(parsed)
    for kept in report.examples.values():
        for example in kept:
            assert example.text in shown
            for hits in (*example.hits.values(), example.relevant):
                assert all(" ".join(hit.text.split()) in shown for hit in hits)
                assert all(hit.document in parsed.texts for hit in hits)
    count = sum(map(len, report.examples.values()))
    assert len(parsed.all("details", **{"class": "example"})) == count
    assert {"✓ 2", "✓ 1", "✗ 0", "·"} <= set(parsed.texts)
    assert "missed by all" in parsed.texts or "missed" in parsed.texts


def test_winners_are_marked_for_the_filter(report, page):
    (first, *_) = report.examples["nfcorpus"]
    best = max(first.values, key=first.values.get)
    place = [system.name for system in report.systems].index(best)
    assert f'class="example" data-dataset="nfcorpus" data-winners="{place}"' in page


def test_distributions(report, parsed):
    spreads = [result for result in report.results if result.scores]
    captions = [attrs["id"] for attrs in parsed.all("figcaption")]
    assert len([one for one in captions if one.startswith("sc")]) == len(spreads) == 12
    assert len([one for one in captions if one.startswith("le")]) == 4, "a model that two systems use is there once"
    assert "threshold 0.6310, F1 0.412" in parsed.texts
    cut = [one for one in parsed.texts if re.fullmatch(r"\d+ \(\d\.\d%\)", one)]
    assert len(cut) == 1, "texts that lost a part, with their share"


def test_nothing_is_loaded(page, parsed):
    links = parsed.attributes("src", "href", "action", "srcset", "data", "poster", "formaction", "background", "ping")
    assert {link for link in links if not link.startswith("#")} == {"data:,"}
    assert {link[1:] for link in links if link.startswith("#")} <= set(parsed.attributes("id"))
    style, script = parsed.content["style"], parsed.content["script"]
    assert not re.search(r"url\(|@import|https?:", "".join(style))
    assert not re.search(r"fetch|XMLHttp|import\b|https?:|eval|innerHTML", "".join(script))
    assert set(re.findall(r"https?://[^\s\"'<]+", page)) == {"http://www.w3.org/2000/svg"}


def test_the_policy_allows_this_style_and_this_script_and_nothing_else(parsed):
    (policy,) = (attrs["content"] for attrs in parsed.all("meta", **{"http-equiv": "Content-Security-Policy"}))

    def digest(name):
        (content,) = parsed.content[name]
        packaged = resources.files("lagotto.evaluation.report") / f"page.{suffix[name]}"
        assert content == packaged.read_text("utf-8")
        return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"

    suffix = {"style": "css", "script": "js"}
    assert policy == (
        f"default-src 'none'; style-src {digest('style')}; script-src {digest('script')}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    assert parsed.attributes("style") == []


@pytest.mark.parametrize("name", ["page", "hostile_page"])
def test_a_text_cannot_break_out(name, request):
    source = request.getfixturevalue(name)
    parsed = Page(source)
    assert parsed.all("img") == []
    assert len(parsed.all("script")) == len(parsed.all("style")) == len(parsed.all("title")) == 1
    assert not [key for _, attrs in parsed.elements for key in attrs if key.startswith("on")]
    assert re.findall("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", source) == []
    source.encode()


def test_a_hostile_text_is_shown_as_it_is(hostile, hostile_page):
    shown = " ".join(Page(hostile_page).texts)
    seen = "</script></style><img src=x onerror=alert(1)>␀␛[31m\u202e$policy ${title} {n} %s ]]> <!-- \ufffd"
    assert shown.count(seen) > 30
    assert "alert(1)" not in re.sub("&lt;.*?&gt;", "", hostile_page)


@pytest.mark.parametrize("name", ["page", "hostile_page"])
def test_ids_are_there_once_and_what_refers_to_them_finds_them(name, request):
    parsed = Page(request.getfixturevalue(name))
    ids = parsed.attributes("id")
    assert len(ids) == len(set(ids))
    assert set(parsed.attributes("for", "aria-labelledby")) <= set(ids)


def test_words_are_there_in_both_languages(page, parsed):
    for tag in ("span", "text"):
        assert len(parsed.all(tag, lang="en")) == len(parsed.all(tag, lang="zh")) > 20
    pairs = [attrs for _, attrs in parsed.elements if "data-en" in attrs or "data-zh" in attrs]
    assert all(attrs["data-en"] and attrs["data-zh"] for attrs in pairs)
    heads = re.findall(r"<h[12][^>]*>(.*?)</h[12]>", page)
    assert all('lang="en"' in head and 'lang="zh"' in head for head in heads)
    assert {"检索评测", "与基线系统的比较", "2 项平均：检索", "显著优于基线"} <= set(parsed.texts)


def test_the_style_sheet_has_every_colour_of_the_charts_for_light_and_dark(parsed):
    style = "".join(parsed.content["style"])
    light = re.search(r":root \{(.*?)\}", style, re.S)[1]
    dark = re.search(r"dark\) \{\s*:root \{(.*?)\}", style, re.S)[1]
    for name, colour in PALETTE.items():
        assert f"--{name}: {colour};" in light
        assert f"--{name}: #" in dark


def test_the_same_report_gives_the_same_page(report, page):
    assert to_html(report) == page


def test_a_system_alone_on_a_data_set():
    report = Report(
        systems=(SystemInfo("only", {}),),
        datasets=(DatasetInfo("x", "mteb", "test", 0, 0, 0, "00"),),
        results=(Result("only", "x", {"main_score": Estimate(0.5, 0.5, 0.5)}, {}, Cost()),),
    )
    shown = text_of(Page(to_html(report)))
    assert "only on one data set." in shown
    assert "0.5000" in shown
    assert "baseline" not in shown
    assert "[0.500" not in shown


def test_systems_that_were_not_compared(report):
    shown = text_of(Page(to_html(replace(report, comparisons=(), examples={}))))
    assert "No comparisons were made." in shown


def test_a_report_of_nothing():
    shown = text_of(Page(to_html(Report((), (), ()))))
    for said in ("Nothing was measured.", "No costs were measured.", "No queries were kept", "No distributions"):
        assert said in shown


def test_queries_a_second_that_are_unknown_are_no_point(report):
    """A reranker on ready candidates has no rate of queries: it must not look like a system that costs nothing."""
    rerank_only = [
        replace(result, cost=replace(result.cost, stages=(replace(result.cost.stages[-1], name="rerank: x"),)))
        if result.system == report.systems[3].name
        else result
        for result in report.results
    ]
    made = to_html(replace(report, results=tuple(rerank_only), examples={}))
    charts = re.findall(r'<svg[^>]*aria-labelledby="qc\d+-0-caption".*?</svg>', made, re.S)
    assert charts
    assert not [chart for chart in charts if "stroke-dasharray" in chart]
    index = re.findall(r'<svg[^>]*aria-labelledby="qc\d+-1-caption".*?</svg>', made, re.S)
    assert all("stroke-dasharray" in chart for chart in index)
