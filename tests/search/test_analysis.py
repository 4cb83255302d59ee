from __future__ import annotations

import json
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lagotto.core.errors import InvalidInputError, MissingDependencyError
from lagotto.search import analysis
from lagotto.search.analysis import LANGUAGES, Analyzer, detect_language

# Two sentences in each language that `detect_language` names.
SENTENCES = {
    "zh": ["图书馆星期天不开门，请你明天再来。", "这本书是关于古代建筑的历史。"],
    "ja": ["図書館は日曜日には開いていません。", "この本は古い建物の歴史についてです。"],
    "ko": ["도서관은 일요일에 문을 열지 않습니다.", "이 책은 옛날 건물의 역사에 관한 것이다."],
    "th": ["ห้องสมุดปิดวันอาทิตย์", "หนังสือเล่มนี้เกี่ยวกับประวัติศาสตร์"],
    "ar": ["المكتبة مغلقة في يوم الأحد ولكن يمكن أن تعود غدا", "هذا كتاب عن تاريخ المدينة التي كانت هنا"],
    "da": ["Biblioteket er lukket om søndagen, men du kan komme i morgen.", "Jeg ved ikke, hvad der står i bogen."],
    "de": ["Die Bibliothek ist am Sonntag nicht geöffnet.", "Das Buch handelt von der Geschichte einer alten Stadt."],
    "el": ["Η βιβλιοθήκη δεν είναι ανοιχτή την Κυριακή.", "Το βιβλίο είναι για την ιστορία της πόλης."],
    "en": ["The library is not open on Sunday.", "This book is about the history of an old city."],
    "es": ["La biblioteca no está abierta los domingos.", "El libro es sobre la historia de una ciudad muy antigua."],
    "fi": ["Kirjasto ei ole auki sunnuntaina, mutta voit tulla huomenna.", "Tämä kirja on vanha, ja se on hyvä."],
    "fr": [
        "La bibliothèque n'est pas ouverte le dimanche.",
        "Ce livre est sur l'histoire d'une ville qui est ancienne.",
    ],
    "hu": [
        "A könyvtár nem van nyitva, de holnap már lehet jönni.",
        "Ez a könyv egy régi város történetéről szól, és jó.",
    ],
    "it": ["La biblioteca non è aperta di domenica.", "Questo libro è sulla storia di una città della costa."],
    "nl": ["De bibliotheek is op zondag niet open.", "Het boek gaat over de geschiedenis van een oude stad."],
    "no": [
        "Biblioteket er ikke åpent på søndag, men du kan komme etter det.",
        "Jeg vet ikke hva som står i boka av ham.",
    ],
    "pt": ["A biblioteca não está aberta aos domingos.", "O livro é sobre a história de uma cidade muito antiga."],
    "ro": ["Biblioteca nu este deschisă și nu se poate intra.", "Cartea este despre istoria unui oraș din nord."],
    "ru": ["Библиотека не работает в воскресенье, но это не так важно.", "Эта книга о том, как был построен город."],
    "sv": [
        "Biblioteket är inte öppet på söndagar, men du kan komma i morgon.",
        "Boken är från ett gammalt hus som inte finns.",
    ],
    "ta": ["நூலகம் ஞாயிற்றுக்கிழமை திறக்கப்படுவதில்லை", "இந்த புத்தகம் பழைய நகரம் பற்றியது"],
    "tr": ["Kütüphane pazar günü açık değil, ama yarın için bir yer var.", "Bu kitap çok eski bir şehir ile ilgili."],
}


