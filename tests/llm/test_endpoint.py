"""`ChatEndpoint` against a real HTTP server whose every answer is scripted."""

from __future__ import annotations

import logging
import socket
import threading
import time
from concurrent.futures import CancelledError
from email.utils import formatdate

import pytest

from lagotto import ChatEndpoint
from lagotto.core.errors import (
    ClosedError,
    ConfigError,
    EndpointBusyError,
    EndpointError,
    EndpointTimeoutError,
)
from lagotto.llm import exchange, failures
from lagotto.llm.base import Chat, Message
from support.chat_server import After, Drip, Drop, Half, Say, Silence, Status

KEY = "sk-very-secret-123"
CHAT = Chat((Message("user", "hello"),))


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(failures, "_FIRST_PAUSE", 0.01)


@pytest.fixture
def endpoint(server):
    with ChatEndpoint(server.url, "judge-1", timeout=5, max_retries=2) as opened:
        yield opened


def error_of(endpoint, chat=CHAT) -> EndpointError:
    with pytest.raises(EndpointError) as caught:
        endpoint.submit(chat).result(20)
    return caught.value


def test_what_is_sent_and_what_comes_back(server, endpoint):
    form = {"type": "json_object"}
    chat = Chat((Message("system", "be brief"), Message("user", "熊猫? \ud800")), form, top_logprobs=5, max_tokens=9)
    server.script = [Say("42", logprobs={"4": -0.1, "5": -3.0})]
    reply = endpoint.submit(chat).result(5)
    assert (reply.text, reply.finish, reply.prompt_tokens, reply.completion_tokens) == ("42", "stop", 100, 7)
    assert reply.first_token == (("4", -0.1), ("5", -3.0))
    assert reply.retries == 0
    (asked,) = server.asked
    assert asked.path == "/v1/chat/completions"
    assert "authorization" not in asked.headers
    assert asked.body == {
        "model": "judge-1",
        "temperature": 0.0,
        "max_tokens": 9,
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "熊猫? \ud800"}],
        "response_format": form,
        "logprobs": True,
        "top_logprobs": 5,
    }


def test_settings_of_other_models(server):
    with ChatEndpoint(
        server.url + "/",
        "m",
        temperature=None,
        max_tokens=50,
        length_field="max_completion_tokens",
        extra={"reasoning_effort": "low"},
    ) as endpoint:
        endpoint.submit(CHAT).result(5)
    body = server.asked[0].body
    assert body["max_completion_tokens"] == 50
    assert body["reasoning_effort"] == "low"
    assert not {"temperature", "max_tokens", "logprobs", "response_format"} & set(body)
    with ChatEndpoint(server.url, "m", max_tokens=None) as endpoint:
        endpoint.submit(CHAT).result(5)
    assert "max_tokens" not in server.asked[1].body


def test_a_reply_without_usage_logprobs_or_text(server, endpoint):
    server.script = [Say(None, usage=False)]
    reply = endpoint.submit(CHAT).result(5)
    assert (reply.text, reply.prompt_tokens, reply.completion_tokens, reply.first_token) == ("", None, None, None)


@pytest.mark.parametrize("where", ["argument", "environment", "named variable", "file"])
def test_the_key_is_sent_and_never_shown(server, monkeypatch, caplog, tmp_path, where):
    caplog.set_level(logging.DEBUG)
    keywords = {}
    if where == "argument":
        keywords["api_key"] = KEY
    elif where == "environment":
        monkeypatch.setenv("LAGOTTO_LLM_API_KEY", KEY)
    elif where == "file":
        keywords["key_file"] = tmp_path / "key"
        keywords["key_file"].write_text(f"{KEY}\n")
    else:
        monkeypatch.setenv("MY_KEY", KEY)
        keywords["key_variable"] = "MY_KEY"
    server.script = [Say("ok"), Status(401, {"error": {"message": f"{KEY} is no valid key"}})]
    with ChatEndpoint(server.url, "m", **keywords) as endpoint:
        endpoint.submit(CHAT).result(5)
        assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"
        error = error_of(endpoint)
        shown = [repr(endpoint), str(error), repr(error), endpoint.fingerprint, caplog.text]
    assert not any(KEY in text for text in shown)
    assert "*** is no valid key" in str(error)


