"""The page in a real browser: both languages, both colour schemes, narrow screens, choosers and filters, no errors.

A probe reads what the browser made of the page and writes it into the document. The page's own policy would stop the
probe, so its digest is added to it, and nothing else of the page is changed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from html import unescape
from urllib.parse import urlencode

import pytest

from lagotto.evaluation.report.words import WORDS

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
)
DARK = "--blink-settings=preferredColorScheme=0"

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium, chromium-browser or google-chrome on PATH")

CONTRAST = """
const numbers = (colour) => colour.match(/[0-9.]+/g).map(Number);
const light = (colour) => {
  const [r, g, b] = numbers(colour).map((part) => part / 255)
    .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const paper = light(getComputedStyle(document.body).backgroundColor);
const against = (colour) => (Math.max(light(colour), paper) + 0.05) / (Math.min(light(colour), paper) + 0.05);
const texts = [...document.querySelectorAll("svg text")].map((item) => against(getComputedStyle(item).fill));
const words = [...document.querySelectorAll("main td, main th, main p, main summary")]
  .map((item) => against(getComputedStyle(item).color));
return { paper, texts: Math.min(...texts), words: Math.min(...words), charts: texts.length };
"""


@pytest.fixture(scope="session")
def visit(tmp_path_factory):
    """``visit(page, probe)`` -> (what the probe returns, the document, messages on the console)."""

    def go(page, probe="return null;", *flags, size="1280,900", **state):
        folder = tmp_path_factory.mktemp("browser")
        script = f"document.documentElement.dataset.probe = JSON.stringify((() => {{{probe}}})());"
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        changed = page.replace("script-src ", f"script-src 'sha256-{digest}' ", 1)
        changed = changed.replace("</body>", f"<script>{script}</script></body>")
        (folder / "report.html").write_text(changed, encoding="utf-8", newline="\n")
        address = (folder / "report.html").as_uri() + ("#" + urlencode(state) if state else "")
        document, log = run(folder, "--dump-dom", f"--window-size={size}", *flags, address)
        (found,) = re.findall('data-probe="([^"]*)"', document)
        return json.loads(unescape(found)), document, [line for line in log.splitlines() if "CONSOLE" in line]

    return go


def run(folder, *arguments):
    command = [str(BROWSER), *FLAGS, f"--user-data-dir={folder / 'profile'}", *arguments]
    done = subprocess.run(command, capture_output=True, timeout=120, check=True)
    return done.stdout.decode(), done.stderr.decode(errors="replace")


def test_english_and_chinese_each_alone(visit, page):
    probe = """
    const seen = document.body.innerText;
    const box = document.querySelector("text[lang]");
    const inked = [...document.querySelectorAll("text[lang]")].filter((text) => text.getBoundingClientRect().width);
    return { seen, title: document.title, lang: document.documentElement.lang,
             option: document.querySelector("#filter-dataset option").textContent,
             charts: [...new Set(inked.map((text) => text.getAttribute("lang")))] };
    """
    shown = {code: visit(page, probe, lang=code) for code in ("en", "zh")}
    for code, other in (("en", "zh"), ("zh", "en")):
        found, _, console = shown[code]
        assert console == []
        assert found["lang"] == {"en": "en", "zh": "zh-Hans"}[code]
        assert getattr(WORDS["comparisons.note"], code) in found["seen"]
        assert getattr(WORDS["comparisons.note"], other) not in found["seen"]
        assert found["title"].startswith(getattr(WORDS["title"], code))
        assert found["option"] == getattr(WORDS["filter.all"], code)
        assert found["charts"] == [code]
    # Words of ours that would be left in English; names, texts and warnings of the report stay as they are.
    left = [
        key
        for key, (english, chinese) in WORDS.items()
        if len(english) > 14 and "{" not in english and english != chinese and english in shown["zh"][0]["seen"]
    ]
    assert left == []


@pytest.mark.parametrize(("language", "lang"), [("zh-CN", "zh-Hans"), ("de-DE", "en")])
def test_the_browsers_language_decides_at_first(visit, page, language, lang):
    probe = "return [navigator.language, document.documentElement.lang];"
    assert visit(page, probe, f"--lang={language}", f"--accept-lang={language}")[0] == [language, lang]


def test_switching_the_language_is_remembered_in_the_address(visit, page):
    probe = """
    document.querySelector("label[for=zh]").click();
    const zh = [location.hash, document.documentElement.lang];
    document.querySelector("label[for=en]").click();
    return [...zh, location.hash, document.documentElement.lang];
    """
    found, _, console = visit(page, probe, lang="en", dataset="nfcorpus")
    assert found == ["#lang=zh&dataset=nfcorpus", "zh-Hans", "#lang=en&dataset=nfcorpus", "en"]
    assert console == []


@pytest.mark.parametrize("flags", [(), (DARK,)], ids=["light", "dark"])
def test_everything_is_readable_in_light_and_dark(visit, page, flags):
    found, _, _ = visit(page, CONTRAST, *flags)
    assert (found["paper"] < 0.5) == bool(flags)
    assert found["charts"] > 100
    assert found["texts"] >= 4.5
    assert found["words"] >= 4.5


@pytest.mark.parametrize("size", ["390,800", "1600,900"])
def test_only_tables_scroll_sideways(visit, page, size):
    probe = """
    document.querySelectorAll("details").forEach((fold) => fold.open = true);
    const wide = document.documentElement.clientWidth;
    const out = [...document.querySelectorAll("main *")].filter((item) =>
      !item.closest(".scroll, svg, .unseen") && item.getBoundingClientRect().right > wide + 1);
    return [document.documentElement.scrollWidth - wide, out.map((item) => item.outerHTML.slice(0, 80))];
    """
    assert visit(page, probe, size=size)[0] == [0, []]


def test_choosers_show_one_table_and_are_remembered(visit, page):
    probe = """
    const chooser = document.getElementById("choose-measure");
    const open = () => [...document.querySelectorAll("#scores .choices > details")]
      .filter((fold) => fold.open && !fold.hidden).map((fold) => fold.querySelector("tbody .measure").textContent);
    const before = open();
    chooser.selectedIndex = 3;
    chooser.dispatchEvent(new Event("change", { bubbles: true }));
    return [before, open(), location.hash, chooser.parentElement.hidden, document.getElementById("filter").hidden];
    """
    found, _, console = visit(page, probe, measure="1")
    assert found == [["recall@100"], ["mrr@10"], "#measure=3", False, False]
    assert console == []


def test_filters(visit, page, report):
    probe = """
    const shown = () => [...document.querySelectorAll(".example")].filter((item) => item.offsetHeight).length;
    const counts = () => [...document.querySelectorAll("#filter [data-count]")].map((part) => part.textContent);
    const fill = (name, value) => {
      const field = document.getElementById("filter-" + name);
      field.value = value;
      field.dispatchEvent(new Event("input", { bubbles: true }));
    };
    const found = { start: [shown(), ...counts()] };
    fill("winner", "2");
    found.winner = [shown(), ...counts()];
    fill("winner", "");
    fill("dataset", "nfcorpus");
    fill("text", "SD  card MOVE");
    found.text = [shown(), ...counts()];
    fill("text", "大熊猫 吃什么 nothing-such");
    found.none = [shown(), ...counts()];
    found.hash = location.hash;
    return found;
    """
    found, _, console = visit(page, probe, dataset="cqadupstack-中文论坛")
    kept = [example for kept in report.examples.values() for example in kept]
    best = [example for example in report.examples["cqadupstack-中文论坛"] if wins(example, report.systems[2].name)]
    assert found["start"] == [6, "6", str(len(kept))]
    assert found["winner"][0] == len(best) > 0
    assert found["text"][0] == len(report.examples["nfcorpus"]) - 5 + missed(report)
    assert found["none"] == [0, "0", "18"]
    assert "dataset=nfcorpus" in found["hash"]
    assert "winner" not in found["hash"]
    assert console == []


def wins(example, system):
    return example.values[system] == max(example.values.values())


def missed(report):
    """Further queries of nfcorpus one of whose texts has all of the words that are looked for."""
    rest = [example for example in report.examples["nfcorpus"] if "SD card" not in example.text]
    texts = ["\n".join(hit.text for hits in example.hits.values() for hit in hits).lower() for example in rest]
    return sum(all(word in text for word in ("sd", "card", "move")) for text in texts)


def test_a_reset_shows_everything_again(visit, page):
    probe = """
    document.querySelector("#filter button[type=reset]").click();
    return null;
    """
    late = page.replace("</body>", "<p id=late></p></body>")
    _, document, _ = visit(late, probe, "--virtual-time-budget=1000", text="nothing-such")
    counts = re.findall(r'data-count="\w+">(\d+)<', document)
    assert counts == ["18", "18"]


def test_unknown_choices_in_an_address_do_nothing(visit, page):
    probe = 'return [document.querySelectorAll(".example:not([hidden])").length, document.documentElement.lang];'
    found, _, console = visit(page, probe, dataset="<img>", winner="99", measure="x", lang="<b>", compared="-1")
    assert found == [18, "en"]
    assert console == []


def test_opening_and_closing_all_shown(visit, page):
    probe = """
    const open = () => document.querySelectorAll(".example[open]").length;
    const before = open();
    document.getElementById("open-all").click();
    const all = open();
    document.getElementById("close-all").click();
    return [before, all, open()];
    """
    assert visit(page, probe, dataset="nfcorpus")[0] == [1, 6, 0]


def test_links_move_the_focus_and_keep_what_was_chosen(visit, page):
    probe = """
    document.querySelector("nav a[href='#examples']").click();
    return [document.activeElement.id, location.hash];
    """
    assert visit(page, probe, lang="zh")[0] == ["examples", "#lang=zh"]


def test_everything_that_acts_is_reached_by_keyboard(visit, page):
    probe = """
    const reached = (item) => item.tabIndex >= 0 && !item.disabled;
    const acting = [...document.querySelectorAll("a, button, select, input, summary, .scroll, pre")];
    const named = [...document.querySelectorAll("select, input")].filter((item) => !item.labels.length);
    return [acting.filter((item) => !reached(item)).length, acting.length > 50, named.length];
    """
    assert visit(page, probe)[0] == [0, True, 0]


def test_a_hostile_document_does_nothing(visit, hostile_page):
    probe = """
    const seen = document.body.innerText;
    return [document.images.length, document.scripts.length, seen.includes("<img src=x onerror=alert(1)>")];
    """
    found, _, console = visit(hostile_page, probe)
    assert found == [0, 2, True]
    assert console == []


def test_the_policy_stops_what_is_not_the_pages_own(visit, page):
    added = "<script>document.documentElement.dataset.broken = 1</script><img src='https://localhost:9/x.png'>"
    probe = "return document.documentElement.dataset.broken ?? null;"
    found, _, console = visit(page.replace("<main>", f"<main>{added}"), probe)
    assert found is None
    assert len(console) == 2
    assert all("Content Security Policy" in line for line in console)


def test_without_javascript_everything_is_there(page, visit):
    """The script is left out, which is what a browser without JavaScript does with it."""
    bare = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    probe = """
    const hidden = [...document.querySelectorAll("[hidden]")].map((item) => item.id || item.className);
    document.querySelectorAll("details").forEach((fold) => fold.open = true);
    const seen = document.body.innerText;
    document.getElementById("zh").checked = true;
    return { hidden, seen, chinese: document.body.innerText };
    """
    found = visit(bare, probe)[0]
    assert set(found["hidden"]) == {"filter", "chooser"}
    for text in ("recall@100", "pearson", "大熊猫主要栖息在四川", "Truffle dogs", '"method": "rrf"', "11ee" * 8):
        assert text in found["seen"]
    assert WORDS["comparisons.note"].zh in found["chinese"]
    assert WORDS["comparisons.note"].en not in found["chinese"]


def test_a_picture_of_the_page(page, tmp_path):
    (tmp_path / "report.html").write_text(page, encoding="utf-8", newline="\n")
    picture = tmp_path / "page.png"
    run(tmp_path, f"--screenshot={picture}", "--window-size=1280,2000", (tmp_path / "report.html").as_uri())
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 50_000
