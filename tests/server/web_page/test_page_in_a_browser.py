"""What all panels share, in a real browser: keys, errors, languages, themes, keyboard, screens, a proxy's path."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from lagotto.models.opening import open_any
from lagotto.server.key_settings import KeySettings, digest_of

PANELS = ("embeddings", "rerank", "tokenise", "weights", "metrics", "models")
SECRET = "lgt_do-not-show-this"
CONTRAST = """(() => {
  const light = (colour) => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const clear = (colour) => /, 0\\)$|\\/ 0\\)$|transparent/.test(colour);
  const behind = (node) => {
    const colour = getComputedStyle(node).backgroundColor;
    return clear(colour) && node.parentElement ? behind(node.parentElement) : colour;
  };
  const known = new Map();
  const lightness = (colour) => known.get(colour) ?? known.set(colour, light(colour)).get(colour);
  const against = (node) => {
    const [a, b] = [getComputedStyle(node).color, behind(node)].map(lightness);
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };
  const written = (node) => [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
  const texts = [...document.querySelectorAll("body :not(option)")]
    .filter((node) => node.checkVisibility() && written(node));
  const worst = texts.map((node) => [against(node), node.outerHTML.slice(0, 90)]).sort((a, b) => a[0] - b[0])[0];
  return { worst, count: texts.length, paper: light(getComputedStyle(document.documentElement).backgroundColor) };
})()"""


def failure(page: Any, panel: str) -> str:
    page.until(f"!document.querySelector('#{panel} .failure').hidden")
    return page.value(f"document.querySelector('#{panel} .failure').innerText")


def button(page: Any, panel: str) -> str:
    return page.value(f"document.querySelector('#{panel} button.main').textContent")


def only_statuses(page: Any, *statuses: int) -> None:
    """The browser's own lines about answers that were errors are all there is on the console; take them away."""
    assert all(any(f"status of {status} " in line for status in statuses) for line in page.complaints), page.complaints
    page.complaints.clear()


def give_key(page: Any, secret: str) -> None:
    page.until("document.querySelector('#key-dialog').open")
    page.fill("#key-dialog input", secret)
    page.press("Enter")
    page.until("!document.querySelector('#key-dialog').open")


# Keys.


def test_a_key_is_asked_for_kept_in_the_tab_and_never_shown(visit: Any, run: Any, serve: Any, tiny_bert: Any) -> None:
    with serve(models=[f"bert={tiny_bert}"], api_key=SECRET) as url:
        page = visit("#panel=embeddings", url)
        page.until("document.querySelector('#key-dialog').open")
        assert "Status 401" in page.value("document.querySelector('#trouble').innerText")
        give_key(page, "wrong")
        page.until("document.querySelector('#key-dialog').open")
        give_key(page, SECRET)
        page.until("document.querySelector('#embeddings [name=model]').value === 'bert'")
        assert page.value("document.getElementById('trouble')") is None
        run(page, "embeddings")
        assert page.value("document.querySelectorAll('#embeddings .heat').length") == 25
        places = "[Object.values(sessionStorage), JSON.stringify(localStorage), document.cookie, location.href]"
        stored = page.value(places)
        assert stored[0] == [SECRET]
        assert SECRET not in str(stored[1:])
        page.value("(navigator.clipboard.writeText = async (text) => { window.copied = text; }, null)")
        for language in ("curl", "python"):
            page.click(f"#embeddings button[data-t='copy.{language}']")
            found = page.until("window.copied")
            assert "Bearer YOUR_API_KEY" in found
            assert SECRET not in found
            page.value("window.copied = null")
        assert SECRET not in page.value("document.documentElement.outerHTML + location.href")
        assert not [address for address in page.addresses if SECRET in address]
        page.click("#key-button")
        page.click("#key-dialog button[value=forget]")
        page.until("!!document.getElementById('trouble')")
        assert page.value("sessionStorage.length") == 0
        only_statuses(page, 401)


def test_a_key_that_may_not_read_metrics_is_told_so(visit: Any, serve: Any, tiny_bert: Any) -> None:
    key = KeySettings(name="ci", hash=digest_of(SECRET))
    with serve(models=[f"bert={tiny_bert}"], key=[key]) as url:
        page = visit("#panel=metrics", url)
        give_key(page, SECRET)
        page.until("document.querySelector('#metrics .failure').innerText.startsWith('Status 403')")
        assert "metrics" in failure(page, "metrics")
        assert button(page, "metrics") == "Resume"
        page.click("#tab-models")
        page.until("!!document.querySelector('#models .card')")
        assert "may not read the metrics" in page.seen()
        only_statuses(page, 401, 403)


# Errors.


def test_used_up_quotas_say_when_to_come_again(visit: Any, run: Any, serve: Any, tiny_bert: Any) -> None:
    key = KeySettings(name="ci", hash=digest_of(SECRET), requests_per_minute=3)
    with serve(models=[f"bert={tiny_bert}"], key=[key]) as url:
        page = visit("#panel=embeddings", url)
        give_key(page, SECRET)
        page.until("document.querySelector('#embeddings [name=model]').value === 'bert'")
        run(page, "embeddings")
        page.click("#embeddings button[type=submit]")
        message = failure(page, "embeddings")
        assert "Status 429" in message
        assert "Come again in " in message
        assert button(page, "embeddings") == "Embed"
        only_statuses(page, 401, 429)