def test_the_key_of_another_program_is_not_sent(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with ChatEndpoint(server.url, "m") as endpoint:
        endpoint.submit(CHAT).result(5)
    assert "authorization" not in server.asked[0].headers


@pytest.mark.parametrize(
    ("step", "status", "words"),
    [
        (Status(400, {"error": {"message": "response_format is not supported"}}), 400, "answers='text'"),
        (Status(401), 401, "check the API key"),
        (Status(404, {"error": {"message": "The model `x` does not exist"}}), 404, "check the model's name"),
        (Status(404, b"<html>\nnot   found\x1b[31m</html>"), 404, "<html> not found [31m</html>"),
        (Status(413, {"detail": "too long"}), 413, "smaller max_characters"),
        (Status(422, {"message": "m" * 1000}), 422, "m…"),
        (Status(307, b"", {"Location": "http://elsewhere/"}), 307, "'http://elsewhere/'"),
    ],
)
def test_what_is_final_is_said_at_once(server, endpoint, step, status, words):
    server.script = [step]
    error = error_of(endpoint)
    assert error.endpoint_status == status
    assert f"answered {status}" in str(error)
    assert words in str(error)
    assert server.url in str(error)
    assert "'judge-1'" in str(error)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "step",
    [
        Status(500),
        Status(503, b""),
        Status(429, headers={"Retry-After": "0"}),
        Half(),
        Drop(),
        Status(200, b"{not json"),
        Status(200, [1, 2]),
        Status(200, b"[" * 100_000),
        Status(500, b"[" * 100_000),
        Status(200, {"choices": []}),
        Status(200, {"choices": [{"text": "completion of another kind"}]}),
        Status(200, {"choices": [{"message": {"content": [1]}}]}),
    ],
)
def test_what_may_pass_is_tried_again_and_then_said(server, endpoint, step):
    server.script = [step, step]
    reply = endpoint.submit(CHAT).result(10)
    assert (reply.text, reply.retries) == ("ok", 2)
    server.asked.clear()
    server.script = [step] * 3
    error = error_of(endpoint)
    assert "tried 3 times" in str(error)
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("step", "kind", "after"),
    [
        (Status(429, headers={"Retry-After": "90"}), EndpointBusyError, 90),
        (Status(503), EndpointBusyError, None),
        (Status(504), EndpointTimeoutError, None),
        (Silence(), EndpointTimeoutError, None),
        (Status(500), EndpointError, None),
        (Drop(), EndpointError, None),
    ],
)
def test_what_it_failed_of_is_told_apart(server, step, kind, after):
    server.script = [step]
    with ChatEndpoint(server.url, "m", max_retries=0, timeout=0.2) as endpoint:
        error = error_of(endpoint)
    assert type(error) is kind
    assert error.retry_after == after


def test_retry_after_is_waited_for(server, endpoint):
    server.script = [Status(429, headers={"Retry-After": "1"})]
    started = time.monotonic()
    assert endpoint.submit(CHAT).result(10).retries == 1
    assert 1 <= time.monotonic() - started < 4


def test_a_retry_after_that_is_too_far_away_fails_at_once(server):
    date = formatdate(time.time() + 3600, usegmt=True)
    server.script = [Status(429, headers={"Retry-After": date})]
    with ChatEndpoint(server.url, "m", max_pause=30) as endpoint:
        error = error_of(endpoint)
    assert "answered 429" in str(error)
    assert "max_pause is 30" in str(error)
    assert len(server.asked) == 1


def test_a_refused_connection():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with ChatEndpoint(f"http://127.0.0.1:{port}/v1", "m", max_retries=1) as endpoint:
        error = error_of(endpoint)
    assert "refused the connection; is it running" in str(error)
    assert error.endpoint_status is None


@pytest.mark.parametrize("step", [Silence(), Drip(), After(3, Say("late"))])
def test_a_try_has_its_time_and_no_more(server, step):
    server.script = [step]
    started = time.monotonic()
    with ChatEndpoint(server.url, "m", timeout=0.3, max_retries=0) as endpoint:
        error = error_of(endpoint)
    assert "no whole answer within 0.3 s" in str(error)
    assert time.monotonic() - started < 2.5


def test_an_endless_answer_is_not_read(server, endpoint, monkeypatch):
    monkeypatch.setattr(exchange, "MOST_BYTES", 1000)
    server.script = [Status(200, b" " * 2000)] * 3
    assert "more than 1000 bytes" in str(error_of(endpoint))


def test_so_many_requests_at_once(server):
    server.judge = lambda asked: After(0.05, Say("ok"))
    with ChatEndpoint(server.url, "m", concurrency=3) as endpoint:
        parts = [endpoint.submit(CHAT) for _ in range(12)]
        assert [part.result(20).text for part in parts] == ["ok"] * 12
    assert server.most == 3


