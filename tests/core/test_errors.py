"""The error tree: statuses, codes, and what plain Python code may catch."""

from __future__ import annotations

import pytest

from lagotto.core import errors
from lagotto.core.errors import LagottoError

CLASSES = [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_is_a_lagotto_error_with_a_status_and_a_code(kind: type[LagottoError]) -> None:
    assert issubclass(kind, LagottoError)
    assert 400 <= kind.status < 600
    assert kind.code.replace("_", "").isalpha()


@pytest.mark.parametrize("kind", CLASSES)
def test_the_drawn_tree_says_the_status(kind: type[LagottoError]) -> None:
    line = next(line for line in (errors.__doc__ or "").splitlines() if kind.__name__ in line.split())
    assert f"HTTP {kind.status}" in line


def test_every_error_of_the_module_is_exported() -> None:
    defined = {n for n, v in vars(errors).items() if isinstance(v, type) and issubclass(v, LagottoError)}
    assert defined == set(errors.__all__)


def test_plain_python_errors_catch_their_kin() -> None:
    assert issubclass(errors.InvalidInputError, ValueError)
    assert issubclass(errors.ConfigError, ValueError)
    assert issubclass(errors.MissingDependencyError, ImportError)