def test_a_model_that_is_being_loaded(
    visit: Any, serve: Any, tiny_bert: Any, tiny_xlmr: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    let, opened = threading.Event(), open_any

    def slow(source: str, options: Any) -> Any:
        if source == str(tiny_xlmr):
            assert let.wait(60)
        return opened(source, options)

    monkeypatch.setattr("lagotto.server.pool.open_any", slow)
    late = {"name": str(tiny_xlmr), "alias": "late", "eager": False}
    with serve(models=[f"bert={tiny_bert}"], model=[late], loading_wait_seconds=0) as url:
        page = visit("#panel=embeddings", url)
        page.fill("#embeddings [name=model]", "late")
        page.click("#embeddings button[type=submit]")
        message = failure(page, "embeddings")
        assert "Status 503" in message
        assert "model 'late' is still being loaded" in message
        assert "Come again in 1 s." in message
        assert button(page, "embeddings") == "Embed"
        let.set()
        until_loaded = "fetch('v1/models').then((r) => r.json()).then(({data}) => data.every((one) => one.loaded))"
        page.until(until_loaded)
        page.click("#embeddings button[type=submit]")
        page.until("!!document.querySelector('#embeddings .heat')")
        assert page.value("document.querySelector('#embeddings .failure').hidden")
        only_statuses(page, 503)


def test_a_network_that_fails(visit: Any, run: Any) -> None:
    page = visit("#panel=rerank")
    fast = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    page.send("Network.emulateNetworkConditions", offline=True, **fast)
    page.click("#rerank button[type=submit]")
    assert failure(page, "rerank").startswith("The server can't be reached")
    assert button(page, "rerank") == "Rerank"
    page.send("Network.emulateNetworkConditions", offline=False, **fast)
    run(page, "rerank")
    assert page.value("document.querySelectorAll('#rerank .ranking li').length") == 5
    assert all("ERR_INTERNET_DISCONNECTED" in line for line in page.complaints)
    page.complaints.clear()


def test_a_request_can_be_stopped(visit: Any) -> None:
    page = visit("#panel=embeddings")
    # The answer is held back by the browser, so that there is time to press the button again.
    slow = {"latency": 60_000, "downloadThroughput": -1, "uploadThroughput": -1}
    page.send("Network.emulateNetworkConditions", offline=False, **slow)
    page.click("#embeddings button[type=submit]")
    page.until("document.querySelector('#embeddings button.main').textContent === 'Stop'")
    page.click("#embeddings button[type=submit]")
    page.until("document.querySelector('#embeddings .status').textContent === 'Stopped.'")
    assert button(page, "embeddings") == "Embed"
    assert page.value("document.querySelector('#embeddings .failure').hidden")


@pytest.mark.parametrize(
    ("field", "text", "told"),
    [
        ("texts", " \n ", "Write a text first."),
        ("dimensions", "0", "Dimensions are"),
        ("dimensions", "33", "Status 400"),
    ],
)
def test_what_is_filled_in_wrongly(visit: Any, run: Any, field: str, text: str, told: str) -> None:
    page = visit("#panel=embeddings")
    page.fill(f"#embeddings [name={field}]", text)
    run(page, "embeddings")
    assert failure(page, "embeddings").startswith(told)
    if "Status" in told:
        only_statuses(page, 400)
    else:
        assert page.value("document.activeElement.name") == field


# Languages, themes, addresses.


@pytest.mark.parametrize(("language", "lang"), [("zh-CN", "zh-Hans"), ("de-DE", "en"), ("en-GB", "en")])
def test_the_browsers_language_decides_at_first(visit: Any, language: str, lang: str) -> None:
    assert visit(language=language).value("document.documentElement.lang") == lang


def test_switching_the_language_keeps_what_was_drawn_and_is_remembered(visit: Any, run: Any, address: str) -> None:
    page = visit("#panel=embeddings")
    page.fill("#embeddings [name=texts]", "a dog\na panda")
    run(page, "embeddings")
    page.click("[data-language=zh]")
    page.until("document.documentElement.lang === 'zh-Hans'")
    assert "相似度" in page.value("document.querySelector('#embeddings .results').innerText")
    assert "Similarities" not in page.seen()
    assert page.value("document.querySelector('#embeddings [name=texts]').value") == "a dog\na panda"
    assert "大熊猫" in page.value("document.querySelector('#rerank [name=query]').value"), (
        "an example speaks Chinese too"
    )
    assert page.value("location.hash") == "#panel=embeddings&lang=zh"
    page.open(f"{address}/?again")
    assert page.value("document.documentElement.lang") == "zh-Hans"


def test_no_english_is_left_in_chinese(visit: Any, run: Any) -> None:
    page = visit("#lang=zh")
    for panel in PANELS:
        page.click(f"#tab-{panel}")
        if panel not in ("metrics", "models"):
            run(page, panel)
    words = page.value("fetch('page/words/en.json').then((answer) => answer.json())")
    seen = page.value("document.body.textContent")
    left = [key for key, english in words.items() if len(english) > 14 and "{" not in english and english in seen]
    assert left == []


def test_a_link_opens_the_same_panel_and_language(visit: Any) -> None:
    page = visit("#panel=tokenise&lang=zh")
    panels = "[...document.querySelectorAll('[role=tabpanel]')]"
    assert page.value(f"{panels}.filter((node) => !node.hidden).map((node) => node.id)") == ["tokenise"]
    page.value("location.hash = '#panel=rerank&lang=en'")
    page.until("!document.getElementById('rerank').hidden && document.documentElement.lang === 'en'")
    other = visit("#panel=<img>&lang=<b>")
    assert other.value("document.getElementById('embeddings').hidden") is False
    assert other.value("document.documentElement.lang") == "en"


def test_the_theme_follows_the_system_until_one_is_chosen(visit: Any, address: str) -> None:
    page = visit(dark=True)
    assert page.value(CONTRAST)["paper"] < 0.1
    page.click("[data-theme-choice=light]")
    assert page.value(CONTRAST)["paper"] > 0.8
    page.open(f"{address}/?again")
    assert page.value(CONTRAST)["paper"] > 0.8
    page.click("[data-theme-choice=auto]")
    assert page.value(CONTRAST)["paper"] < 0.1


def test_behind_a_path_of_a_proxy(visit: Any, run: Any, address: str) -> None:
    page = visit("#panel=rerank", f"{address}/behind/a%20proxy")
    run(page, "rerank")
    assert page.value("document.querySelectorAll('#rerank .ranking li').length") == 5
    assert all("/behind/a%20proxy/" in one for one in page.addresses if one.startswith("http"))


def test_nothing_is_asked_of_anybody_else(visit: Any, run: Any, address: str) -> None:
    page = visit()
    for panel in PANELS[:4]:
        page.click(f"#tab-{panel}")
        run(page, panel)
    assert page.addresses
    assert {one for one in page.addresses if not one.startswith(f"{address}/")} == set()


# Keyboard, screens, colours.


def test_tabs_by_keyboard(visit: Any) -> None:
    page = visit()
    page.value("document.getElementById('tab-embeddings').focus()")
    keys = {"ArrowRight": "rerank", "End": "models", "ArrowLeft": "metrics", "Home": "embeddings"}
    for key, panel in [*keys.items(), ("ArrowLeft", "models"), ("ArrowRight", "embeddings")]:
        page.press(key)
        assert page.value("document.activeElement.id") == f"tab-{panel}"
        assert page.value("document.activeElement.getAttribute('aria-selected')") == "true"
        assert page.value(f"document.getElementById('{panel}').hidden") is False
    page.press("Tab")
    assert page.value("document.activeElement.name") == "model", "the next stop is in the panel"
    assert page.value("[...document.querySelectorAll('[role=tab]')].map((n) => n.tabIndex)") == [0, -1, -1, -1, -1, -1]


def test_the_focus_is_seen_and_everything_that_acts_is_named(visit: Any) -> None:
    page = visit()
    page.press("Tab")
    assert page.value("document.activeElement.className") == "skip"
    page.press("Tab")
    assert page.value("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    fields = "[...document.querySelectorAll('select, input, textarea')]"
    assert page.value(f"{fields}.filter((node) => !node.labels[0]?.textContent.trim()).length") == 0
    buttons = "[...document.querySelectorAll('button')]"
    assert page.value(f"{buttons}.filter((node) => !node.textContent.trim()).length") == 0
    assert page.value("document.querySelectorAll('[role=status]').length") >= len(PANELS)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1400])
def test_everything_is_readable_and_only_tables_scroll_sideways(visit: Any, run: Any, dark: bool, width: int) -> None:
    page = visit(width=width, dark=dark)
    long = "x" * 400 + " 大熊猫主要栖息在四川的山区" * 20
    page.fill("#embeddings [name=texts]", "\n".join([*(f"text {number} of a dog" for number in range(20)), long]))
    page.fill("#rerank [name=documents]", f"a dog\n{long}\na panda")
    page.fill("#tokenise [name=text]", long)
    page.fill("#weights [name=document]", long)
    # A colour on its way from one state to another is neither of them.
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    page.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}, scheme])
    for panel in PANELS:
        page.click(f"#tab-{panel}")
        if panel not in ("metrics", "models"):
            run(page, panel)
        found = page.value(CONTRAST)
        assert found["count"] > 20
        assert found["worst"][0] >= 4.5, (panel, found["worst"])
        assert page.value("document.documentElement.scrollWidth - innerWidth") <= 0, panel
        right = page.value(f"document.querySelector('#{panel} .output').getBoundingClientRect().right - innerWidth")
        assert right <= 0, panel
