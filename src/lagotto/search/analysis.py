"""Texts to terms for BM25: one analyser for documents and queries, wherever they are indexed or searched.

A text is brought to Unicode NFKC and case-folded, then read run by run, each by its script:

- **Words** of letters, digits and marks of any script; punctuation and ``_`` end one. A point between digits stays
  (``3.14``, ``2.0.1``), a comma that sets off thousands is dropped (``1,000`` is ``1000``), and one letter keeps ``++``
  or ``#`` behind it (``c++``, ``c#``). Accents stay.
- **Apostrophes** stay inside a word, whose final ``'s`` is dropped; in French, Italian and Turkish they end a word
  (``l'eau``).
- **Han** runs are cut by rjieba for search: words of its dictionary, and shorter words in them. It does not guess at
  words it does not know: guesses depend on the text around, which is never the same in documents and queries.
  Traditional and simplified characters are not converted, so a query in one does not find documents in the other.
- **Kana, Hangul, Thai, Lao, Khmer, Burmese** runs become overlapping pairs of characters, a character with its marks
  counting as one; a run of one character is a term itself. In Japanese, kanji are paired along with kana.
- Words lose **stop words** and are **stemmed** (Snowball) in a language that has a stemmer. In Chinese, Japanese,
  Korean and Thai the words are mostly English, and are treated so. Chinese characters have no stop words.

A query of nothing but stop words has no terms, and finds nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from typing import Any

from lagotto.core.errors import InvalidInputError, MissingDependencyError

AUTO = "auto"
"""Language of an analyser that is still to be told its language by a sample; see `Analyzer.resolve`."""
UNKNOWN = "und"
"""ISO 639's code of an undetermined language: no stop words, no stemming."""
SAMPLE_CHARACTERS = 2000
"""How much of each text `detect_language` looks at."""

_FORMAT = 1  # to be raised when the same text gives other terms than before
_CACHED_WORDS = 250_000

_STEMMERS: Mapping[str, str] = {
    "ar": "arabic",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "fi": "finnish",
    "fr": "french",
    "hu": "hungarian",
    "it": "italian",
    "nl": "dutch",
    "no": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sv": "swedish",
    "ta": "tamil",
    "tr": "turkish",
}
_ASIAN = ("zh", "ja", "ko", "th")
LANGUAGES = (*_ASIAN, *_STEMMERS, UNKNOWN)
"""Codes an analyser may be given, besides ``auto``."""

