"""Files to calibrate int8 models on."""

from __future__ import annotations

from pathlib import Path

from support.checkpoints import some_texts
from support.collection import write_lines


def texts(number: int = 128, seed: int = 11) -> list[str]:
    """Different texts, none of them empty."""
    return list(dict.fromkeys(text for text in some_texts(2 * number, seed=seed) if text))[:number]


def write_texts(path: Path, number: int = 128) -> Path:
    """Documents, a JSON object a line."""
    return write_lines(path, ({"text": text} for text in texts(number)))


def write_pairs(path: Path, number: int = 128) -> Path:
    """Queries with documents."""
    sides = zip(texts(number, seed=12), texts(number, seed=13), strict=True)
    return write_lines(path, ({"query": query, "document": document} for query, document in sides))
