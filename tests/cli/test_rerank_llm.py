"""``lagotto rerank --llm``: a language model is asked, and what that cost is told."""

from __future__ import annotations

import json
import signal
import subprocess
import time

import pytest

from support.chat_server import ChatServer, Silence, Status, judge

DOCUMENTS = "worth 3\nworth 9\nworth 1\n"


@pytest.fixture
def server():
    with ChatServer(judge()) as running:
        yield running


def ask(run, server, *more: object, documents: str = DOCUMENTS):
    return run("rerank", "--llm", server.url, "--llm-model", "judge-1", "-Q", "which?", *more, input=documents)


@pytest.mark.parametrize("strategy", ["listwise", "pairwise", "pointwise"])
def test_the_models_order_and_what_it_cost(run, server, strategy):
    result = ask(run, server, "--strategy", strategy, "--json", "-n", "2")
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["index"] for row in rows] == [1, 0]
    assert [row["text"] for row in rows] == ["worth 9", "worth 3"]
    calls = len(server.asked)
    assert f"{calls} calls, {100 * calls} prompt and {7 * calls} completion tokens, 0 retries" in result.stderr


def test_options_reach_the_model(run, server, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-1")
    more = ["--llm-key-variable", "MY_KEY", "--answers", "text", "--language", "zh", "--window", "2", "--step", "1"]
    more += ["--passes", "2", "--permutations", "2", "--max-characters", "7", "--concurrency", "1", "--timeout", "9"]
    result = ask(run, server, *more, "--reasoning-model", documents="worth 3!\nworth 9\nworth 1\n")
    assert result.exit_code == 0, result.output
    assert len(server.asked) == 2 * 2 * 2
    asked = server.asked[0]
    assert asked.headers["authorization"] == "Bearer sk-1"
    assert "查询" in asked.prompt
    assert "response_format" not in asked.body
    assert "temperature" not in asked.body
    assert set(asked.passages.values()) <= {"worth 3", "worth 9", "worth 1"}
    assert "1 documents were cut to --max-characters" in result.stderr
    assert result.stdout.splitlines()[2].split() == ["1", "1.0000", "1", "worth", "9"]


def test_the_key_may_stand_in_a_file(run, server, tmp_path):
    (tmp_path / "key").write_text("sk-2\n")
    assert ask(run, server, "--llm-key-file", tmp_path / "key").exit_code == 0
    assert server.asked[0].headers["authorization"] == "Bearer sk-2"
    result = run("rerank", "-m", "any", "-Q", "q", "--llm-key-file", tmp_path / "key", input=DOCUMENTS)
    assert "--llm-key-file is for --llm" in result.stderr


def test_raw_grades(run, server):
    result = ask(run, server, "--strategy", "pointwise", "--judgement", "grade", "--raw", "--json")
    assert [json.loads(line)["score"] for line in result.stdout.splitlines()] == [9.0, 3.0, 1.0]


def test_a_failure_is_one_line(run, server):
    server.judge = lambda asked: Status(404, {"error": {"message": "no such model"}})
    result = ask(run, server)
    assert result.exit_code == 1
    assert result.stderr.startswith("lagotto: error: http://127.0.0.1:")
    assert "no such model" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_an_interrupt_does_not_wait_for_the_answer(start, server):
    server.judge = lambda asked: Silence()
    process = start("rerank", "--llm", server.url, "--llm-model", "m", "-Q", "q", stdin=subprocess.PIPE)
    process.stdin.write(DOCUMENTS.encode())
    process.stdin.close()
    while not server.asked:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(15) == 130
    assert process.stderr.read() == b"lagotto: interrupted\n"
    process.stdout.close()
    process.stderr.close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "either --model"),
        (["--llm", "http://h/v1", "--llm-model", "m", "-m", "x"], "either --model"),
        (["--llm", "http://h/v1"], "--llm needs --llm-model"),
        (["-m", "x", "--strategy", "listwise"], "--strategy is for --llm"),
        (["-m", "x", "--llm-key-variable", "X"], "--llm-key-variable is for --llm"),
        (["-m", "x", "--reasoning-model"], "--reasoning-model is for --llm"),
        (["--llm", "http://h/v1", "--llm-model", "m", "--threads", "2"], "--threads is for --model"),
        (["--llm", "http://h/v1", "--llm-model", "m", "--strategy", "pointwise", "--window", "3"], "window is not for"),
    ],
)
def test_options_that_do_not_fit_together(run, options, words):
    result = run("rerank", "-Q", "q", *options, input="a\n")
    assert result.exit_code == 1
    assert words in result.stderr