def terms(text: str, language: str = "und") -> list[str]:
    return Analyzer(language).terms(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("3.14, 2.0.1 and v1.5.", ["3.14", "2.0.1", "and", "v1.5"]),
        ("1,000,000 or 1,5 or 1,2,3 or 12,3456", ["1000000", "or", "1", "5", "or", "1", "2", "3", "or", "12", "3456"]),
        ("C++11, C#; ab++ a + b #tag", ["c++", "11", "c#", "ab", "a", "b", "tag"]),
        ("foo_bar node.js e-mail @home 50%", ["foo", "bar", "node", "js", "e", "mail", "home", "50"]),
        ("“John’s” dogs' isn't 'quoted' п'ять", ["john", "dogs", "isn't", "quoted", "п'ять"]),
        ("ＦＵＬＬ ﬁne Straße ΟΔΟΣ", ["full", "fine", "strasse", "οδοσ"]),
        ("co\u00adoperate ना\u200dम", ["cooperate", "नाम"]),
        ("हिन्दी में שָׁלוֹם", ["हिन्दी", "में", "שָׁלוֹם"]),
        ("résumé 😀 — ©", ["résumé"]),
        ("", []),
        ("?! … \ud800", []),
    ],
)
def test_what_a_word_is(text: str, found: list[str]) -> None:
    assert terms(text) == found


def test_english_stop_words_and_stems() -> None:
    assert terms("The cat's running to libraries and was not THERE", "en") == ["cat", "run", "librari"]
    assert terms("to be or not to be", "en") == []
    assert terms("The libraries") == ["the", "libraries"]  # not in an undetermined language


@pytest.mark.parametrize(
    ("language", "text", "found"),
    [
        ("fr", "L’avion d'hier", ["avion", "hi"]),
        ("it", "dell'acqua", ["acqua"]),
        ("tr", "İSTANBUL'da KITAP", ["istanbul", "kıtap"]),
        ("ro", "țară ţară", ["ţar", "ţar"]),
        ("ru", "Ёлки елки", ["елк", "елк"]),
        ("de", "die Häuser, daß", ["haus"]),
        ("el", "Οδός ΟΔΟΣ", ["οδ", "οδ"]),
    ],
)
def test_what_is_particular_to_a_language(language: str, text: str, found: list[str]) -> None:
    assert terms(text, language) == found


def test_chinese_is_cut_into_words_and_the_words_in_them() -> None:
    assert terms("信息检索的应用", "zh") == ["信息", "检索", "信息检索", "的", "应用"]
    assert terms("𠮷〇", "zh") == ["𠮷", "〇"]


def test_words_that_are_in_no_dictionary_are_not_guessed() -> None:
    assert terms("赫谧琛", "zh") == ["赫", "谧", "琛"]
    assert terms("见到赫谧琛", "zh") == ["见到", "赫", "谧", "琛"]


def test_scripts_without_spaces_become_pairs() -> None:
    assert terms("東京タワー。の", "ja") == ["東京", "京タ", "タワ", "ワー", "の"]
    assert terms("ﾀﾜｰ") == ["タワ", "ワー"]
    assert terms("東京タワー", "zh")[-2:] == ["タワ", "ワー"]  # Han by words, kana by pairs
    assert terms("한국어 책", "ko") == ["한국", "국어", "책"]
    assert terms("ที่นี่ ๒๕", "th") == ["ที่นี่", "๒๕"]  # marks belong to their character
    assert terms("ສະບາ") == ["ສະ", "ະບ", "ບາ"]
    assert terms("한가東") == ["한가", "東"]


def test_runs_of_several_scripts_are_taken_one_by_one() -> None:
    found = terms("用C++写GPU显存2.5倍のテスト한국running", "zh")
    assert found == ["用", "c++", "写", "gpu", "显存", "2.5", "倍", "のテ", "テス", "スト", "한국", "run"]


def test_english_words_in_asian_text_are_english() -> None:
    for language in ("zh", "ja", "ko", "th"):
        assert terms("the running models", language) == ["run", "model"]


@given(st.text(alphabet="aBcs'.,019+# _-", max_size=30))
def test_ascii_text_gives_the_same_terms_beside_other_scripts(text: str) -> None:
    for language in ("und", "en", "fr"):
        analyzer = Analyzer(language)
        alone = analyzer.terms(text)
        assert analyzer.terms(f"{text} ж") == [*alone, "ж"]
        assert analyzer.terms(f"{text} 山") == [*alone, "山"]


