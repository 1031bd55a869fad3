"""Whether a model's tokenizer.json can be opened: the library runs programs in it (rules that rewrite a text).

Such rules can make a text grow without bound, or end the process. So the file is read here first: what rules may do to
the length of a text is bounded by their kind. Then another process opens it, within limits of time and memory.
"""

from __future__ import annotations

import base64
import binascii
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmsearch.base.errors import ModelError
from mmsearch.base.text import first_line
from mmsearch.encoders import plain_files

# How many times longer a text may get: SigLIP's rules, which have the most, may double it four times.
_MOST_GROWTH = 64.0

# Characters that one may become: Unicode's compatibility forms have up to 18.
_MOST_REPLACED = 64

# Rules that keep a text about as long as it is, one after the other at the most.
_PLAIN = frozenset(
    {"BertNormalizer", "Strip", "StripAccents", "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Nmt"}
    | {"BertPreTokenizer", "CharDelimiterSplit", "Metaspace", "Whitespace", "WhitespaceSplit", "Split", "Punctuation"}
    | {"Digits", "UnicodeScripts"}
)
_MOST_STEPS = 64

# Special tokens that are put around a text: two, in all that are known.
_MOST_ADDED = 32

# Seconds of a processor, seconds on a machine that has others to serve, bytes of addresses. Files with 600,000 tokens
# (BPE) and 900,000 (Unigram), as many as the largest that are known, took 1.6 s and 0.5 GB.
_PROCESSOR_SECONDS = 60
_SECONDS = 600.0
_MEMORY = 6_000_000_000

# Opens a tokenizer and encodes texts of many kinds. It runs where nothing of the user's folder is imported.
_TRIAL = f"""
import os, sys
os.environ |= {{"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"}}
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, ({_MEMORY}, {_MEMORY}))
    resource.setrlimit(resource.RLIMIT_CPU, ({_PROCESSOR_SECONDS}, {_PROCESSOR_SECONDS}))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
except (ImportError, ValueError, OSError):
    pass
from tokenizers import Tokenizer
tokenizer = Tokenizer.from_file(sys.argv[1])
tokenizer.enable_truncation(max_length=77)
tokenizer.enable_padding(length=77)
printable = "".join(map(chr, range(32, 127)))
accents = "".join(map(chr, range(160, 1300)))
texts = ["", " ", "a photo of a cat", printable, accents, "\\u65e5\\u672c \\ufdfa \\ufb01 \\U0001f388", "\\x00\\t\\n"]
texts += [one * 300 for one in ("a", "ab ", "  ", "!?", "1", "\\u0301")]
texts += ["a" * 99 + "!", "1" * 99 + "a", " " * 99 + "a"]
for text in texts:
    try:
        tokenizer.encode_batch([text])
    except Exception:  # no token for it, which only the text's own user need know; a panic is another kind
        pass
"""


def check(path: Path) -> None:
    """Raise ModelError for a tokenizer.json that does not open, or whose rules are not within bounds.

    Takes as long as opening it, and at most `_PROCESSOR_SECONDS` of a processor.
    """
    try:
        content = plain_files.read_json(path, plain_files.MOST_TOKENIZER)
        growth = _growth([*_steps(content.get("normalizer")), *_steps(content.get("pre_tokenizer"))])
        added = _added(content.get("post_processor"))
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not a tokenizer: {first_line(error)}", "use a model that you trust") from error
    if growth > _MOST_GROWTH or added > _MOST_ADDED:
        raise ModelError(f"{path} would make texts longer without bound", "use a model that you trust")
    _try(path)


def _try(path: Path) -> None:
    """Open it in another process."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _TRIAL, path.absolute()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"{path} takes more than {_SECONDS:g} s to open", "use a model that you trust") from error
    if done.returncode:
        raise ModelError(f"{path} cannot be opened as a tokenizer", "use a model that you trust")


def _steps(rule: Any) -> Iterator[Mapping[str, Any]]:
    """The rules that a text goes through, one by one."""
    if rule is None:
        return
    inner = {"normalizers", "pretokenizers"} & rule.keys()
    if rule["type"] == "Sequence" and inner:
        for one in rule[inner.pop()]:
            yield from _steps(one)
    else:
        yield rule


def _growth(steps: list[Mapping[str, Any]]) -> float:
    """How many times longer they can make a text, its first characters left aside."""
    longer = 1.0
    if len(steps) > _MOST_STEPS:
        raise ValueError("too many rules")
    for step in steps:
        match step["type"]:
            case "Replace":
                longer *= _replaced(step["pattern"], step["content"])
            case "ByteLevel":  # each byte becomes a character
                longer *= 2.0
            case "Precompiled":
                longer *= _precompiled(step["precompiled_charsmap"])
            case "Prepend" if len(step["prepend"]) <= _MOST_REPLACED:
                pass
            case "FixedLength" if step["length"]:
                pass
            case name if name not in _PLAIN:
                raise ValueError(f"an unknown rule, {name}")
    return longer


def _replaced(pattern: Mapping[str, str], content: str) -> float:
    """What a text may grow by where each match becomes `content`: an expression can match before each character.

    A plain text is no longer than a character at the least.
    """
    if "Regex" in pattern:
        return 1.0 + len(content)
    return max(1.0, len(content) / len(pattern["String"])) if pattern["String"] else float("inf")


def _precompiled(encoded: str) -> float:
    """1, where a SentencePiece table, base64 of a trie with its size before it, has short replacements after it."""
    try:
        table = base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise ValueError("no table") from error
    size = int.from_bytes(table[:4], "little")
    if len(table) < 4 or size > len(table) - 4:
        raise ValueError("no table")
    longest = max(map(len, table[4 + size :].decode("utf-8").split("\0")))
    return 1.0 if longest <= _MOST_REPLACED else float("inf")


def _added(processor: Any) -> int:
    """How many special tokens are put around a text."""
    if processor is None:
        return 0
    if processor["type"] == "Sequence":
        return sum(map(_added, processor["processors"]))
    if processor["type"] != "TemplateProcessing":
        return 2
    ids = {name: len(token["ids"]) for name, token in processor["special_tokens"].items()}
    pieces = [piece for piece in processor["single"] if "SpecialToken" in piece]
    texts = sum("Sequence" in piece for piece in processor["single"])
    if texts > 1:
        raise ValueError("the text more than once")
    return sum(ids[piece["SpecialToken"]["id"]] for piece in pieces)
