"""Tokenizers without torch, against open_clip's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsearch.base.errors import ModelError, ModelUnavailableError
from mmsearch.encoders import openclip, tokens

THEIRS = openclip.open_clip.SimpleTokenizer()
OURS = tokens.open_tokenizer({"context_length": 24}, None)
TEXTS = [
    "a photo of a cat",
    "Don't WORRY, be happy!!! 123 http://example.org/?a=b",
    "ünïcödé ﬁ ﬂ 日本語 😀 &amp;lt;b&gt;",
    "",
    "   ",
    "x" * 300,
    "it's we'll I'd they've y'all",
    "tab\tnew\nline\x00",
    "İstanbul ß ẞ ½ ² ①",
    "under_score snake_case",
]


@pytest.mark.parametrize("length", [3, 16, 77])
def test_clips_tokenizer_equals_open_clips(length: int) -> None:
    ours = tokens.open_tokenizer({"context_length": length}, None)
    np.testing.assert_array_equal(ours(TEXTS), THEIRS(TEXTS, context_length=length).numpy())


@settings(max_examples=50)
@given(st.lists(st.text(st.characters(max_codepoint=0x24FF, exclude_categories=["Cn", "Cs", "Co"]), max_size=60)))
def test_the_first_texts_are_no_different(texts: list[str]) -> None:
    """They are encoded with a part of the vocabulary."""
    ours = tokens.open_tokenizer({"context_length": 24}, None)
    np.testing.assert_array_equal(ours([*texts, *TEXTS]), OURS([*texts, *TEXTS]))


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(max_codepoint=0x24FF, exclude_categories=["Cn", "Cs", "Co"]), max_size=60))
def test_clips_tokenizer_equals_open_clips_on_any_text(text: str) -> None:
    theirs = THEIRS([text], context_length=24).numpy()
    np.testing.assert_array_equal(OURS([text]), theirs)


@pytest.mark.parametrize("clean", ["lower", "whitespace", "canonicalize"])
def test_cleaning_equals_open_clips(clean: str) -> None:
    from open_clip.tokenizer import get_clean_fn

    ours = tokens.open_tokenizer({"tokenizer_kwargs": {"clean": clean}}, None).clean
    printable = "".join(map(chr, range(32, 127)))
    for text in (*TEXTS, printable, *printable, f" {printable.replace('&', '')} "):
        assert ours(text) == get_clean_fn(clean)(text)


def test_a_models_own_tokenizer(tmp_path: Path) -> None:
    """Cleaned, ended with </s> (1), unknown words 2, padded right with <pad> (0), cut at the context length."""
    tiny_models.write_tokenizer(tmp_path)
    config = {"context_length": 6, "hf_tokenizer_name": "x/y", "tokenizer_kwargs": {"clean": "canonicalize"}}
    ids = {word: 3 + place for place, word in enumerate(tiny_models.WORDS)}
    tokenize = tokens.open_tokenizer(config, tmp_path)
    expected = [
        [ids["a"], ids["photo"], 1, 0, 0, 0],
        [ids["cat"], 2, 1, 0, 0, 0],
        [ids["the"]] * 5 + [1],
    ]
    assert tokenize(["A  photo!", "cat zebra", "the " * 9]).tolist() == expected


def test_separators_can_be_blanked(tmp_path: Path) -> None:
    tiny_models.write_tokenizer(tmp_path)
    settings_path = tmp_path / "tokenizer_config.json"
    settings_path.write_text(json.dumps({"pad_token": "<pad>", "sep_token": {"content": "</s>"}}))
    config = {"context_length": 4, "tokenizer_kwargs": {"strip_sep_token": True}}
    assert tokens.open_tokenizer(config, tmp_path)(["a"]).tolist() == [[3, 0, 0, 0]]


def test_unknown_settings_are_refused_not_ignored(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="reduction_mask"):
        tokens.open_tokenizer({"tokenizer_kwargs": {"reduction_mask": "simple"}}, None)
    with pytest.raises(ModelError, match="'clips'"):
        tokens.open_tokenizer({"tokenizer_mode": "clips"}, None)
    with pytest.raises(ModelUnavailableError, match=r"tokenizer\.json is missing"):
        tokens.open_tokenizer({}, tmp_path)


def test_lone_surrogates_are_replaced() -> None:
    ours = tokens.open_tokenizer({}, None)
    np.testing.assert_array_equal(ours(["\udcff cat"]), ours(["? cat"]))