@given(st.text(max_size=40))
def test_equivalent_texts_give_the_same_terms(text: str) -> None:
    analyzer = Analyzer("und")
    found = analyzer.terms(text)
    assert all(found)
    assert analyzer.terms(unicodedata.normalize("NFD", text)) == found
    assert analyzer.terms(text.casefold()) == found


def test_a_full_cache_of_words_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "running dogs run the dog's running"
    before = terms(text, "en")
    monkeypatch.setattr(analysis, "_CACHED_WORDS", 2)
    analyzer = Analyzer("en")
    assert [analyzer.terms(text), analyzer.terms(text)] == [before, before]


def test_an_unknown_language_is_named_with_the_choices() -> None:
    with pytest.raises(InvalidInputError, match=r"'xx'.*auto, zh, ja.*Take 'und'") as caught:
        Analyzer("xx")
    assert caught.value.param == "language"


def test_auto_needs_a_sample() -> None:
    analyzer = Analyzer()
    with pytest.raises(InvalidInputError, match="sample"):
        analyzer.terms("text")
    assert analyzer.resolve(SENTENCES["de"]).language == "de"
    german = Analyzer("de")
    assert german.resolve(SENTENCES["en"]) is german


def test_every_language_is_detected() -> None:
    assert {language: detect_language(texts) for language, texts in SENTENCES.items()} == {
        language: language for language in SENTENCES
    }
    assert set(SENTENCES) | {"und"} == set(LANGUAGES)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "12.5 + 3 = ?",
        "iPhone 12 64GB black",
        "Biblioteka nie jest otwarta w niedzielę, ale można przyjść do nas jutro.",
        "Библиотеката не се отваря в неделя и това не е добре, но книгата ще е за историята на града.",
        "Бібліотека не працює в неділю, але це не так важливо для нас.",
        "La biblioteca no és oberta els diumenges, però amb aquesta clau es pot entrar als despatxos del centre.",
        "کتابخانه در روز یکشنبه باز نیست و این کتاب را به او داد",
        "Thư viện không mở cửa vào chủ nhật và các bạn có thể đến trong tuần",
        "पुस्तकालय रविवार को नहीं खुलता है",
    ],
)
def test_other_languages_are_undetermined(text: str) -> None:
    assert detect_language([text]) == "und"


def test_what_decides_the_language_of_mixed_texts() -> None:
    assert detect_language([*SENTENCES["en"], "山"]) == "en"
    assert detect_language(["用 GPU 训练 model 的方法", "参见 example 与 help"]) == "zh"
    assert detect_language(["日本の映画" + "关于电影的历史与现状，以及导演的生平" * 3]) == "zh"
    # A long text does not outweigh the others by what comes late in it.
    assert detect_language(["x " * analysis.SAMPLE_CHARACTERS + " ".join(SENTENCES["en"]) * 99]) == "und"


def test_description_is_plain_and_tells_languages_apart() -> None:
    descriptions = {language: json.dumps(Analyzer(language).describe()) for language in ("auto", *LANGUAGES)}
    assert len(set(descriptions.values())) == len(descriptions)
    english = Analyzer("en").describe()
    assert english == Analyzer("en").describe()
    assert (english["language"], english["stemmer"], english["stop_words"]) == ("en", "english", 33)
    assert set(english["libraries"]) == {"py-rust-stemmers", "rjieba"}
    assert all(Analyzer(code).describe()["stop_words"] for code in LANGUAGES if code != "und")
    assert Analyzer("und").describe()["stemmer"] is None


def test_missing_libraries_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "py_rust_stemmers", None)
    monkeypatch.setitem(sys.modules, "rjieba", None)
    analysis._cut_for_search.cache_clear()
    with pytest.raises(MissingDependencyError, match=r"lagotto\[eval\]"):
        Analyzer("en")
    analyzer = Analyzer("und")
    assert analyzer.terms("words need nothing") == ["words", "need", "nothing"]
    with pytest.raises(MissingDependencyError, match=r"rjieba.*lagotto\[eval\]"):
        analyzer.terms("检索")
