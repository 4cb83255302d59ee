"""``lagotto keys``: a key, and the table that goes with it."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime

import pytest

from lagotto.server.key_settings import KeySettings, digest_of


def created(result):
    """The key, and the table of the settings file."""
    assert result.exit_code == 0, result.output
    key, *table = result.stdout.splitlines()
    (found,) = tomllib.loads("\n".join(table))["key"]
    return key, KeySettings.model_validate(found)


def test_a_key_and_its_table_go_together_and_the_table_does_not_hold_it(run):
    result = run("keys", "create", "ci")
    key, table = created(result)
    assert table.name == "ci"
    assert table.hash == digest_of(key)
    assert result.stdout.count(key) == 1
    assert table.scopes == ("embed", "rerank")
    assert (table.requests_per_minute, table.tokens_per_minute, table.expires, table.priority) == (
        None,
        None,
        None,
        None,
    )


def test_keys_are_long_and_different(run):
    keys = {created(run("keys", "create", "a"))[0] for _ in range(5)}
    assert len(keys) == 5
    assert all(key.startswith("lgt_") and len(key) == 47 for key in keys)


def test_everything_a_table_can_hold(run):
    flags = ["--scope", "admin", "--scope", "metrics", "--requests-per-minute", "60", "--tokens-per-minute", "9000"]
    _, table = created(run("keys", "create", "ops", *flags, "--expires", "2027-01-31", "--priority", "bulk"))
    assert table.scopes == ("admin", "metrics")
    assert (table.requests_per_minute, table.tokens_per_minute, table.priority) == (60, 9000, "bulk")
    assert table.expires == datetime(2027, 1, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["a b"], "name"),
        (["a\n"], "name"),
        (["a", "--scope", "root"], "scopes"),
        (["a", "--expires", "soon"], "expires"),
        (["a", "--priority", "first"], "priority"),
    ],
)
def test_what_a_table_cant_hold_is_refused(run, flags, says):
    result = run("keys", "create", *flags)
    assert result.exit_code == 1
    assert says in result.stderr
    assert "lgt_" not in result.output
