"""How an expected error leaves the command."""

from __future__ import annotations

import re
from typing import Any


def one_line(result: Any, message: str) -> None:
    """It is one line on standard error that matches, and nothing else, and the exit code is 1."""
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("lagotto: error: ")
    assert re.search(message, line), line
