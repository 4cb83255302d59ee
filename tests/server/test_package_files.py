"""Files of a package over HTTP: their types, 304 by content, nothing beside them."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from lagotto.server.package_files import PackageFiles


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "files/below").mkdir(parents=True)
    (tmp_path / "files/a.js").write_text("1", encoding="utf-8")
    (tmp_path / "files/below/LICENSE").write_text("free", encoding="utf-8")
    (tmp_path / "secret.js").write_text("no", encoding="utf-8")
    return tmp_path / "files"


def client_of(folder: Path) -> TestClient:
    app = FastAPI()
    PackageFiles(folder, {"x-more": "yes"}).mount(app, "/f")
    return TestClient(app)


def test_types_do_not_depend_on_the_machine(folder: Path) -> None:
    client = client_of(folder)
    script, plain = client.get("/f/a.js"), client.get("/f/below/LICENSE")
    assert (script.text, script.headers["content-type"]) == ("1", "text/javascript; charset=utf-8")
    assert (plain.text, plain.headers["content-type"]) == ("free", "text/plain; charset=utf-8")
    assert script.headers["x-more"] == plain.headers["x-more"] == "yes"


def test_an_etag_is_of_the_content_alone(folder: Path) -> None:
    first = client_of(folder).get("/f/a.js").headers["etag"]
    (folder / "a.js").write_text("1", encoding="utf-8")
    assert client_of(folder).get("/f/a.js", headers={"if-none-match": first}).status_code == 304
    (folder / "a.js").write_text("2", encoding="utf-8")
    changed = client_of(folder).get("/f/a.js", headers={"if-none-match": first})
    assert (changed.status_code, changed.text) == (200, "2")
    assert client_of(folder).get("/f/a.js", headers={"if-none-match": "*"}).status_code == 304


@pytest.mark.parametrize("name", ["secret.js", "../secret.js", "%2e%2e/secret.js", "below", "", "a.js/", "A.JS"])
def test_only_the_files_that_were_there_are_sent(folder: Path, name: str) -> None:
    (folder / "late.js").write_text("0", encoding="utf-8")
    client = client_of(folder)
    (folder / "later.js").write_text("0", encoding="utf-8")
    assert client.get("/f/late.js").status_code == 200
    assert client.get("/f/later.js").status_code == 404
    assert client.get(f"/f/{name}").status_code == 404


def test_head_and_nothing_that_writes(folder: Path) -> None:
    client = client_of(folder)
    assert (client.head("/f/a.js").headers["content-length"], client.head("/f/a.js").content) == ("1", b"")
    assert client.post("/f/a.js").status_code == client.delete("/f/a.js").status_code == 405