# English are the 33 of Lucene; the others hold function words of the same kind.
_STOP_WORDS: Mapping[str, str] = {
    "ar": "في من على إلى عن مع أن إن ما لا لم لن هذا هذه ذلك تلك هو هي هم كان كانت قد التي الذي الذين أو و ثم كل بعد "
    "قبل بين عند أي لكن هناك يا لقد",
    "da": "af at da de dem den denne der det dette dig du efter eller en er et for fra han har hun hvad hvis hvor i "
    "ikke jeg kan man med men mig min nu når og også om på sig sin skal som så til ud var ved vi vil være",
    "de": "aber als am an auch auf aus bei das dass dem den der des die durch ein eine einem einen einer eines er es "
    "für hat ich ihr im in ist kann mit nach nicht noch nur oder sich sie sind so um und von vor war was wenn werden "
    "wie wir wird zu zum zur über",
    "el": "ο η το οι τα του της των τον την τη στο στη στον στην στα στις και κι να με σε για από που πως είναι ήταν "
    "δεν θα μας σας μου σου τους τις αν ή αλλά όταν ως ένα ένας μια μία αυτό αυτή",
    "en": "a an and are as at be but by for if in into is it no not of on or such that the their then there these "
    "they this to was will with",
    "es": "a al como con de del el ella en entre es esta este esto ha hay la las le les lo los más me mi muy no nos "
    "o para pero por que qué se si sin sobre son su sus también un una uno y ya yo",
    "fi": "ei eivät että he hän ja jo joka jos jotka kuin kun me mikä minä mitä mutta myös ne niin nyt ole oli olla "
    "on ovat se sekä sen siitä sitä tai te tämä tämän tässä tätä vain voi",
    "fr": "à au aux avec c ce ces cette comme d dans de des du elle en est et il ils j je l la le les leur lui m "
    "mais me n ne nous on ont ou où par pas pour plus qu que qui s sa sans se ses si son sont sur t un une vous y",
    "hu": "a akkor az azok azt csak de egy ez ezek ezt és ha hogy is itt ki kell lehet már meg még mert mi mint nem "
    "nincs olyan ott sem szerint után vagy van volt úgy",
    "it": "a ad agli ai al all alla alle anche c che ci come con d da dal dall dalla degli dei del dell della delle "
    "di e è ed gli ha ho i il in io l la le lo ma mi nei nel nell nella non o per più questa questo se si sono su "
    "sua sul sull sulla suo ti tra un una uno",
    "nl": "aan als bij dan dat de der deze die dit door een en er heb heeft het hij hoe ik in is je kan maar met "
    "mijn naar niet nog of om ook op over te tot u uit van voor was wat we werd wordt ze zich zijn zo",
    "no": "at av da de deg dem den denne der det dette du eller en er et etter for fra han har hun hva hvis hvor i "
    "ikke jeg kan man med meg men min nå når og også om på seg sin skal som så til ut var ved vi vil være",
    "pt": "a ao aos as com como da das de do dos e é ela ele em entre está eu foi há isso já mais mas me na nas não "
    "no nos o os ou para pela pelo por que quem se sem ser seu sua são também um uma você à às",
    "ro": "a ai al ale am ar are au ca care ce cu că de din după ea el este eu fi fost în la le mai nu o pe pentru "
    "prin sa sau se sunt să un unei unui va și",
    "ru": "а без был была были было быть в вам вас во вот все вы где да для до его ее если есть еще же за и из или "
    "им их к как когда кто ли мне мы на не нет ни но о он она они от по под при с со так то только ты у уже чем что "
    "чтобы это этот я",
    "sv": "att av blir de dem den denna det detta dig du där efter eller en ett från för han har hon här i inte jag "
    "kan man med men mig min nu när och också om på sig sin ska som så till under ut var vi vid vill är",
    "ta": "அது அந்த அல்லது ஆகும் ஆனால் இது இந்த இருந்து இல்லை உள்ள ஒரு என என்ற என்று மற்றும் மேலும் வேண்டும்",
    "tr": "ama bir biz bu bunu çok da daha de değil diye en gibi hem her için ile ise kadar ki mi mı mu mü ne o olan "
    "olarak sonra şu var ve veya ya",
}
# Close to a language above, so that their texts are not taken for it; found, they are called "und".
_OTHERS: Mapping[str, str] = {
    "af": "die nie van en is om te vir wat hierdie kan sal word nie met aan op hy sy",
    "bg": "и в на за от не по с се да е са ще до към като или това който този",
    "ca": "el la de i que en els les un una per no és amb del al aquest aquesta com dels als més però pot seva ha hi",
    "cs": "a v na se je s pro z do že není nebo to o k jako",
    "et": "ja on ei et see kui või ka seda mis",
    "fa": "و در به از که این را با است برای یا",
    "gl": "o a de e que do da en un unha os as non para por ao ou",
    "hr": "i u je da na se za ne s od koji ili kao su nije",
    "id": "yang di dan untuk tidak dengan dari ini itu ke pada atau dalam adalah",
    "is": "og að í er á ekki til sem við um með það fyrir",
    "mk": "и на во да се за од не со е ја ги или што со беше како",
    "pl": "i w na z nie do się jest o że to jak dla lub po przez od",
    "sk": "a v na sa je s pre z do že nie alebo to o k ako",
    "sl": "in v na je za se ni z da so ali ki po",
    "sr": "и у је да на се са не за од које или као",
    "uk": "і в на та що не з до за для це як у або від він його але є при",
    "ur": "کے میں کی ہے اور کو سے کا نہیں",
    "vi": "và của là không có được trong cho một để với các này",
}

# Scripts that are not written in words between spaces (and Hangul, where endings are glued to the words).
_HAN = "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_KANA = "\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"
_HANGUL = "\u1100-\u11ff\ua960-\ua97f\uac00-\ud7ff"
_THAI = "\u0e01-\u0e3a\u0e40-\u0e4e"
_LAO = "\u0e81-\u0ece"
_BURMESE = "\u1000-\u103f\u1050-\u108f"
_KHMER = "\u1780-\u17d3\u17d7\u17dc\u17dd"
_SEGMENTED = re.compile(f"[{_HAN}{_KANA}{_HANGUL}{_THAI}{_LAO}{_BURMESE}{_KHMER}]")
# Soft hyphens, joiners and variation selectors change how a word looks, not which word it is.
_INVISIBLE = re.compile("[\u00ad\u200d\ufe00-\ufe0f\U000e0100-\U000e01ef]")

# What `detect_language` counts; "zh" holds kana too, until Japanese is told from it.
_SCRIPTS: Mapping[str, re.Pattern[str]] = {
    "all": re.compile(r"[^\W\d_]+"),
    "zh": re.compile(f"[{_HAN}{_KANA}]+"),
    "kana": re.compile(f"[{_KANA}]+"),
    "ko": re.compile(f"[{_HANGUL}]+"),
    "th": re.compile(f"[{_THAI}]+"),
    "el": re.compile("[\u0370-\u03ff\u1f00-\u1fff]+"),
    "ta": re.compile("[\u0b80-\u0bff]+"),
}

