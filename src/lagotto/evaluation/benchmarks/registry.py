"""The rows of ``benchmarks.toml``: which benchmarks there are, by name.

Nothing is read until a function here is called; later calls use what the first one found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any

from lagotto.core.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One corpus with queries and judgements, and where it comes from."""

    name: str
    """``PREFIX/PART`` or ``PREFIX/PART@VARIANT``, e.g. ``beir/scifact``; also its folder."""
    loader: str
    """Name in `lagotto.evaluation.benchmarks.loaders`."""
    split: str
    """The split its folder holds, for `read_retrieval`."""
    language: str
    """Language of the queries, ISO 639-1."""
    task: str = ""
    """The task's name in mteb, by which a model's own prompts are found."""
    instruction: str = ""
    """What models that follow instructions are told."""
    measures: tuple[str, ...] = ()
    """What it is reported by, the primary measure first."""
    group: str | None = None
    """Name under which figures are averaged."""
    corpus: str = ""
    """The same word as another benchmark's where both have the same corpus."""
    exclude_self: bool = False
    """Whether a document with the query's own id is no hit for it."""
    arguments: Mapping[str, str] = field(default_factory=dict)
    """What its loader needs to know."""

    @property
    def path(self) -> str:
        """The name without its variant."""
        return self.name.partition("@")[0]

    @property
    def variant(self) -> str:
        """Behind the ``@`` of the name; empty for the benchmark as it is."""
        return self.name.partition("@")[2]


def expand(name: str) -> tuple[Benchmark, ...]:
    """The benchmarks a name stands for.

    A full name is one benchmark; the beginning of names, up to a slash, is all that begin so: ``beir``,
    ``beir/cqadupstack``, ``bright``. Variants are left out of that unless one is asked for: ``bright@gpt4_reason``.
    Raises `InvalidInputError` with near names for anything else.
    """
    wanted = name.strip().rstrip("/")
    rows = _rows()
    if wanted in rows:
        return (rows[wanted],)
    start, _, variant = wanted.partition("@")
    found = tuple(row for row in rows.values() if row.path.startswith(start + "/") and row.variant == variant)
    if not found:
        raise InvalidInputError(_unknown(wanted))
    return found


def all_names() -> tuple[str, ...]:
    """Every benchmark's name, in the order of ``benchmarks.toml``."""
    return tuple(_rows())


@cache
def _rows() -> Mapping[str, Benchmark]:
    return {row.name: row for table in _sets() for row in _benchmarks(table)}


@cache
def _sets() -> list[dict[str, Any]]:
    import tomllib
    from importlib import resources

    text = (resources.files("lagotto.evaluation.benchmarks") / "benchmarks.toml").read_text(encoding="utf-8")
    sets: list[dict[str, Any]] = tomllib.loads(text)["set"]
    return sets


def _benchmarks(table: Mapping[str, Any]) -> Iterator[Benchmark]:
    """The rows of one [[set]]: its parts, and each part's variants behind it."""
    structure = ("prefix", "parts", "part", "base", "variants", "note")
    shared = {key: value for key, value in table.items() if key not in structure}
    own = table.get("part", {})
    for part in (*table.get("parts", ()), *own):
        row = shared | own.get(part, {})
        name = f"{table['prefix']}/{part}"
        yield _benchmark(name, row, part, table.get("base", ""))
        for variant in table.get("variants", ()):
            yield _benchmark(f"{name}@{variant}", row, part, variant)


def _benchmark(name: str, row: Mapping[str, Any], part: str, variant: str) -> Benchmark:
    pieces = part.split("/")
    filled = {
        key: value.format(*pieces, part=part, variant=variant) if isinstance(value, str) else value
        for key, value in row.items()
    }
    columns = {column.name for column in fields(Benchmark)}
    known: dict[str, Any] = {key: value for key, value in filled.items() if key in columns}
    known["measures"] = tuple(known["measures"])
    return Benchmark(name=name, arguments={key: filled[key] for key in filled if key not in columns}, **known)


def _unknown(name: str) -> str:
    """What to say of a name that is not there."""
    import difflib

    family = name.partition("/")[0]
    parts = [known for known in all_names() if known.rpartition("/")[2] == name]  # the family was left out
    near = parts or difflib.get_close_matches(name, [*all_names(), *_starts()], n=3)
    hint = f" Did you mean {' or '.join(near[:3])}?" if near else ""
    families = dict.fromkeys(table["prefix"].split("/")[0] for table in _sets())
    notes = (table["note"] for table in _sets() if "note" in table and table["prefix"].split("/")[0] == family)
    return " ".join(
        [
            f"{name!r} is no benchmark (nor a folder or file here); there are {', '.join(families)}, and FAMILY/PART "
            f"for each.{hint}",
            *notes,
        ]
    )


def _starts() -> list[str]:
    """Beginnings of names that `expand` understands."""
    paths = (row.path.split("/") for row in _rows().values())
    return list(dict.fromkeys("/".join(path[:length]) for path in paths for length in range(1, len(path))))
