"""Whether a short text in Latin letters looks like another language than English.

The words are those that people ask for pictures with (`everyday_words.txt`). English is full of words from elsewhere,
"crème brûlée", "Los Angeles", "dachshund"; so a text is told to be foreign only where it

- has a word of the list that English does not have ("Katze", "eine"), or a word with a letter that English does not
  borrow ("łódź"), and fewer than half of its words are English; or
- consists of words of one language, an article among them ("un chat noir", "la mer"); or
- begins with an article such as "un" or "en", and no other word is English ("um galo"); or
- has three words or more, and none that is English.

What is English is left to the caller. `tests/bench/languages_told.py` measures it.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

_WORD = re.compile(r"[^\W\d_]+")

# Letters beyond Latin-1, and German's ß; but œ, ō and ū, which words from French and Japanese bring into English.
_FOREIGN_LETTER = re.compile("(?![œōū])[ß\u0100-\u024f\u1e00-\u1eff]")

# Small words that keep an English text English, whatever foreign names are in it.
_ENGLISH = frozenset({
    "a", "an", "and", "are", "as", "at", "by", "for", "from", "her", "his", "in", "is", "my", "of", "on", "or", "our",
    "the", "their", "to", "with", "your",
})  # fmt: skip

# Articles that names in English texts seldom begin with; many do with "la", "el", "der" or "il".
_INDEFINITE = frozenset({
    "bir", "een", "egy", "ei", "ein", "eine", "en", "et", "ett", "um", "uma", "un", "una", "une", "uno", "unos",
})  # fmt: skip
_ARTICLES = _INDEFINITE | {
    "das", "de", "dem", "den", "der", "des", "die", "el", "em", "het", "il", "la", "las", "le", "les", "lo", "los", "o",
    "os", "unas",
}  # fmt: skip

# Words of a text without any that English has. Names of people and places have fewer.
_STRANGE_WORDS = 3


class _Language(NamedTuple):
    """Its own words, and those that English, or names in English texts, have too."""

    own: frozenset[str]
    shared: frozenset[str]


def looks_foreign(text: str, is_english: Callable[[str], bool]) -> bool:
    """Whether a text is most likely in another language; `is_english` is asked about words in lower case."""
    words = _WORD.findall(unicodedata.normalize("NFC", text).lower())
    if any(_is_in(language, words, is_english) for language in _languages()):
        return True
    if any(word in _ENGLISH for word in words):
        return False
    if any(_FOREIGN_LETTER.search(word) and not is_english(word) for word in words):
        return 2 * sum(map(is_english, words)) < len(words)
    return len(words) >= _STRANGE_WORDS and not any(map(is_english, words))


def _is_in(language: _Language, words: Sequence[str], is_english: Callable[[str], bool]) -> bool:
    """Whether a text is most likely in this language."""
    has_own = not language.own.isdisjoint(words)
    if not has_own and (len(words) < 2 or _ARTICLES.isdisjoint(words)):
        return False
    others = [word for word in words if word not in language.own and word not in language.shared]
    if not _ENGLISH.isdisjoint(others):
        return False
    if has_own:
        return 2 * sum(map(is_english, others)) < len(words)
    return not others or (words[0] in language.shared & _INDEFINITE and not any(map(is_english, others)))


@functools.cache
def _languages() -> list[_Language]:
    """The lists of `everyday_words.txt`: blocks that each begin with the language's name."""
    text = Path(__file__).with_name("everyday_words.txt").read_text("utf-8")
    blocks = [block.split("\n", 1)[1].split() for block in text.split("\n\n")[1:]]
    return [
        _Language(
            frozenset(word for word in block if not word.endswith("?")),
            frozenset(word.rstrip("?") for word in block if word.endswith("?")),
        )
        for block in blocks
    ]
