"""The page at ``/``: who gets it, with which headers, what its files hold; a browser opens it in ``web_page/``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Match
from starlette.testclient import TestClient

from lagotto.server.page import FILES, POLICY

HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
NAMES = sorted(path.relative_to(FILES).as_posix() for path in FILES.rglob("*") if path.is_file())
SCRIPTS = [name for name in NAMES if name.endswith(".js")]
WORDS = {code: json.loads((FILES / f"words/{code}.json").read_text(encoding="utf-8")) for code in ("en", "zh")}
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}


def text(name: str) -> str:
    return (FILES / name).read_text(encoding="utf-8")


# Who gets it.


def test_browsers_get_the_page_and_others_what_tei_answers(client: TestClient) -> None:
    page = client.get("/", headers=HTML)
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.text == text("index.html")
    assert page.headers["vary"] == "accept"
    for accept in ("*/*", "application/json"):
        other = client.get("/", headers={"accept": accept})
        assert (other.status_code, other.content) == (200, b"")


def test_what_is_posted_there_is_teis_whatever_is_accepted(client: TestClient) -> None:
    reply = client.post("/", json={"inputs": "a"}, headers=HTML)
    assert len(reply.json()[0]) == 32


@pytest.mark.parametrize("name", NAMES)
def test_every_file_comes_with_its_type_and_an_etag(client: TestClient, name: str) -> None:
    reply = client.get(f"/page/{name}")
    assert reply.status_code == 200
    assert reply.content == (FILES / name).read_bytes()
    assert reply.headers["content-type"] == TYPES[Path(name).suffix]
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["content-security-policy"] == POLICY
    assert reply.headers["cache-control"] == "no-cache"
    again = client.get(f"/page/{name}", headers={"if-none-match": f'"x", W/{reply.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == reply.headers["etag"]
    assert client.get(f"/page/{name}", headers={"if-none-match": '"other"'}).status_code == 200


def test_head_has_the_same_headers_and_no_content(client: TestClient) -> None:
    for path in ("/", "/page/main.js"):
        head, got = (client.request(method, path, headers=HTML) for method in ("HEAD", "GET"))
        assert (head.status_code, head.content) == (200, b"")
        names = ("content-type", "content-length", "etag", "content-security-policy")
        assert [head.headers[name] for name in names] == [got.headers[name] for name in names]


def test_the_policy_allows_nothing_inline_and_nothing_from_elsewhere() -> None:
    rules = dict(rule.split(" ", 1) for rule in POLICY.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["frame-ancestors"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert {rules[name] for name in ("script-src", "style-src", "img-src", "connect-src")} == {"'self'"}
    assert rules["require-trusted-types-for"] == "'script'"


@pytest.mark.parametrize("name", ["none.js", "../app.py", "%2e%2e/app.py", "..%2fapp.py", "/etc/passwd", "words", ""])
def test_nothing_else_is_sent(client: TestClient, error_of: Any, name: str) -> None:
    error_of(client.get(f"/page/{name}"), 404, None)


def test_files_are_read_only(client: TestClient) -> None:
    assert client.post("/page/main.js").status_code == 405


def test_it_is_not_in_the_schema(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert not [path for path in document["paths"] if path.startswith("/page")]
    assert set(document["paths"]["/"]) == {"get", "post"}


def test_it_can_be_switched_off(open_client: Any, tiny_bert: Path) -> None:
    with open_client(models=[f"bert={tiny_bert}"], web_page=False) as client:
        assert client.get("/", headers=HTML).content == b""
        assert client.get("/page/main.js").status_code == 404
        assert client.get("/docs").status_code == 200


# What its files hold.


def test_no_file_names_another_place() -> None:
    for name in NAMES:
        rest = text(name).replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"""(?:https?:|["'(])//""", rest), name
        assert not re.search(r"@import|@font-face|\burl\(", rest), name


def test_no_file_makes_markup_of_text() -> None:
    for name in SCRIPTS:
        forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser|srcdoc"
        assert not re.search(forbidden, text(name)), name
    assert not re.search(r"\son\w+=|\sstyle=|javascript:|<style|<script>", text("index.html"))


def test_addresses_of_the_page_are_relative_and_there() -> None:
    links = re.findall(r'(?:href|src)="([^"#]+)"', text("index.html"))
    assert len(links) > 5
    for link in links:
        assert not link.startswith("/")
        assert link in ("docs", "openapi.json") or link.removeprefix("page/") in NAMES
    for name in SCRIPTS:
        for module in re.findall(r'from "\./([^"]+)"', text(name)):
            assert module in NAMES, f"{name} imports {module}"


def test_every_script_is_used() -> None:
    imported = {module for name in SCRIPTS for module in re.findall(r'from "\./([^"]+)"', text(name))}
    loaded = {link.removeprefix("page/") for link in re.findall(r'src="(page/[^"]+\.js)"', text("index.html"))}
    assert imported | loaded == set(SCRIPTS)


def test_every_route_the_page_asks_is_there(client: TestClient) -> None:
    asked = {
        (method.upper(), f"/{path}")
        for name in SCRIPTS
        for method, path in re.findall(r"(?<![.\w])(get|post)\([\"`]([\w/]+)", text(name))
    }
    assert {path for _, path in asked} == {
        "/v1/encode",
        "/v1/rerank",
        "/tokenize",
        "/decode",
        "/metrics",
        "/v1/models",
        "/models",
        "/health",
    }
    for method, path in asked:
        scope = {"type": "http", "method": method, "path": path, "headers": []}
        assert any(route.matches(scope)[0] is Match.FULL for route in client.app.routes), path  # type: ignore[attr-defined]


# Words.


def test_both_languages_have_the_same_words() -> None:
    english, chinese = WORDS["en"], WORDS["zh"]
    assert list(english) == list(chinese)
    for key, words in english.items():
        assert words.strip()
        assert chinese[key].strip()
        places = [sorted(re.findall(r"\{\w+\}", found)) for found in (words, chinese[key])]
        assert places[0] == places[1], key
    same = {key for key, words in english.items() if words == chinese[key]}
    assert same == {"weights.max_sim"}


def test_every_word_shown_is_there_and_every_word_there_is_shown() -> None:
    html = text("index.html")
    code = "".join(map(text, SCRIPTS))
    shown = set(re.findall(r'data-(?:t|t-label|t-placeholder|example)="([^"]+)"', html))
    assert shown <= set(WORDS["en"])
    built = r"^(?:state|task|truncation)\.|^rerank\.(?:up|down|same)$|^models\.(?:idle|loading)$|^tokenise\.cut\."
    for key in WORDS["en"]:
        assert key in shown or f'"{key}"' in code or re.match(built, key), key
    for key in re.findall(r'\b(?:t|called|verb|title|name): "([\w.]+)"', code):
        assert key in WORDS["en"], key
