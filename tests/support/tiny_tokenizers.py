"""Tokenizers of few words, in the files that models of many languages come with."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers import models as tokenizer_models

# Letters and words of a vocabulary in the style of SentencePiece, "▁" for the space before a word.
PIECES = ["▁a", "▁cat", "▁photo", "▁", "猫", "只", "一", "к", "о", "ш", "а", "▁ко", "шка", "c", "t", "p", "h"]


def gemma_like(folder: Path) -> None:
    """As SigLIP 2's: BPE over SentencePiece's pieces, bytes for what it lacks, <eos> at the end, padded with <pad>."""
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    names = ["<pad>", "<eos>", "<bos>", "<unk>", *byte_tokens, *(piece for piece in PIECES if len(piece) == 1)]
    vocabulary = {name: place for place, name in enumerate(dict.fromkeys(names))}
    tokenizer = Tokenizer(
        tokenizer_models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    _save(tokenizer, folder, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")


def roberta_like(folder: Path) -> None:
    """As XLM-RoBERTa's: a unigram model over SentencePiece's pieces, <s> and </s> around a text."""
    scores = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    scores += [(piece, -float(place)) for place, piece in enumerate(PIECES, 1)]
    tokenizer = Tokenizer(tokenizer_models.Unigram(scores, unk_id=3, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace()
    ends = [("<s>", 0), ("</s>", 2)]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    _save(tokenizer, folder, pad_token="<pad>", sep_token="</s>", unk_token="<unk>")


def _save(tokenizer: Tokenizer, folder: Path, **special: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(special), "utf-8")
