"""Tokens to sequences: windows and CLS tokens put in, by their properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lagotto.batch.layout import Layout
from lagotto.batch.long_texts import LongTexts, MultiCls, Windows
from lagotto.batch.sequences import Sequences
from lagotto.batch.template import Template
from lagotto.core.errors import InvalidInputError, TextTooLongError

TEMPLATES = [Template((2,), (3,), (3,), 1), Template((0,), (2,), (2, 2), None), Template((7, 8), (), (9,), None)]
TEMPLATE = st.sampled_from(TEMPLATES)
LENGTHS = st.lists(st.integers(0, 120), max_size=5)


def lay_out(
    template: Template, policy: LongTexts, lengths: list[int], limit: int, prompt: tuple[int, int]
) -> Sequences:
    layout = Layout(template, limit, policy, 0)
    for length in lengths:
        tokens = list(range(100, 100 + length + sum(prompt)))
        layout.add(tokens, *prompt)
    return layout.sequences()


@given(
    TEMPLATE,
    LENGTHS,
    st.integers(8, 40),
    st.integers(0, 60),
    st.tuples(st.integers(0, 2), st.integers(0, 2)),
)
def test_windows_speak_for_every_token_once(
    template: Template, lengths: list[int], size: int, overlap: int, prompt: tuple[int, int]
) -> None:
    found = lay_out(template, Windows(size, overlap), lengths, 40, prompt)
    assert found.own is not None
    assert found.inputs == len(lengths)
    assert not any(found.truncated)
    assert max(found.lengths(), default=0) <= size
    for number, length in enumerate(lengths):
        whole = [*template.prefix, *range(100, 100 + length + sum(prompt)), *template.suffix]
        rows = [row for row, owner in enumerate(found.owner) if owner == number]
        assert rows == list(range(rows[0], rows[-1] + 1))
        assert rows[0] == found.firsts()[number]
        spoken = [token for row in rows for token in found.ids[row][slice(*found.own[row])].tolist()]
        assert spoken == whole
        assert found.totals()[number] == len(whole)
        front, behind = 100 + prompt[0], 100 + prompt[0] + length
        for row in rows:
            ids = found.ids[row].tolist()
            head, tail = [*template.prefix, *range(100, front)], [*range(behind, behind + prompt[1]), *template.suffix]
            assert ids[: len(head)] == head
            assert ids[len(ids) - len(tail) :] == tail
            body = ids[len(head) : len(ids) - len(tail)]
            assert body == list(range(body[0], body[0] + len(body))) if body else length == 0


@given(TEMPLATE, LENGTHS, st.integers(4, 60), st.integers(1, 70), st.sampled_from(["right", "left"]))
def test_cls_tokens_stand_every_so_often(
    template: Template, lengths: list[int], limit: int, every: int, side: str
) -> None:
    found = lay_out(template, MultiCls(every, side), lengths, limit, (0, 0))  # type: ignore[arg-type]
    assert found.cls is not None
    for row, length in enumerate(lengths):
        ids, at = found.ids[row].tolist(), found.cls[row]
        assert len(ids) <= limit
        assert [ids[place] for place in at] == [template.prefix[0]] * len(at)
        kept = [ids[place] for place in np.arange(len(ids))[found.speaking(row)]]
        text = kept[len(template.prefix) : len(kept) - len(template.suffix)]
        assert len(at) == 1 + max(0, len(text) - 1) // every
        expected = list(range(100, 100 + length))
        assert text == (expected[: len(text)] if side == "right" else expected[length - len(text) :])
        assert found.truncated[row] == (len(text) < length)
        if len(text) < length:  # one more would not fit, with the CLS token that it may need
            more = len(text) + 1
            assert len(template.prefix) + more + (more - 1) // every + len(template.suffix) > limit
        spans = np.diff([*at, len(ids) - len(template.suffix)])
        extra = [len(template.prefix)] + [1] * (len(at) - 1)
        assert all(span - more == every for span, more in zip(spans[:-1], extra, strict=False))


@given(TEMPLATE, LENGTHS, st.sampled_from([Windows(), MultiCls(64)]))
def test_what_fits_is_what_it_is_without(template: Template, lengths: list[int], policy: LongTexts) -> None:
    short = [min(length, 60) for length in lengths]
    found, plain = lay_out(template, policy, short, 64, (0, 0)), lay_out(template, "right", short, 64, (0, 0))
    assert [ids.tolist() for ids in found.ids] == [ids.tolist() for ids in plain.ids]


def test_windows_larger_than_the_limit_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="size of windows is 65; at most 64"):
        Layout(TEMPLATES[0], 64, Windows(65), 0)


def test_windows_without_room_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="max_length is 2"):
        Layout(TEMPLATES[0], 64, Windows(2), 0)


def test_a_prompt_that_fills_a_window_is_refused_with_the_texts_number() -> None:
    layout = Layout(TEMPLATES[0], 64, Windows(10), 5)
    layout.add([1, 2, 3], 3, 0)
    with pytest.raises(InvalidInputError, match="text 6: its prompt has 8 tokens, and a window has room for 8"):
        layout.add(list(range(20)), 6, 2)


def test_cls_tokens_may_refuse_what_does_not_fit() -> None:
    layout = Layout(TEMPLATES[0], 12, MultiCls(4, "error"), 2)
    layout.add(list(range(8)))
    with pytest.raises(TextTooLongError, match="text 3 has 9 tokens, 8 fit"):
        layout.add(list(range(9)))


def test_a_tokenizer_without_a_token_in_front_has_no_cls_to_repeat() -> None:
    with pytest.raises(InvalidInputError, match="MultiCls"):
        Layout(Template((), (3,), (3,), 1), 64, MultiCls(), 0)
