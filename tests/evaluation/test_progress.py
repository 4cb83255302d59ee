"""What is said while an evaluation works."""

from __future__ import annotations

import io

import pytest

from lagotto.evaluation.progress import Silence, Terminal


class Screen(io.StringIO):
    """Standard error as a terminal."""

    def isatty(self) -> bool:
        return True


def on_a_screen(monkeypatch) -> Screen:
    screen = Screen()
    monkeypatch.setattr("sys.stderr", screen)
    return screen


def test_silence_says_nothing(capfd):
    watcher = Silence()
    with watcher.stage("work", 3, "text") as done:
        done(3)
    watcher.say("line")
    assert capfd.readouterr() == ("", "")


def test_in_a_log_file_there_are_only_lines(capsys):
    watcher = Terminal()
    with watcher.stage("work", 3, "text") as done:
        done(3)
    watcher.say("first")
    assert capsys.readouterr() == ("", "first\n")


@pytest.mark.parametrize("total", [3, None])
def test_on_a_terminal_there_is_a_bar_that_goes_away(monkeypatch, total):
    screen = on_a_screen(monkeypatch)
    watcher = Terminal()
    with watcher.stage("mini: embedding", total, "text") as done:
        done(1)
        done(2)
        assert "mini: embedding" in screen.getvalue()
    watcher.say("done")
    *_, last = screen.getvalue().split("\r")
    assert last == "done\n"  # what the bar wrote was wiped


def test_a_bar_goes_away_on_errors_too(monkeypatch):
    screen = on_a_screen(monkeypatch)

    def work() -> None:
        with Terminal().stage("work", 3, "text"):
            raise KeyError("x")

    with pytest.raises(KeyError):
        work()
    assert screen.getvalue().endswith("\r")
