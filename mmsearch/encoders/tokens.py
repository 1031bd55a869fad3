"""Text -> the token ids that open_clip's text towers take, without torch.

CLIP's own byte-pair tokenizer is built here on the `tokenizers` library; other models bring a tokenizer.json, which
transformers would read the same way. The cleaning of the text before it follows open_clip/tokenizer.py.
"""

from __future__ import annotations

import functools
import gzip
import re
import string
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.base.errors import MMSearchError, ModelError, ModelUnavailableError
from mmsearch.base.text import first_line
from mmsearch.base.within import within
from mmsearch.encoders import openclip_tables, plain_files
from mmsearch.encoders.names import TOKENIZER_NAMES

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers import Encoding, Tokenizer
    from tokenizers.pre_tokenizers import PreTokenizer

# open_clip's default for a configuration that does not say.
CONTEXT_LENGTH = 77
_START, _END = "<start_of_text>", "<end_of_text>"
# Merges in CLIP's vocabulary of 49,408 tokens: the rest are 512 byte symbols and the two tokens above.
_MERGES = 49_152 - 256 - 2
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
# Characters. Up to here, finding the merges that a text needs is quicker than taking in all of them.
_A_QUERY = 1_000
# What tokenizers call that for which they have no token: all of it, or its bytes.
_UNKNOWN = ("<unk>", "[UNK]")
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
# Seconds for the texts that are tokenized together, on a machine that may be busy: a thousand take some tenths of one.
_SECONDS = 120.0
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True, slots=True)
class TextTokenizer:
    """Cleans texts and cuts or pads each to the context length. `blanked` is a token id that becomes 0, or None."""

    clean: Callable[[str], str]
    tokenizer: Tokenizer | ClipTokenizer
    blanked: int | None = None

    def __call__(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Token ids, int64 (n, context length), in the order given."""
        encoded = self._encode([self.clean(text) for text in texts])
        ids = np.array([entry.ids for entry in encoded], dtype=np.int64)
        return np.where(ids == self.blanked, 0, ids) if self.blanked is not None else ids

    def unknown_share(self, text: str) -> float:
        """The share of a text's own tokens that stand for anything unknown, or for a single byte; 0 for no tokens."""
        if isinstance(self.tokenizer, ClipTokenizer):  # its vocabulary has every byte, and no other unknown
            return 0.0
        (entry,) = self._encode([self.clean(text)])
        unknown = {self.tokenizer.token_to_id(name) for name in _UNKNOWN}
        rows = zip(entry.ids, entry.tokens, entry.special_tokens_mask, strict=True)
        own = [number in unknown or bool(_BYTE.fullmatch(token)) for number, token, special in rows if not special]
        return sum(own) / len(own) if own else 0.0

    def _encode(self, texts: list[str]) -> Sequence[Encoding]:
        """Rules of a model's own may take for ever with some text, or end in a panic of the library."""
        if isinstance(self.tokenizer, ClipTokenizer):
            return self.tokenizer.encode_batch(texts)
        tokenizer = self.tokenizer
        try:
            with library_errors("the model's tokenizer cannot take this text"):
                return within(_SECONDS, lambda: tokenizer.encode_batch(texts))
        except TimeoutError as error:
            raise ModelError(f"the model's tokenizer takes more than {_SECONDS:g} s for this text") from error


@contextmanager
def library_errors(what: str) -> Iterator[None]:
    """Turn what `tokenizers` raises into ModelError: plain Exception, and for a panic what is not even that."""
    try:
        yield
    except (TimeoutError, MMSearchError):
        raise
    except Exception as error:
        raise ModelError(f"{what}: {first_line(error)}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise ModelError(f"{what}: {first_line(error)}") from error


def open_tokenizer(
    text_config: Mapping[str, Any], folder: Path | None, vocabulary: Path | None = None, *, is_ours: bool = False
) -> TextTokenizer:
    """The tokenizer of a model: CLIP's own, or the one whose tokenizer.json is in `folder`.

    `vocabulary` is the file with the merges of CLIP's own; None takes open_clip's. A tokenizer.json is checked first
    (`mmsearch.encoders.tokenizer_file`), unless it is one that mmsearch has checked and written, which `is_ours` says.
    """
    length = text_config.get("context_length", CONTEXT_LENGTH)
    options = dict(text_config.get("tokenizer_kwargs") or {})
    tokenizer: Tokenizer | ClipTokenizer
    if folder is None:
        tokenizer, blanked = ClipTokenizer(length, vocabulary or openclip_tables.clip_vocabulary()), None
        clean = options.pop("clean", "lower")
    else:
        clean = options.pop("clean", "whitespace")
        strip_separator = options.pop("strip_sep_token", False)
        tokenizer, blanked = _read_tokenizer(folder, length, strip_separator=strip_separator, is_ours=is_ours)
    mode = text_config.get("tokenizer_mode")
    if options or mode or clean not in _CLEANERS:
        raise ModelError(f"mmsearch does not know the tokenizer setting {options or mode or clean!r} of this model")
    return TextTokenizer(_CLEANERS[clean], tokenizer, blanked)


class ClipTokenizer:
    """CLIP's byte-pair tokenizer: start token, at most `context_length` - 2 tokens of text, end token, zeros.

    The library needs 0.13 s to take in the whole vocabulary, most of the time that a query's words would take. So the
    first texts are encoded with only those merges whose result occurs in them: no other one could apply.
    """

    def __init__(self, context_length: int, vocabulary: Path) -> None:
        self._context_length = context_length
        self._vocabulary = vocabulary
        self._is_first = True

    def encode_batch(self, texts: Sequence[str]) -> list[Encoding]:
        """Encode cleaned texts, in the order given."""
        is_query = self._is_first and sum(map(len, texts)) <= _A_QUERY
        self._is_first = False
        tokenizer = self._build(self._words(texts)) if is_query else self._whole
        return list(tokenizer.encode_batch(list(texts)))

    @functools.cached_property
    def _whole(self) -> Tokenizer:
        return self._build(None)

    def _words(self, texts: Sequence[str]) -> set[str]:
        """What the texts consist of, in the symbols of the vocabulary."""
        split = _clip_words()
        return {word for text in texts for word, _ in split.pre_tokenize_str(text)}

    def _build(self, words: Iterable[str] | None) -> Tokenizer:
        """The tokenizer for texts that consist of `words`; for any text with None."""
        from tokenizers import Tokenizer, models, processors

        symbols = _byte_symbols()
        tokens = [*symbols, *(symbol + "</w>" for symbol in symbols)]
        vocabulary = {token: number for number, token in enumerate(tokens)}
        lines = _clip_merges(self._vocabulary)
        results = "\n".join(lines).replace(" ", "").split("\n")
        wanted = set(results) if words is None else _pieces(words, max(map(len, results)))
        merges = []
        for number, (line, merged) in enumerate(zip(lines, results, strict=True), len(tokens)):
            if merged in wanted:
                first, second = line.split()
                merges.append((first, second))
                vocabulary[merged] = number
        ends = [(token, len(tokens) + _MERGES + number) for number, token in enumerate((_START, _END))]
        tokenizer = Tokenizer(models.BPE(vocab=vocabulary | dict(ends), merges=merges, end_of_word_suffix="</w>"))
        tokenizer.pre_tokenizer = _clip_words()
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{_START} $A {_END}", special_tokens=ends)
        tokenizer.enable_truncation(max_length=self._context_length)
        tokenizer.enable_padding(length=self._context_length, pad_id=0, pad_token="!")
        return tokenizer


def _pieces(words: Iterable[str], longest: int) -> set[str]:
    """All that tokens of up to `longest` characters can be in `words`, with the mark at the end of a word."""
    pieces: set[str] = set()
    for word in words:
        symbols = [*word[:-1], f"{word[-1:]}</w>"]
        for start in range(len(symbols)):
            pieces.update(
                "".join(symbols[start:end]) for end in range(start + 1, min(len(symbols), start + longest) + 1)
            )
    return pieces


def _clip_words() -> PreTokenizer:
    """Splits a text into words, and writes their bytes with the symbols of the vocabulary."""
    from tokenizers import Regex, pre_tokenizers

    words = pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True)
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([words, as_bytes])


@functools.cache
def _clip_merges(path: Path) -> list[str]:
    """The merges, each two symbols with a space between, in the order in which they apply."""
    with gzip.open(path) as file:
        return file.read().decode("utf-8").split("\n")[1 : _MERGES + 1]


def _byte_symbols() -> list[str]:
    """GPT-2's printable stand-in for each byte, in the order of CLIP's vocabulary: printable bytes first."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = 256 - len(printable)
    return [chr(byte) for byte in printable] + [chr(256 + number) for number in range(others)]


def _read_tokenizer(
    folder: Path, context_length: int, *, strip_separator: bool, is_ours: bool
) -> tuple[Tokenizer, int | None]:
    from tokenizers import Tokenizer

    path, settings_path = (folder / name for name in TOKENIZER_NAMES)
    if not path.exists():
        raise ModelUnavailableError(f"{path} is missing", "the model cannot read text without it")
    if not is_ours:
        from mmsearch.encoders import tokenizer_file

        tokenizer_file.check(path)
    try:
        settings = plain_files.read_json(settings_path) if settings_path.exists() else {}
    except ValueError as error:
        raise ModelError(f"{settings_path} is damaged: {first_line(error)}") from error
    pad = _token(settings, "pad_token", "[PAD]")
    with library_errors(f"{path} cannot be opened"):
        tokenizer = Tokenizer.from_file(str(path))
        tokenizer.enable_truncation(max_length=context_length)
        tokenizer.enable_padding(
            length=context_length,
            pad_id=tokenizer.token_to_id(pad) or 0,
            pad_token=pad,
            direction="left" if settings.get("padding_side") == "left" else "right",
        )
        separator = tokenizer.token_to_id(_token(settings, "sep_token", "[SEP]")) if strip_separator else None
    return tokenizer, separator


def _token(settings: Mapping[str, Any], name: str, otherwise: str) -> str:
    """A special token in tokenizer_config.json: a text, or an object with the text as its content."""
    value = settings.get(name) or otherwise
    return str(value.get("content") if isinstance(value, dict) else value)


def _repaired(text: str) -> str:
    if text.isascii() and text.isprintable() and "&" not in text:
        return text.strip()  # nothing to repair, and ftfy takes 0.05 s to import
    import html

    import ftfy

    whole = text.encode("utf-8", "replace").decode()  # lone surrogates, which no tokenizer takes, become "?"
    return html.unescape(html.unescape(ftfy.fix_text(whole))).strip()


def _one_line(text: str) -> str:
    return " ".join(_repaired(text).split())


def _folded(text: str) -> str:
    return _one_line(text).lower()


def _canonical(text: str) -> str:
    without = _repaired(text).replace("_", " ").translate(_NO_PUNCTUATION)
    return " ".join(without.lower().split())


_CLEANERS: dict[str, Callable[[str], str]] = {"lower": _folded, "whitespace": _one_line, "canonicalize": _canonical}
