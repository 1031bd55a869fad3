"""Advice for queries that the collection's model cannot read, and models that read many languages, without torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from command import Command
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiny_tokenizers import gemma_like, roberta_like

from mmsearch import encoders
from mmsearch.base.records import EncoderInfo, Preprocess
from mmsearch.encoders import tokens
from mmsearch.encoders.export import folder as export_folder
from mmsearch.encoders.names import ALIASES
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.searching import language_hint

HOW = Preprocess(32, 32)


class Named:
    """An encoder that is no more than its name."""

    device, precision, batch_size, concurrency = "cpu", "fp32", 1, 1

    def __init__(self, spec: str) -> None:
        self.info = EncoderInfo(spec, "ab" * 32, 16, HOW)

    def encode_images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise NotImplementedError

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("一只猫", "Chinese"),
        ("猫", "Chinese"),
        ("東京タワー", "Chinese"),
        ("ねこ", "Japanese"),
        ("かわいい 猫", "Japanese"),
        ("고양이", "Korean"),
        ("개", "Korean"),
        ("кошка на столе", "Cyrillic"),
        ("γάτα", "Greek"),
        ("חתול", "Hebrew"),
        ("قطة", "Arabic"),
        ("बिल्ली", "Devanagari"),
        ("แมว", "Thai"),
        ("東京 tower", "Chinese"),
        ("фото cat", "Cyrillic"),
    ],
)
def test_scripts(text: str, script: str) -> None:
    assert language_hint.script_of(text) == script


@pytest.mark.parametrize(
    "text",
    [
        "a photo of a cat",
        "",
        "a cat 😀🎈❤️",
        "😀",
        "Björk on stage, naïve café",
        "straße in münchen",
        "một con mèo",
        "photo of Николай on the beach",
        "π day",
        "Ω",
        "alpha α and beta β decay",
        r"¯\_(ツ)_/¯",
        "½ cup, 5 µm, №7, ℝ and ℓ",
        "ＦＵＬＬ ＷＩＤＴＨ",
        "𝓯𝓪𝓷𝓬𝔂 𝐥𝐞𝐭𝐭𝐞𝐫𝐬",
        "5 µA and 3 µm, µµ",
        "2021-07-14 (1)",
        "DSC_0001.JPG",
    ],
)
def test_no_false_alarm(text: str) -> None:
    assert language_hint.script_of(text) is None


@given(st.text(st.characters(max_codepoint=0x24F)))
def test_latin_letters_are_never_foreign(text: str) -> None:
    assert language_hint.script_of(text) is None


@given(st.text())
def test_any_text_can_be_asked(text: str) -> None:
    language_hint.script_of(text)


class TestAdvice:
    @pytest.mark.parametrize("alias", ALIASES)
    def test_the_card_decides(self, alias: str) -> None:
        line = language_hint.advice(["a cat", "一只猫"], Named(ALIASES[alias].spec))
        if ALIASES[alias].languages == "English":
            assert line is not None and "\n" not in line
            assert f"model, {alias}, does not read Chinese script" in line
            assert "`mmsearch reindex --model siglip2`" in line
        else:
            assert line is None

    @pytest.mark.parametrize("alias", ALIASES)
    def test_latin_letters_count_where_the_answer_is_weak(self, alias: str) -> None:
        encoder = Named(ALIASES[alias].spec)
        assert language_hint.advice(["eine Katze"], encoder) is None
        line = language_hint.advice(["a cat", "eine Katze"], encoder, ["a cat", "eine Katze"])
        if ALIASES[alias].languages == "English":
            assert line is not None and "\n" not in line
            assert f'model, {alias}, reads English only; "eine Katze" looks like another language' in line
            assert "`mmsearch reindex --model siglip2`" in line
        else:
            assert line is None

    def test_a_long_text_is_cut(self) -> None:
        line = language_hint.advice([], Named("starter"), ["eine Katze\nschläft\t" + "und schläft " * 50])
        assert line is not None and "\n" not in line
        assert '"eine Katze schläft und schläft und schl…"' in line

    def test_clips_tokenizer_is_english(self) -> None:
        assert language_hint.advice([], Named("ViT-B-16/laion2b_s34b_b88k"), ["eine Katze"])
        assert language_hint.advice([], Named("xlm-roberta-base-ViT-B-32/laion5b_s13b_b90k"), ["eine Katze"]) is None
        assert language_hint.advice(["кошка"], Named("ViT-B-16/laion2b_s34b_b88k"))

    def test_another_tokenizer_is_given_the_benefit_of_the_doubt(self) -> None:
        assert language_hint.advice(["кошка"], Named("xlm-roberta-base-ViT-B-32/laion5b_s13b_b90k")) is None

    @pytest.mark.parametrize("spec", ["local-dir:/nowhere", "hf-hub:tests/none", "no such model"])
    def test_what_is_not_known(self, spec: str) -> None:
        assert language_hint.advice(["кошка"], Named(spec)) is None

    def test_a_folder_says_what_its_tokenizer_is(self, tmp_path: Path) -> None:
        config = {"model_cfg": {"text_cfg": {"context_length": 16}}}
        (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
        assert language_hint.advice(["кошка"], Named(f"local-dir:{tmp_path}"))
        config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "x/y"  # type: ignore[assignment]
        (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
        assert language_hint.advice(["кошка"], Named(f"local-dir:{tmp_path}")) is None


# --- tokenizers of many languages, in the files that models come with ---


@pytest.mark.parametrize(
    ("write", "text", "share"),
    [
        (gemma_like, "猫", 0.0),
        (gemma_like, "犬", 1.0),
        (gemma_like, "cat", 1 / 3),  # an "a" of Latin letters is not among the pieces
        (roberta_like, "一只猫", 0.0),
        (roberta_like, "кошка", 0.0),
        (roberta_like, "", 0.0),
    ],
)
def test_the_share_of_what_a_vocabulary_lacks(tmp_path: Path, write, text: str, share: float) -> None:  # type: ignore[no-untyped-def]
    write(tmp_path)
    assert tokens.open_tokenizer({"context_length": 16}, tmp_path).unknown_share(text) == pytest.approx(share)


def test_an_unknown_word_of_a_unigram_model(tmp_path: Path) -> None:
    roberta_like(tmp_path)
    opened = tokens.open_tokenizer({"context_length": 16}, tmp_path)
    assert opened.unknown_share("ไม่รู้") == pytest.approx(1 / 2)  # the space before it, and all the rest in one


@pytest.mark.parametrize(
    ("write", "text", "advised"),
    [
        (gemma_like, "猫", False),
        (gemma_like, "犬 犬", True),
        (roberta_like, "一只猫", False),
        (roberta_like, "ไม่รู้", True),
    ],
)
def test_a_model_of_its_own_tokenizer_is_advised_by_it(tmp_path: Path, write, text: str, advised: bool) -> None:  # type: ignore[no-untyped-def]
    info = EncoderInfo("local-dir:/gone", "cd" * 32, 16, HOW)
    folder = export_folder.folder_of(info.fingerprint)
    write(folder)
    manifest = export_folder.Manifest(info, {"context_length": 16}, False, False, {}, "1.0", "here")
    encoder = export_folder.open_export(folder, manifest)
    assert isinstance(encoder, OnnxEncoder)
    assert (language_hint.advice([text], encoder) is not None) is advised


# --- as a user sees it ---


def test_a_query_gets_its_answer_and_one_line(command: Command, indexed: Path) -> None:
    outcome = command("query", "一只猫", "-C", indexed, "-k", 1, "--paths")
    assert outcome.code == 0 and len(outcome.out.splitlines()) == 1
    assert outcome.err.count("\n") == 1 and "does not read Chinese script" in outcome.err
    assert command("query", "a cat 😀", "-C", indexed, "-k", 1).err == ""


def test_a_batch_gets_it_once(command: Command, indexed: Path, tmp_path: Path) -> None:
    (tmp_path / "queries").write_text("一只猫\nкошка\na cat\n", "utf-8")
    outcome = command("query", "--batch", tmp_path / "queries", "-C", indexed, "-k", 1)
    assert len(outcome.out.splitlines()) == 3
    assert outcome.err.count("does not read") == 1


def test_a_weak_answer_to_another_language_gets_one_line(command: Command, indexed: Path) -> None:
    outcome = command("query", "eine Katze", "-C", indexed, "-k", 1, "--json")
    assert outcome.code == 0 and outcome.json["count"] == 1
    assert outcome.err.count("\n") == 1 and '"eine Katze" looks like another language' in outcome.err
    assert "looks like" in command("query", "eine Katze", "-C", indexed, "--min-score", 0.9, "--json").err, "no answer"
    assert "looks like" not in command("query", "crème brûlée", "-C", indexed).err
    assert "looks like" not in command("query", "a zeppelin", "-C", indexed).err


def test_a_good_answer_is_left_alone(command: Command, indexed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmsearch.base.config.LIKELY", 0.0)
    assert command("query", "eine Katze", "-C", indexed, "--json").err == ""


def test_a_batch_gets_it_once_for_latin_letters_too(command: Command, indexed: Path, tmp_path: Path) -> None:
    (tmp_path / "queries").write_text("a cat\neine Katze\nun perro\n", "utf-8")
    outcome = command("query", "--batch", tmp_path / "queries", "-C", indexed, "-k", 1)
    assert len(outcome.out.splitlines()) == 3
    assert outcome.err.count("\n") == 1 and '"eine Katze" looks like' in outcome.err


def test_names_of_models() -> None:
    assert encoders.short_name("ViT-B-32-256/datacomp_s34b_b86k") == "clip"
    assert encoders.short_name("hf-hub:a/b") == "hf-hub:a/b"
