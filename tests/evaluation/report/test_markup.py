"""Outside texts can neither act nor vanish."""

from __future__ import annotations

import pytest

from lagotto.evaluation.report.markup import Html, both, clean, element, fold, grouped_table, name, option, text
from lagotto.evaluation.report.words import Words


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ("a\x1b[31m\x00\x7f\x9b", "a␛[31m␀␡\ufffd"),
        ("one\r\ntwo\tthree\n", "one\ntwo\tthree\n"),
        ("alone\r", "alone␍"),
        ("\ud83d half \udc00", "\ufffd half \ufffd"),
        ("\ufffe\uffff\ufdd0", "\ufffd" * 3),
        ("熊猫 🐼 e\u0301", "熊猫 🐼 e\u0301"),
        (7, "7"),
    ],
)
def test_clean(given, seen):
    assert clean(given) == seen
    clean(given).encode()


def test_text_and_attributes_are_escaped():
    assert text("""<a href="x" id='y'>&""") == "&lt;a href=&quot;x&quot; id=&#x27;y&#x27;&gt;&amp;"
    assert element("p", text("<"), title='"><script>') == '<p title="&quot;&gt;&lt;script&gt;">&lt;</p>'


def test_element():
    assert element("input", type="radio", checked=True, hidden=False, id=None, aria_label="x", for_="y") == (
        '<input type="radio" checked aria-label="x" for="y">'
    )


def test_both_languages_unless_they_say_the_same():
    assert both(Words("yes", "是")) == '<span lang="en">yes</span><span lang="zh">是</span>'
    assert both(Words("bm25", "bm25")) == name("bm25") == "<bdi>bm25</bdi>"


def test_an_option_carries_both():
    assert option(Words("all", "全部"), "x") == '<option value="x" data-en="all" data-zh="全部">all</option>'


def test_a_fold_opens_without_a_script():
    assert fold(text("more"), Html("<p></p>"), open=True) == "<details open><summary>more</summary><p></p></details>"


def test_rows_under_one_label_share_a_body():
    def row(label):
        return Html(f"<td>{label}</td>"), Html("<tr></tr>")

    made = grouped_table([Html("<th></th>")] * 3, [row("a"), row("a"), row("b")], labelled_by="title")
    assert made.count("<tbody>") == 2
    assert made.count('scope="rowgroup" colspan="3"') == 2
    assert made.count("<tr></tr>") == 3