# Letters that a language's stemmer wants otherwise than Unicode's case folding gives them.
_LETTERS: Mapping[str, Mapping[int, int]] = {
    "ro": str.maketrans("ȘșȚț", "ŞşŢţ"),
    "ru": str.maketrans("Ёё", "Ее"),
    "tr": str.maketrans("Iİ", "ıi"),
}
_APOSTROPHE_ENDS_WORD = ("fr", "it", "tr")


class Analyzer:
    """Texts to terms in one language.

    ``language`` is one of `LANGUAGES`, or ``auto``: then `resolve` gives the analyser for a sample of the texts. Raises
    `InvalidInputError` for another language, `MissingDependencyError` without the stemmers.

    >>> Analyzer("en").terms("The dogs’ noses aren't running, 3.14 times")
    ['dog', 'nose', "aren't", 'run', '3.14', 'time']
    """

    def __init__(self, language: str = AUTO) -> None:
        if language not in (AUTO, *LANGUAGES):
            raise InvalidInputError(
                f"language {language!r} is not one that texts can be analysed in; known are {AUTO}, "
                f"{', '.join(LANGUAGES)}. Take {UNKNOWN!r} for any other: no stop words, no stemming",
                param="language",
            )
        self.language = language
        self._words_in = "en" if language in _ASIAN else language
        self._letters = _LETTERS.get(self._words_in)
        split = self._words_in in _APOSTROPHE_ENDS_WORD
        self._words = re.compile(_word(_letters(), split))
        self._ascii_words = re.compile(_word("[a-z0-9]+", split))  # the same, and twice as fast
        self._runs = _runs(split, pair_han=language == "ja")
        self._term = _Terms(self._words_in).__getitem__

    def resolve(self, sample: Iterable[str]) -> Analyzer:
        """This analyser, or, if its language is ``auto``, one for the language of these texts."""
        return Analyzer(detect_language(sample)) if self.language == AUTO else self

    def terms(self, text: str) -> list[str]:
        """The terms of a text, in order, each as often as it is there."""
        if self.language == AUTO:
            raise InvalidInputError("the analyser's language is 'auto': give Analyzer.resolve a sample of the texts")
        text = _normal(text, self._letters)
        if text.isascii():
            return list(filter(None, map(self._term, self._ascii_words.findall(text))))
        if not _SEGMENTED.search(text):
            return list(filter(None, map(self._term, self._words.findall(text))))
        terms: list[str] = []
        for run in self._runs.finditer(text):
            if run.lastgroup == "han":
                terms += _cut_for_search()(run[0], False)
            elif run.lastgroup == "pairs":
                terms += _pairs(run[0])
            elif term := self._term(run[0]):
                terms.append(term)
        return terms

    def describe(self) -> dict[str, Any]:
        """All that decides which terms a text gets, as JSON can hold it: for reports, and as a part of cache keys."""
        description = {
            "analysis": _FORMAT,
            "language": self.language,
            "unicode": f"NFKC, case-folded, {unicodedata.unidata_version}",
            "libraries": {package: _version(package) for package in ("py-rust-stemmers", "rjieba")},
        }
        if self.language == AUTO:
            return description
        return description | {
            "stop_words": len(_stop_words(self._words_in)),
            "stemmer": _STEMMERS.get(self._words_in),
            "han": "pairs" if self.language == "ja" else "cut_for_search without guesses",
        }


def detect_language(texts: Iterable[str]) -> str:
    """The language most of these texts are in: one of `LANGUAGES`, ``und`` if it is none of them, or can't be told.

    If a fifth of the letters are Han, kana, Hangul, Thai, Greek or Tamil, the most frequent of these scripts decides
    (Han and kana count together, and are Japanese from a tenth of kana on). Otherwise the share of function words does:
    each counts as one, divided by the number of languages that have it, and the best language must reach 5 %. Some
    relatives of the languages with stemmers are known, so as not to be taken for them. Of each text the beginning is
    read.
    """
    scripts: Counter[str] = Counter()
    words: Counter[str] = Counter()
    for text in texts:
        text = _normal(text[:SAMPLE_CHARACTERS], None)
        for script, pattern in _SCRIPTS.items():
            scripts[script] += sum(map(len, pattern.findall(text)))
        words.update(_detection_words().findall(text))
    largest = max("zh", "ko", "th", "el", "ta", key=lambda script: scripts[script])
    if scripts[largest] >= scripts["all"] / 5 > 0:
        return "ja" if largest == "zh" and scripts["kana"] >= scripts["zh"] / 10 else largest
    weights = _function_words()
    scores = {
        language: sum(words[word] * weight for word, weight in known.items()) for language, known in weights.items()
    }
    best = max(scores, key=lambda language: scores[language])
    return best if best in _STEMMERS and scores[best] >= 0.05 * words.total() > 0 else UNKNOWN


