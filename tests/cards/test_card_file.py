"""A card of the caller's own: a TOML file where a listed name could stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from lagotto.cards.card_file import chosen_card
from lagotto.cards.registry import find_card
from lagotto.core.errors import CheckpointError, InvalidInputError

RERANKER = """
[[model]]
name = "mine"
task = "rerank"
architecture = "llama"
heads = ["yes_logit"]
max_length = 1024
[model.query]
instruction = "Q: "
[model.options]
separator = "\\n"
yes_token = "Yes"
"""
EMBEDDER = """
[[model]]
name = "mine"
task = "embed"
architecture = "qwen3"
heads = ["dense"]
max_length = 512
pooling = "last_token"
[model.query]
instruction = "Find it"
format = "{instruction}: {text}"
"""


def write(folder: Path, text: str) -> str:
    path = folder / "card.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_listed_name(tmp_path: Path) -> None:
    assert chosen_card("BAAI/bge-m3") is find_card("BAAI/bge-m3")
    with pytest.raises(InvalidInputError, match=r"'BAAI/bge-m4' is not listed, nor a \.toml file; .*BAAI/bge-m3"):
        chosen_card("BAAI/bge-m4")


def test_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = chosen_card(write(tmp_path, RERANKER))
    assert (card.name, card.heads, card.options["yes_token"], card.query.instruction) == (
        "mine",
        ("yes_logit",),
        "Yes",
        "Q: ",
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    assert chosen_card("~/card.toml") == card
    assert chosen_card(write(tmp_path, EMBEDDER)).query.render("a") == "Find it: a"
    assert chosen_card(write(tmp_path, RERANKER + 'max_length_counts = "all"\n')).options["max_length_counts"] == "all"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"none\.toml' can't be read: No such file"):
        chosen_card(str(tmp_path / "none.toml"))
    (tmp_path / "latin.toml").write_bytes(b"\xe9")
    with pytest.raises(InvalidInputError, match=r"latin\.toml' can't be read"):
        chosen_card(str(tmp_path / "latin.toml"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", r"holds 0 \[\[model\]\] tables; a card is one"),
        (RERANKER + RERANKER, r"holds 2 \[\[model\]\] tables"),
        ("[[model]", "not valid TOML"),
        (RERANKER + 'yes_tokn = "Yes"\n', r"nothing reads option 'yes_tokn' .* separator, yes_token, opening"),
        (RERANKER + "ending = 3\n", "option ending is a int; give a string"),
        (RERANKER + 'max_length_counts = "both"\n', "max_length_counts is 'both'; allowed are all, texts, passage"),
        (RERANKER.replace("yes_token", "no_token"), "lack yes_token"),
        (RERANKER.replace("yes_logit", "layerwise"), "by listed cards alone"),
        (EMBEDDER + '[model.options]\nprompt = "?"\n', r"option 'prompt' .* suffix, example_format"),
        (EMBEDDER.replace("embed", "embd"), "task 'embd'"),
    ],
)
def test_a_file_that_describes_no_model(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(CheckpointError, match=says):
        chosen_card(write(tmp_path, text))
