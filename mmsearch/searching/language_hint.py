"""Advice for a query in a language that the collection's model does not speak.

Letters of other scripts than Latin are a sure sign. For texts in Latin letters, which may be names, and of which models
trained on English captions have seen a good deal, there is advice only where the answer is weak as well.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence

from mmsearch import encoders
from mmsearch.base.records import Encoder
from mmsearch.searching import everyday_words

# The first words of Unicode's names of letters, and what people call those letters. Letters of other scripts, among
# them mathematical ones, are passed over.
_SCRIPTS = {
    "ARABIC": "Arabic",
    "ARMENIAN": "Armenian",
    "BENGALI": "Bengali",
    "CJK": "Chinese",
    "CYRILLIC": "Cyrillic",
    "DEVANAGARI": "Devanagari",
    "ETHIOPIC": "Ethiopic",
    "GEORGIAN": "Georgian",
    "GREEK": "Greek",
    "GUJARATI": "Gujarati",
    "GURMUKHI": "Gurmukhi",
    "HANGUL": "Korean",
    "HEBREW": "Hebrew",
    "HIRAGANA": "Japanese",
    "KANNADA": "Kannada",
    "KATAKANA": "Japanese",
    "KHMER": "Khmer",
    "LAO": "Lao",
    "MALAYALAM": "Malayalam",
    "MYANMAR": "Burmese",
    "SINHALA": "Sinhala",
    "TAMIL": "Tamil",
    "TELUGU": "Telugu",
    "THAI": "Thai",
    "TIBETAN": "Tibetan",
}

# Scripts in which a single letter may be a word: 猫, 개. Elsewhere it is a symbol (π, Ω) or part of a face (ツ).
_WORDS_OF_ONE_LETTER = {"CJK", "HANGUL"}

# The model that reads most languages, among those with a short name.
_MULTILINGUAL = "siglip2"

# Characters of a query that are repeated to the user.
_SHOWN = 40


def script_of(text: str) -> str | None:
    """What the letters are called that at least half of the words in a text are written in, where those are not Latin.

    A name or a symbol in an English text is in the minority, and emoji are no letters.
    """
    if text.isascii():
        return None
    words = Counter(_script_of_word(word) for word in _words(text))
    foreign = sum(count for script, count in words.items() if script)
    if not foreign or foreign < words[None]:
        return None
    if words["Japanese"]:  # its texts have Chinese characters too
        return "Japanese"
    return max((script for script in words if script), key=lambda script: (words[script], script))


def advice(texts: Sequence[str], encoder: Encoder, weak: Sequence[str] = (), collection: str = "") -> str | None:
    """One line for the user where the model does not read the language of one of the texts, else None.

    `weak` are those of the texts whose answer is weak; `collection` is what a command needs to mean the collection.
    """
    command = f"`mmsearch reindex --model {_MULTILINGUAL}{collection}`"
    remedy = f"ask in English, or switch to a multilingual model: {command}"
    for text in texts:
        script = script_of(text)
        if script and not encoders.reads(encoder, text):
            return f"the collection's model, {_name(encoder)}, does not read {script} script: {remedy}"
    for text in weak:
        if everyday_words.looks_foreign(text, encoders.knows_word) and not encoders.reads(encoder, text):
            return (
                f"the collection's model, {_name(encoder)}, reads English only; "
                f'"{_shown(text)}" looks like another language: {remedy}'
            )
    return None


def _name(encoder: Encoder) -> str:
    return encoders.short_name(encoder.info.spec)


def _shown(text: str) -> str:
    """A text in one line of bounded length."""
    whole = " ".join(text.split())
    return whole if len(whole) <= _SHOWN else whole[: _SHOWN - 1] + "…"


def _words(text: str) -> Iterator[str]:
    """The letters of a text, with the marks that belong to them, as far as they stand together."""
    plain = unicodedata.normalize("NFKC", text.replace("\N{MICRO SIGN}", "u"))  # normalized, it would be Greek
    for is_word, marks in itertools.groupby(plain, lambda mark: unicodedata.category(mark)[0] in "LM"):
        if is_word:
            yield "".join(marks)


def _script_of_word(word: str) -> str | None:
    """The script of a word's first letter, None for a word with a Latin letter and for what is of no language."""
    names = [unicodedata.name(letter, "").split(" ")[0].split("-")[0] for letter in word]
    if names[0] not in _SCRIPTS or "LATIN" in names or (len(word) == 1 and names[0] not in _WORDS_OF_ONE_LETTER):
        return None
    return _SCRIPTS[names[0]]