class _Terms(dict[str, str]):
    """Word -> its term, "" for a stop word; made when first asked for, and after that found without a Python call."""

    def __init__(self, language: str) -> None:
        super().__init__()
        self._stop_words = _stop_words(language)
        self._stem = _stemmer(language)

    def __missing__(self, word: str) -> str:
        term = word.removesuffix("'s").replace(",", "")
        if term in self._stop_words:
            term = ""
        elif self._stem is not None:
            term = self._stem(term)
        if len(self) >= _CACHED_WORDS:
            self.clear()
        self[word] = term
        return term


def _normal(text: str, letters: Mapping[int, int] | None) -> str:
    """NFKC and case-folded, and NFKC once more, since folding may undo it."""
    if not text.isascii():
        text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).replace("’", "'").replace("ʼ", "'")
    if letters is not None:
        text = text.translate(letters)
    return unicodedata.normalize("NFKC", text.casefold())


def _letters() -> str:
    """Pattern of letters, digits and marks of the scripts that write words apart."""
    letter = f"[^\\W_{_HAN}{_KANA}{_HANGUL}{_THAI}{_LAO}{_BURMESE}{_KHMER}]"
    return f"{letter}+(?:[{_marks()}]+{letter}*)*"


def _word(letters: str, apostrophe_ends_word: bool) -> str:
    """Pattern of a word of these letters: with its inner points, commas and apostrophes, or ``c++``."""
    inner = r"\.(?<=\d.)(?=\d)|,(?<=\d.)(?=\d{3}(?!\d))" + ("" if apostrophe_ends_word else "|'")
    return rf"[a-z](?:\+\+|\#)|{letters}(?:(?:{inner}){letters})*"


def _runs(apostrophe_ends_word: bool, pair_han: bool) -> re.Pattern[str]:
    """Pattern of a run of one script: group ``han``, group ``pairs``, or a word in no group."""
    scripts = [_HAN + _KANA if pair_han else _KANA, _HANGUL, _THAI, _LAO, _BURMESE, _KHMER]
    pairs = "|".join(f"[{script}]+" for script in scripts)
    han = "" if pair_han else f"(?P<han>[{_HAN}]+)|"
    return re.compile(f"{han}(?P<pairs>{pairs})|{_word(_letters(), apostrophe_ends_word)}")


def _pairs(run: str) -> list[str]:
    """Overlapping pairs of characters with their marks; a single one as it is."""
    units = _units().findall(run)
    return [first + second for first, second in pairwise(units)] if len(units) > 1 else units


@lru_cache(maxsize=1)
def _units() -> re.Pattern[str]:
    return re.compile(f"[^{_marks()}][{_marks()}]*|[{_marks()}]+")


@lru_cache(maxsize=1)
def _marks() -> str:
    """Every combining mark, as it stands in a character class; Python's ``\\w`` has none of them."""
    marks = (code for code in range(0x300, 0x20000) if unicodedata.category(chr(code)).startswith("M"))
    ranges: list[list[int]] = []
    for code in marks:
        if ranges and code == ranges[-1][1] + 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)


@lru_cache(maxsize=1)
def _detection_words() -> re.Pattern[str]:
    return re.compile(_word(_letters(), apostrophe_ends_word=True))


@lru_cache(maxsize=1)
def _function_words() -> dict[str, dict[str, float]]:
    """Language -> its function words and what each counts; single letters stand for too much else to count."""
    lists = {**_STOP_WORDS, **_OTHERS}
    words = {
        language: {word for word in _normal(text, None).split() if len(word) > 1} for language, text in lists.items()
    }
    shared = Counter(word for known in words.values() for word in known)
    return {language: {word: 1 / shared[word] for word in known} for language, known in words.items()}


def _stop_words(language: str) -> frozenset[str]:
    letters = _LETTERS.get(language)
    return frozenset(_normal(word, letters) for word in _STOP_WORDS.get(language, "").split())


def _stemmer(language: str) -> Callable[[str], str] | None:
    if language not in _STEMMERS:
        return None
    try:
        from py_rust_stemmers import SnowballStemmer
    except ImportError:
        raise MissingDependencyError('stemming needs py-rust-stemmers: pip install "lagotto[eval]"') from None
    stem: Callable[[str], str] = SnowballStemmer(_STEMMERS[language]).stem_word
    return stem


@lru_cache(maxsize=1)
def _cut_for_search() -> Callable[[str, bool], list[str]]:
    """rjieba's function of a text, and whether to guess at words that are not in the dictionary."""
    try:
        import rjieba
    except ImportError:
        raise MissingDependencyError('Chinese words need rjieba: pip install "lagotto[eval]"') from None
    cut: Callable[[str, bool], list[str]] = rjieba.cut_for_search
    return cut


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        raise MissingDependencyError(f'analysing texts needs {package}: pip install "lagotto[eval]"') from None
