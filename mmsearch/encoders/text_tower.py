"""A text tower that transformers builds, from files of its own: only what such a tower needs reaches that library.

transformers runs Python that lies beside a model, or fetches kernels and runs them, where the model's files say so. It
never sees these: it is given a folder that holds what of them is in the tables here, and the tokenizer.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmsearch.base.errors import ModelError
from mmsearch.base.text import first_line
from mmsearch.encoders import model_config, plain_files, tokenizer_file
from mmsearch.encoders.model_config import number, whole, word, yes_or_no
from mmsearch.encoders.names import TOKENIZER_NAMES

# The families that open_clip has poolers for (open_clip/hf_configs.py).
_FAMILIES = ("roberta", "xlm-roberta", "mt5", "bert", "m2m_100")

# Positions for which tables may be made: the towers of open_clip's own models have up to 1,024.
_MOST_POSITIONS = 16_384

# Vocabularies of tokenizers that have no tokenizer.json.
VOCABULARIES = ("vocab.json", "vocab.txt", "merges.txt", "sentencepiece.bpe.model", "spiece.model")

# fmt: off
_COUNTS = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
    "max_position_embeddings", "type_vocab_size", "d_model", "d_kv", "d_ff", "num_layers",
    "num_heads", "relative_attention_num_buckets", "relative_attention_max_distance", "encoder_layers",
    "encoder_ffn_dim", "encoder_attention_heads",
    "pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id",
)
_FRACTIONS = (
    "hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout", "initializer_range",
    "layer_norm_eps", "dropout_rate", "layer_norm_epsilon", "initializer_factor", "dropout", "attention_dropout",
    "activation_dropout", "encoder_layerdrop", "decoder_layerdrop", "init_std",
)
# fmt: on
_SWITCHES = ["is_encoder_decoder", "use_cache", "tie_word_embeddings", "scale_embedding"]
_WORDS = ["hidden_act", "position_embedding_type", "feed_forward_proj", "dense_act_fn", "activation_function"]

# Those of a tower's settings that are passed on; layers and widths have the bounds of open_clip's own towers.
_SETTINGS: dict[str, model_config.Check] = {
    **dict.fromkeys(_COUNTS, whole(model_config.MOST_TOKENS, least=0)),
    **{name: whole(model_config.MOST_LAYERS) for name in _COUNTS if name.endswith("layers")},
    **{
        name: whole(8 * model_config.MOST_WIDTH)
        for name in _COUNTS
        if name.startswith(("d_", "hidden_", "intermediate_")) or name.endswith(("_dim", "_heads"))
    },
    "max_position_embeddings": whole(_MOST_POSITIONS),
    **dict.fromkeys(_FRACTIONS, number(1e4)),
    **dict.fromkeys(_SWITCHES, yes_or_no),
    **dict.fromkeys(_WORDS, word),
}

# What tokenizer_config.json may say about a tokenizer; paths and code of its own are not among it.
# fmt: off
_TOKENIZER_SWITCHES = (
    "do_lower_case", "strip_accents", "tokenize_chinese_chars", "do_basic_tokenize", "add_prefix_space",
    "trim_offsets", "keep_accents", "legacy", "add_bos_token", "add_eos_token", "clean_up_tokenization_spaces",
    "split_special_tokens",
)
# fmt: on
_TOKENIZER_WORDS = ["padding_side", "truncation_side", "errors", "src_lang", "tgt_lang"]
_SPECIAL = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"]
# fmt: off
_CLASSES = (
    "BertTokenizer", "RobertaTokenizer", "XLMRobertaTokenizer", "T5Tokenizer", "MT5Tokenizer", "M2M100Tokenizer",
    "NllbTokenizer", "PreTrainedTokenizer", "TokenizersBackend",
)
# fmt: on
_MOST_MARK = 256


def write(tower: Path, tokenizer: Path | None, folder: Path) -> None:
    """Write into `folder` what transformers may read of a tower and its tokenizer, which lie in folders of their own.

    Raises ModelError for files that are none, or ask for code, and ModelUnavailableError for missing ones.
    """
    settings = _read_json(tower / "config.json")
    _refuse_code(tower / "config.json", settings)
    family = settings.get("model_type")
    if family not in _FAMILIES:
        known = ", ".join(_FAMILIES)
        raise ModelError(f"{tower / 'config.json'} is of the kind {family!r}; text towers are one of {known}")
    for name in settings.keys() & _SETTINGS.keys():
        if settings[name] is not None and not _SETTINGS[name](settings[name]):
            raise ModelError(f"{tower / 'config.json'} sets {name} to {settings[name]!r}, which mmsearch refuses")
    passed = {name: settings[name] for name in settings.keys() & _SETTINGS.keys()}
    passed |= _no_decoder(passed)
    (folder / "config.json").write_text(json.dumps({"model_type": family, **passed}), "utf-8")
    if tokenizer is not None:
        _copy_tokenizer(tokenizer, folder)


def _no_decoder(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The least decoder there is, for families that have one: open_clip builds it too, and throws it away."""
    least: dict[str, Any] = {"num_decoder_layers": 1, "decoder_layers": 1, "decoder_ffn_dim": 1}
    return least | {"decoder_attention_heads": settings.get("encoder_attention_heads", 16)}


def _copy_tokenizer(source: Path, folder: Path) -> None:
    main, settings_name = TOKENIZER_NAMES
    is_fast = (source / main).exists()
    if is_fast:
        tokenizer_file.check(source / main)
    for name in [main] if is_fast else VOCABULARIES:
        if (source / name).exists():
            plain_files.check(source / name, plain_files.MOST_TOKENIZER)
            shutil.copyfile(source / name, folder / name)
    if (source / settings_name).exists():
        settings = _read_json(source / settings_name)
        _refuse_code(source / settings_name, settings)
        (folder / settings_name).write_text(json.dumps(_tokenizer_settings(settings)), "utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return plain_files.read_json(path)
    except ValueError as error:
        raise ModelError(f"{path} is damaged: {first_line(error)}", "use a model that you trust") from error


def _refuse_code(path: Path, settings: Mapping[str, Any]) -> None:
    if "auto_map" in settings:
        raise ModelError(f"{path} names Python code of its own (auto_map), which mmsearch never runs")


def _tokenizer_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a tokenizer's settings that are passed on."""
    checks = {
        **dict.fromkeys(_TOKENIZER_SWITCHES, yes_or_no),
        **dict.fromkeys(_TOKENIZER_WORDS, word),
        **dict.fromkeys(_SPECIAL, _is_mark),
        "model_max_length": number(1e31),
        "extra_ids": whole(1000, least=0),
        "tokenizer_class": lambda value: isinstance(value, str) and value.removesuffix("Fast") in _CLASSES,
        "additional_special_tokens": _all(_is_mark),
        "extra_special_tokens": _all(_is_mark),
    }
    return {name: value for name, value in settings.items() if name in checks and checks[name](value)}


def _all(check: model_config.Check) -> model_config.Check:
    return lambda values: isinstance(values, list) and all(map(check, values))


def _is_mark(value: Any) -> bool:
    """Whether a value is a special token: a short text, or an object with one and with switches."""
    if isinstance(value, dict):
        return _is_mark(value.get("content")) and all(
            isinstance(other, bool) or (name == "__type" and other == "AddedToken")
            for name, other in value.items()
            if name != "content"
        )
    return isinstance(value, str) and 0 < len(value) <= _MOST_MARK