def test_cancelling_ends_the_connection_and_what_waits(server):
    server.judge = lambda asked: Silence()
    with ChatEndpoint(server.url, "m", concurrency=1) as endpoint:
        running, waiting = endpoint.submit(CHAT), endpoint.submit(CHAT)
        while not server.asked:
            time.sleep(0.01)
        started = time.monotonic()
        assert waiting.cancel()
        assert running.cancel()
        with pytest.raises(CancelledError):
            running.result(1)
    assert time.monotonic() - started < 5  # closing waits for the threads
    assert len(server.asked) == 1


def test_cancelling_ends_a_pause(server):
    server.judge = lambda asked: Status(429, headers={"Retry-After": "50"})
    with ChatEndpoint(server.url, "m") as endpoint:
        part = endpoint.submit(CHAT)
        while not server.asked:
            time.sleep(0.01)
        started = time.monotonic()
        part.cancel()
    assert time.monotonic() - started < 5


def test_a_closed_endpoint_finishes_and_takes_no_more(server):
    server.judge = lambda asked: After(0.1, Say("ok"))
    endpoint = ChatEndpoint(server.url, "m")
    part = endpoint.submit(CHAT)
    endpoint.close()
    assert part.result(0).text == "ok"
    with pytest.raises(ClosedError, match="was closed"):
        endpoint.submit(CHAT)


def test_no_thread_is_left(server):
    before = threading.active_count()
    with ChatEndpoint(server.url, "m") as endpoint:
        endpoint.submit(CHAT).result(5)
    for _ in range(200):
        if threading.active_count() <= before:
            break
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_the_fingerprint_tells_settings_apart(server):
    def of(**keywords):
        with ChatEndpoint(keywords.pop("url", server.url), keywords.pop("model", "m"), **keywords) as endpoint:
            return endpoint.fingerprint

    found = [
        of(),
        of(model="n"),
        of(temperature=1),
        of(max_tokens=5),
        of(extra={"a": 1}),
        of(url="http://localhost:1/v1"),
    ]
    assert len(set(found)) == len(found)
    assert of() == of(timeout=3, max_retries=0, concurrency=9, api_key="k") == found[0]
    assert len(found[0]) == 32


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"url": "127.0.0.1:8000/v1"}, "address"),
        ({"url": "ftp://host/v1"}, "address"),
        ({"url": "http:///v1"}, "address"),
        ({"url": "http://host:99999/v1"}, "no URL"),
        ({"url": "http://host/v1\r\nX: y"}, "address"),
        ({"url": "http://me:secret@host/v1"}, "user or password"),
        ({"url": "http://host/v1?key=1"}, "query"),
        ({"url": "http://host/v1/chat/completions"}, "leave /chat/completions out"),
        ({"url": "http://host/熊猫"}, "ASCII"),
        ({"url": "http://host/a b"}, "space"),
        ({"model": " "}, "model is"),
        ({"api_key": "a\nb"}, "API key"),
        ({"api_key": ""}, "API key"),
        ({"api_key": "a", "key_variable": "B"}, "give one"),
        ({"key_file": "a", "key_variable": "B"}, "give one"),
        ({"key_file": "/not/there"}, "can't be read"),
        ({"key_variable": "NOT_SET_ANYWHERE"}, "'NOT_SET_ANYWHERE'"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"timeout": 0}, "timeout"),
        ({"max_retries": -1}, "max_retries"),
        ({"max_pause": None}, "max_pause"),
        ({"concurrency": 0}, "concurrency"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"length_field": "length"}, "length_field"),
        ({"extra": {"stream": True}}, "stream"),
        ({"extra": {"a": object()}}, "JSON"),
    ],
)
def test_settings_that_cannot_be(keywords, words):
    with pytest.raises(ConfigError, match=words) as caught:
        ChatEndpoint(**{"url": "http://127.0.0.1:1/v1", "model": "m"} | keywords)
    assert "secret" not in str(caught.value)


def test_a_proxy_of_the_environment_is_used_unless_it_is_bypassed(server, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/v1").replace("//", "//user:pass%20word@"))
    with ChatEndpoint("http://api.invalid:81/v1", "m") as endpoint:
        assert endpoint.submit(CHAT).result(5).text == "ok"
    (asked,) = server.asked
    assert asked.path == "http://api.invalid:81/v1/chat/completions"
    assert asked.headers["host"] == "api.invalid:81"
    assert asked.headers["proxy-authorization"] == "Basic dXNlcjpwYXNzIHdvcmQ="
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ChatEndpoint(server.url, "m") as endpoint:
        endpoint.submit(CHAT).result(5)
    assert server.asked[1].path == "/v1/chat/completions"


def test_a_proxy_of_another_kind_is_said(server, monkeypatch):
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
    with ChatEndpoint(server.url, "m") as endpoint, pytest.raises(ConfigError, match="socks5"):
        endpoint.submit(CHAT).result(5)
