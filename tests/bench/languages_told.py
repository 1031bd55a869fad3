"""How often a text in another language is told to be one, and how often an English one is, offline.

    apt-get download tuxpaint-stamps-default unicode-cldr-core
    dpkg-deb -x tuxpaint-stamps-default_*.deb stamps && dpkg-deb -x unicode-cldr-core_*.deb cldr
    python tests/bench/languages_told.py --stamps stamps --cldr cldr [--list]

Only the rules for Latin letters are measured (`mmsearch.searching.everyday_words`), not whether an answer is weak,
without which nobody hears of them. Texts of one to four words: captions of stamps, most with an article; names of
emoji, with none; and their keywords of one word. Texts that English has too are left out of the other languages.
`borrowed_english.txt` has English queries made of words from elsewhere, names above all. stdout gets one JSON line: for
each set and language how many texts are told to be foreign, of how many. stderr gets the shares; `--list` also names
the English texts that were taken for something else.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import stamps

from mmsearch import encoders
from mmsearch.searching.everyday_words import looks_foreign

LANGUAGES = (
    "de", "fr", "es", "it", "pt", "nl", "pl", "sv", "da", "nb", "fi", "cs", "tr", "hu", "ro", "id", "ca", "hr", "sk",
    "lv", "vi",
)  # fmt: skip
ENGLISH = "en"

# CLDR has Norwegian under the code of all of it.
_CLDR_CODES = {"nb": "no"}
_MOST_WORDS = 4
_BORROWED = Path(__file__).with_name("borrowed_english.txt")

# Texts of each language, by its code.
Texts = dict[str, list[str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stamps", type=Path, help="where tuxpaint-stamps-default was unpacked")
    parser.add_argument("--cldr", type=Path, help="where unicode-cldr-core was unpacked")
    parser.add_argument("--list", action="store_true", help="name the English texts that are told to be foreign")
    arguments = parser.parse_args()
    sets: dict[str, Texts] = {"borrowed": {ENGLISH: _BORROWED.read_text("utf-8").splitlines()}}
    if arguments.stamps:
        sets["stamps"] = of_stamps(arguments.stamps)
    if arguments.cldr:
        sets["emoji"], sets["keywords"] = of_cldr(arguments.cldr)
    report = {name: {language: told(texts) for language, texts in chosen(found)} for name, found in sets.items()}
    print(json.dumps(report))
    for name, found in report.items():
        shares = (f"{language} {foreign}/{total} {foreign / total:.3f}" for language, (foreign, total) in found.items())
        print(f"{name}: {', '.join(shares)}", file=sys.stderr)
        for text in sets[name][ENGLISH] if arguments.list else []:
            if is_told(text):
                print(f"  {text}", file=sys.stderr)


def of_stamps(folder: Path) -> Texts:
    """The captions of all stamps, also of those in SVG."""
    files = [path.read_text("utf-8", "replace") for path in sorted(folder.rglob("*.txt"))]
    codes: dict[str, str | None] = {ENGLISH: None, **{language: language for language in LANGUAGES}}
    return {language: [stamps.caption(text, code) for text in files] for language, code in codes.items()}


def of_cldr(folder: Path) -> tuple[Texts, Texts]:
    """The names of emoji, and their keywords of one word."""
    names: Texts = {}
    keywords: Texts = {}
    for language in (ENGLISH, *LANGUAGES):
        (path,) = folder.rglob(f"annotations/{_CLDR_CODES.get(language, language)}.xml")
        entries = list(ElementTree.parse(path).iter("annotation"))
        names[language] = [entry.text or "" for entry in entries if entry.get("type") == "tts"]
        listed = [entry.text or "" for entry in entries if entry.get("type") != "tts"]
        keywords[language] = [word.strip() for text in listed for word in text.split("|") if word.strip().isalpha()]
    return names, keywords


def chosen(found: Texts) -> list[tuple[str, list[str]]]:
    """The different short texts of each language; without those that English has too."""
    english = {text.lower() for text in found[ENGLISH]}
    kept = []
    for language, texts in found.items():
        short = [text for text in dict.fromkeys(texts) if 0 < len(text.split()) <= _MOST_WORDS]
        kept.append((language, [text for text in short if language == ENGLISH or text.lower() not in english]))
    return [(language, texts) for language, texts in kept if texts]


def told(texts: list[str]) -> tuple[int, int]:
    """How many of the texts are told to be foreign, of how many."""
    return sum(map(is_told, texts)), len(texts)


def is_told(text: str) -> bool:
    return looks_foreign(text, encoders.knows_word)


if __name__ == "__main__":
    main()
