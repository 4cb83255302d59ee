"""One line a request, in text or JSON, that nobody's input can break or fill."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from lagotto.server.key_settings import KeySettings, digest_of
from lagotto.server.logs import JsonFormatter, TextFormatter, escaped

MARKER = "quetzalcoatl"
NASTY = "a\nERROR b\r\x1b[31m\x00\x85\u2028c"


def record(message: str, *arguments: Any, **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("lagotto", logging.INFO, __file__, 1, message, arguments, None)
    made.__dict__.update(extra)
    return made


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [found.request for found in caplog.records if found.name == "lagotto.access"]  # type: ignore[attr-defined]


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "lagotto.access")
    return caplog


def test_a_line_tells_what_a_request_was(client: TestClient, logged: Any) -> None:
    headers = {"x-request-id": "abc-1"}
    body = {"model": "bert", "input": ["some dog", "some other dog"]}
    reply = client.post("/v1/embeddings", json=body, headers=headers)
    (line,) = lines(logged)
    assert reply.headers["x-request-id"] == line["id"] == "abc-1"
    assert (line["method"], line["path"], line["status"], line["model"]) == ("POST", "/v1/embeddings", 200, "bert")
    assert (line["texts"], line["tokens"]) == (2, reply.json()["usage"]["prompt_tokens"])
    assert line["ms"] > 0
    client.post("/v1/embeddings", json=body)
    assert lines(logged)[1]["cached"] == 2


def test_a_line_tells_why_a_request_failed(client: TestClient, logged: Any) -> None:
    client.post("/v1/embeddings", json={"model": "none", "input": MARKER})
    client.post("/v1/embeddings", json={"model": "bert", "input": [MARKER, ""]})
    client.get("/nowhere?secret=1")
    assert [(line["status"], line["error"]) for line in lines(logged)] == [
        (404, "model_not_found"),
        (400, "invalid_input"),
        (404, "http_404"),
    ]
    assert "secret" not in logged.text
    assert MARKER not in logged.text


def test_an_answer_has_an_id_whatever_became_of_the_request(client: TestClient) -> None:
    ids = {client.get(path).headers["x-request-id"] for path in ("/health", "/nowhere", "/docs", "/metrics")}
    assert len(ids) == 4


@pytest.mark.parametrize("given", ["a b", "a\tb", "x" * 129, "", "é", 'a"b', "a;b"])
def test_an_id_that_can_t_stand_in_a_log_is_replaced(client: TestClient, given: str) -> None:
    reply = client.get("/health", headers={"x-request-id": given.encode("utf-8")})
    assert reply.headers["x-request-id"] != given
    assert len(reply.headers["x-request-id"]) == 36


def test_a_key_is_told_by_its_name_alone(open_client: Any, tiny_bert: Path, logged: Any) -> None:
    key = KeySettings(name="ci", hash=digest_of("lgt_secret"))
    with open_client(models=[f"bert={tiny_bert}"], key=[key]) as client:
        client.get("/v1/models", headers={"authorization": "Bearer lgt_secret"})
        client.get("/v1/models", headers={"authorization": "Bearer lgt_guess"})
    assert [line.get("key") for line in lines(logged)] == ["ci", None]
    assert "lgt_" not in logged.text


def test_a_path_is_cut_and_escaped(client: TestClient, logged: Any) -> None:
    client.get("/a%0aERROR%20fake%0d" + "x" * 500)
    (line,) = lines(logged)
    assert len(line["path"]) == 200
    (found,) = [found for found in logged.records if found.name == "lagotto.access"]
    assert "\n" not in TextFormatter().format(found)
    assert "\\nERROR fake\\r" in TextFormatter().format(found)


# Formats.


def test_control_characters_are_escaped() -> None:
    text = escaped(NASTY)
    assert text == "a\\nERROR b\\r\\x1b[31m\\x00\\x85\\u2028c"
    assert text.isprintable()
    assert escaped("犬 is plain") == "犬 is plain"


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_no_input_begins_a_line_of_its_own(formatter: logging.Formatter) -> None:
    for made in (record(NASTY), record("%s", NASTY), record("x", request={"path": NASTY})):
        line = formatter.format(made)
        assert len(line.splitlines()) == 1
        assert line.isprintable()


def test_json_lines_are_objects() -> None:
    found = json.loads(JsonFormatter().format(record("%s dogs", 2)))
    assert found.pop("time").endswith("+00:00")
    assert found == {"level": "info", "logger": "lagotto", "message": "2 dogs"}
    line = json.loads(JsonFormatter().format(record("x", request={"id": "a", "status": 200})))
    assert line["request"] == {"id": "a", "status": 200}


def test_a_traceback_stays_in_its_line_of_json() -> None:
    try:
        raise ValueError(NASTY)
    except ValueError as error:
        made = record("failed")
        made.exc_info = (type(error), error, error.__traceback__)
    line = JsonFormatter().format(made)
    assert len(line.splitlines()) == 1
    assert "ValueError" in json.loads(line)["exception"]


def test_a_server_logs_json_where_it_is_told_to(start: Callable[..., Any], tiny_bert: Path) -> None:
    server = start("--model", f"bert={tiny_bert}", LAGOTTO_LOG_FORMAT="json")
    url = server.until(lambda: _url(server.log))
    httpx2.get(f"{url}/nowhere")
    server.until(lambda: "nowhere" in server.log)
    server.popen.terminate()
    server.end()
    found = [json.loads(line) for line in server.log.splitlines()]
    (line,) = [line["request"] for line in found if "request" in line]
    assert (line["path"], line["status"], line["error"]) == ("/nowhere", 404, "http_404")


def _url(log: str) -> str | None:
    for line in log.splitlines():
        message = json.loads(line)["message"] if line.endswith("}") else ""
        if "serving on" in message:
            return str(message.split("serving on ")[1].split(" ")[0])
    return None


def test_with_several_workers_a_line_says_whose_it_is() -> None:
    assert " INFO [2] lagotto: hello" in TextFormatter(2).format(record("hello"))
    assert " INFO lagotto: hello" in TextFormatter().format(record("hello"))
    assert json.loads(JsonFormatter(2).format(record("hello")))["worker"] == 2
    assert "worker" not in json.loads(JsonFormatter().format(record("hello")))
