"""The Markdown holds the page's tables, and no text breaks them."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from lagotto.evaluation.report.markdown import line, to_markdown
from lagotto.evaluation.report.notation import value
from lagotto.evaluation.results import Report, SystemInfo


@pytest.fixture(scope="session")
def markdown(report):
    return to_markdown(report)


def tables(markdown):
    """Every table as rows of cells, split as GitHub's Markdown splits them."""
    found = re.findall(r"(?:^\|.*\n?)+", markdown, re.M)
    return [
        [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in table.splitlines()] for table in found
    ]


def titled(markdown, title):
    """What stands below a heading, up to the next of its level."""
    level = title.partition(" ")[0]
    return markdown.split(f"{title}\n", 1)[1].split(f"\n{level} ", 1)[0]


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("a|b", r"a\|b"),
        ("one\r\ntwo\tthree", "one two three"),
        ("<img src=x> ![x](http://x) `c` *d*", r"\<img src=x\> !\[x\](http://x) \`c\` \*d\*"),
        ("snake_case _em_", r"snake_case \_em\_"),
        ("back\\slash &amp; ~~x~~", r"back\\slash \&amp; \~\~x\~\~"),
        ("\x1b[0m\x00", r"␛\[0m␀"),
    ],
)
def test_line(given, written):
    assert line(given) == written


def test_every_row_has_as_many_cells_as_its_head(markdown, hostile):
    for text in (markdown, to_markdown(hostile)):
        assert len(tables(text)) > 8
        for table in tables(text):
            assert len({len(row) for row in table}) == 1
            assert all(re.fullmatch("---:?", cell) for cell in table[1])
        text.encode()


def test_the_table_of_primary_measures(report, markdown):
    (rows,) = tables(titled(markdown, "### Primary measure of each data set"))
    assert rows[0] == ["Data set", "Measure", *(system.name for system in report.systems)]
    assert [row[0] for row in rows[2:]] == [
        "nfcorpus",
        "**cqadupstack: mean of 2**",
        "cqadupstack-android",
        "cqadupstack-中文论坛",
        "**Mean of 2: Retrieval**",
        "STS-B",
        "paws-x zh",
    ]
    assert rows[2][3].startswith("▼ ")
    assert rows[2][5].startswith("▲ **")
    for result in report.results:
        estimate = next(iter(result.metrics.values()))
        assert f"{value(estimate.value)}" in markdown


def test_every_measure_has_a_table(report, markdown):
    for measure in ("recall@100", "map@100", "mrr@10", "pearson", "f1"):
        assert f"### {measure}\n" in titled(markdown, "## Results")


def test_comparisons_and_costs(report, markdown):
    compared = tables(titled(markdown, "## Comparisons with the baseline"))
    assert sum(len(table) - 2 for table in compared) == len(report.comparisons)
    worse = ["nfcorpus", "bge-small-en-v1.5", r"▼ −0.0500 \[−0.080, −0.020\]", "0.0010", "0.0040", "80", "92", "151"]
    assert compared[0][2] == worse
    costs, stages = tables(titled(markdown, "## Costs"))
    assert len(costs) - 2 == len(report.results)
    assert len(stages) - 2 == sum(len(result.cost.stages) for result in report.results)
    assert costs[3][:6] == ["nfcorpus", "bge-small-en-v1.5", "21.8 s", "167", "208", "130 MB"]


def test_only_the_largest_wins_and_losses_are_told(report, markdown):
    (rows,) = tables(titled(markdown, "## Largest wins and losses against the baseline"))
    mine = [float(row[-1].replace("−", "-")) for row in rows[2:] if row[0] == "bge-small-en-v1.5"]
    assert len(mine) <= 6
    gaps = sorted(
        example.values["bge-small-en-v1.5"] - example.values["bm25"]
        for kept in report.examples.values()
        for example in kept
    )
    assert mine[0] == pytest.approx(gaps[-1], abs=1e-4)
    assert mine[-1] == pytest.approx(gaps[0], abs=1e-4)
    assert "Statins" not in markdown, "texts of documents are the page's"


def test_lengths_thresholds_systems_and_data_sets(report, markdown):
    assert len(tables(titled(markdown, "## Best thresholds"))[0]) - 2 == 12
    assert len(tables(titled(markdown, "## Lengths and truncation"))[0]) - 2 == 4
    systems = titled(markdown, "## Systems")
    assert systems.count("```json\n") == 4
    assert '"说明": "先召回，后重排"' in systems
    assert len(tables(titled(markdown, "## Data sets"))[0]) - 2 == 5
    assert "77c0" * 8 in markdown


def test_warnings_and_the_environment(report, markdown):
    assert r"('d\|17' for query 'q9', for one)" in titled(markdown, "## Warnings (2)")
    assert all(f": {line(fact)}\n" in markdown for fact in report.environment.values())


def test_hostile_texts_do_nothing(hostile):
    text = to_markdown(hostile)
    outside = re.sub(r"(`{3,})json\n.*?\n\1", "", text, flags=re.S)
    assert "alert(1)" in outside
    assert not re.search(r"(?<!\\)<[a-z/!]", outside)
    assert re.findall("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", text) == []


def test_backticks_in_a_pipeline_do_not_end_its_block():
    report = Report((SystemInfo("a", {"prompt": "````\nx"}),), (), ())
    assert re.search(r'(?m)^`{5}json\n\{\n  "prompt": "````\\nx"\n\}\n`{5}$', to_markdown(report))


def test_systems_that_were_not_compared(report):
    assert "No comparisons were made." in to_markdown(replace(report, comparisons=()))


def test_a_report_of_nothing():
    text = to_markdown(Report((), (), ()))
    assert "Nothing was measured." in text
    assert "Costs" not in text


def test_a_single_system_has_nothing_to_be_compared_with(report):
    alone = replace(report, systems=report.systems[:1], results=report.results[::4], comparisons=())
    text = to_markdown(alone)
    assert "## Comparisons" not in text
    assert "▲" not in text
    assert "Largest wins" not in text
