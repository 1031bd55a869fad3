"""Model folders that somebody has made to do harm: each costs one line, in bounded time, and runs no code."""

from __future__ import annotations

import base64
import json
import os
import shutil
import struct
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import tiny_xlm
from tiny_models import TinyModel

from mmsearch.base.errors import ModelError, ModelUnavailableError
from mmsearch.encoders import (
    fingerprints,
    load_encoder,
    model_config,
    openclip,
    openclip_tables,
    plain_files,
    resolve,
    text_tower,
    tokenizer_file,
    tokens,
)
from mmsearch.encoders import weights as weight_files

CONFIG = weight_files.CONFIG_NAME


@pytest.fixture
def model(tiny_clip: TinyModel, tmp_path: Path) -> Path:
    """A folder with a model that is in order, to be spoilt."""
    return shutil.copytree(tiny_clip.directory, tmp_path / "model")


@pytest.fixture
def xlm(tmp_path: Path) -> Path:
    """A folder with a model whose text tower is one of transformers', with its settings and tokenizer in `./tower`."""
    folder = tmp_path / "xlm"
    (folder / "tower").mkdir(parents=True)
    for name, content in tiny_xlm.tower_files(tmp_path / "work").items():
        (folder / name).write_bytes(content)
        (folder / "tower" / name).write_bytes(content)
    config = json.loads(json.dumps(tiny_xlm.CONFIG))
    config["text_cfg"]["hf_model_name"] = "./tower"
    (folder / CONFIG).write_text(json.dumps({"model_cfg": config}))
    return folder


def load(folder: Path) -> Any:
    return load_encoder(f"local-dir:{folder}", device="cpu", precision="fp32", progress=False)


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text("utf-8"))
    change(content)
    path.write_text(json.dumps(content), "utf-8")


def with_weights(folder: Path) -> Path:
    """Weights for the tower that lies in the folder, built as the loader builds it."""
    import safetensors.torch

    (folder / "model.safetensors").write_bytes(b"\0" * 10_000_000)  # enough to be counted as its parameters
    source = resolve(f"local-dir:{folder}")
    files = weight_files.locate(source, notice=print, progress=False)
    with openclip.quiet():
        made = openclip._build(source, files, openclip.torch.device("cpu"), "fp32")
    weights = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    (folder / "model.safetensors").write_bytes(safetensors.torch.save(weights))
    return folder


class TestConfigurations:
    @pytest.mark.parametrize(
        "kwargs",
        [
            {"trust_remote_code": True},
            {"cache_dir": "/tmp"},
            {"gguf_file": "x"},
            {"subfolder": ".."},
            {"clean": "/etc"},
            {"language": "../x"},
        ],
    )
    def test_what_reaches_transformers_is_on_a_list(self, model: Path, kwargs: dict[str, Any]) -> None:
        edit(model / CONFIG, lambda config: config["model_cfg"]["text_cfg"].update(tokenizer_kwargs=kwargs))
        with pytest.raises(ModelError, match=f"tokenizer_kwargs.{next(iter(kwargs))}"):
            load(model)

    @pytest.mark.parametrize("name", ["hf_model_name", "hf_tokenizer_name"])
    @pytest.mark.parametrize(
        "value",
        ["/etc", "~/x", "a/b/c", "../x", "./../x", "./x/../../y", "a\\b", "C:x", "hf-hub:a/b", "", " a/b", "x\n"],
    )
    def test_names_of_towers_are_repositories_or_inside(self, model: Path, name: str, value: str) -> None:
        edit(model / CONFIG, lambda config: config["model_cfg"]["text_cfg"].update({name: value}))
        with pytest.raises(ModelError, match=r"which is outside of the model|is not among its files"):
            load(model)

    def test_a_link_within_the_folder_leads_nowhere_else(self, xlm: Path) -> None:
        shutil.move(xlm / "tower", xlm.parent / "elsewhere")
        (xlm / "tower").symlink_to(xlm.parent / "elsewhere")
        (xlm / "model.safetensors").write_bytes(b"\0" * 1000)
        with pytest.raises(ModelError, match="outside of the model"):
            load(xlm)

    @pytest.mark.parametrize(
        ("tower", "key", "value"),
        [
            ("vision_cfg", "layers", 10**9),
            ("vision_cfg", "image_size", 10**9),
            ("vision_cfg", "act_kwargs", {"inplace": True}),
            ("vision_cfg", "norm_kwargs", {"device": "meta"}),
            ("vision_cfg", "layers", "__import__('os')"),
            ("vision_cfg", "width", -32),
            ("vision_cfg", "width", True),
            ("vision_cfg", "mlp_ratio", float("nan")),
            ("text_cfg", "context_length", 10**7),
            ("text_cfg", "vocab_size", 10**12),
            ("text_cfg", "tokenizer_mode", "../clips"),
        ],
    )
    def test_values_out_of_bounds(self, model: Path, tower: str, key: str, value: Any) -> None:
        edit(model / CONFIG, lambda config: config["model_cfg"][tower].update({key: value}))
        started = time.monotonic()
        with pytest.raises(ModelError) as caught:
            load(model)
        assert key in str(caught.value)
        assert time.monotonic() - started < 20

    def test_patches_out_of_bounds(self, model: Path) -> None:
        many = {"image_size": 2000, "patch_size": 1, "pos_embed_type": "sin_cos_2d"}
        edit(model / CONFIG, lambda config: config["model_cfg"]["vision_cfg"].update(many))
        with pytest.raises(ModelError, match="more than 16,384 patches"):
            load(model)

    def test_more_parameters_than_the_weights_have_bytes(self, model: Path) -> None:
        """2 * 10**11 parameters: no memory is taken for them."""
        large = {"width": 8192, "layers": 200, "head_width": 64}
        edit(model / CONFIG, lambda config: config["model_cfg"]["vision_cfg"].update(large))
        with pytest.raises(ModelError, match=r"too few for the 16.,...,...,... parameters"):
            load(model)

    @pytest.mark.parametrize("preprocess", [{"std": [0, 0, 0]}, {"resize_mode": "x"}, {"size": 10**6}, {"mean": [1]}])
    def test_preprocessing(self, model: Path, preprocess: dict[str, Any]) -> None:
        edit(model / CONFIG, lambda config: config["preprocess_cfg"].update(preprocess))
        with pytest.raises(ModelError, match="preprocess_cfg"):
            load(model)

    def test_deeply_nested(self, model: Path) -> None:
        (model / CONFIG).write_text('{"a":' * 100_000)
        with pytest.raises(ModelError, match="not a configuration"):
            load(model)

    def test_all_of_open_clips_own_are_in_order(self, tmp_path: Path) -> None:
        """The tables leave out nothing that open_clip's configurations say."""
        path = tmp_path / CONFIG
        for architecture in openclip_tables.architectures():
            config = openclip_tables.architecture_config(architecture)
            path.write_text(json.dumps({"model_cfg": config}))
            assert model_config.read(path) == (config, {}), architecture


class TestTowersOfTransformers:
    def test_one_that_is_in_order(self, xlm: Path) -> None:
        """Its settings lie in the folder; nothing is read relative to the working directory, and none of it is left."""
        encoder = load(with_weights(xlm))
        assert encoder.encode_texts(["一只猫", "cat"]).shape == (2, 16)

    @pytest.mark.parametrize("file", ["tokenizer_config.json", "tower/config.json"])
    def test_code_beside_it_is_never_run(self, xlm: Path, file: str, tmp_path: Path) -> None:
        with_weights(xlm)
        classes = {"AutoTokenizer": ["own.Own", None], "AutoConfig": "own.Own", "AutoModel": "own.Own"}
        edit(xlm / file, lambda settings: settings.update(auto_map=classes))
        for folder in (xlm, xlm / "tower"):
            (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Own: pass\n")
        with pytest.raises(ModelError, match="names Python code of its own"):
            load(xlm)
        assert not (tmp_path / "ran").exists()

    def test_the_working_directory_has_no_say(
        self, tiny_clip: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """open_clip's own names of towers are folders to transformers, where there are folders of these names."""
        place = tmp_path / "here"
        (place / "roberta-base").mkdir(parents=True)
        proof = tmp_path / "ran"
        settings = {"model_type": "roberta", "auto_map": {"AutoConfig": "own.Own"}}
        (place / "roberta-base" / "config.json").write_text(json.dumps(settings))
        (place / "roberta-base" / "own.py").write_text(f"open({str(proof)!r}, 'w')\n")
        monkeypatch.chdir(place)
        with pytest.raises(ModelUnavailableError, match="roberta-base is not on this disk"):
            load_encoder(f"roberta-ViT-B-32:{tiny_clip.checkpoint}", device="cpu")
        assert not proof.exists()

    def test_only_known_settings_are_passed_on(self, xlm: Path, tmp_path: Path) -> None:
        """`_attn_implementation` may name a kernel on the hub that transformers fetches and runs."""
        risky = {
            "_attn_implementation": "someone/kernel",
            "attn_implementation": "someone/kernel",
            "torch_dtype": "bf16",
        }
        edit(xlm / "tower" / "config.json", lambda settings: settings.update(risky))
        paths = {"tokenizer_file": "/etc/passwd", "vocab_file": "/dev/zero", "tokenizer_class": "OwnTokenizer"}
        edit(xlm / "tokenizer_config.json", lambda settings: settings.update(paths))
        out = tmp_path / "out"
        out.mkdir()
        text_tower.write(xlm / "tower", xlm, out)
        assert not risky.keys() & json.loads((out / "config.json").read_text()).keys()
        assert not paths.keys() & json.loads((out / "tokenizer_config.json").read_text()).keys()
        assert {path.name for path in out.iterdir()} == {"config.json", "tokenizer.json", "tokenizer_config.json"}

    @pytest.mark.parametrize(
        "settings", [{"num_hidden_layers": 10**9}, {"hidden_act": "../x"}, {"model_type": "jina"}, {"hidden_size": [1]}]
    )
    def test_settings_out_of_bounds(self, xlm: Path, settings: dict[str, Any]) -> None:
        with_weights(xlm)
        edit(xlm / "tower" / "config.json", lambda config: config.update(settings))
        with pytest.raises(ModelError, match=rf"config\.json (sets {next(iter(settings))}|is of the kind)"):
            load(xlm)


class TestFiles:
    @pytest.mark.parametrize("name", [CONFIG, "open_clip_model.safetensors"])
    @pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
    def test_no_plain_file(self, model: Path, name: str, kind: str) -> None:
        (model / name).unlink()
        if kind == "pipe":
            os.mkfifo(model / name)
        elif kind == "device":
            (model / name).symlink_to("/dev/zero")
        else:
            (model / name).mkdir()
        with pytest.raises(ModelError, match=f"{name} is not a plain file"):
            load(model)

    def test_a_pipe_as_tokenizer(self, tiny_siglip: TinyModel, tmp_path: Path) -> None:
        folder = shutil.copytree(tiny_siglip.directory, tmp_path / "model")
        (folder / "tokenizer.json").unlink()
        os.mkfifo(folder / "tokenizer.json")
        with pytest.raises(ModelError, match=r"tokenizer\.json is not a plain file"):
            load(folder).encode_texts(["a cat"])

    def test_sizes_have_bounds(self, model: Path) -> None:
        """Files with holes: they take no room on the disk, and are not read."""
        with (model / CONFIG).open("r+b") as file:
            file.truncate(plain_files.MOST_SETTINGS + 1)
        with pytest.raises(ModelError, match="more than the 16,000,000 that such a file may have"):
            load(model)

    def test_weights_have_bounds(self, model: Path) -> None:
        with (model / "open_clip_model.safetensors").open("r+b") as file:
            file.truncate(plain_files.MOST_WEIGHTS + 1)
        with pytest.raises(ModelError, match="more than the 40,000,000,000 that such a file may have"):
            load(model)

    def test_an_archive_that_unpacks_to_more(self, tiny_clip: TinyModel, tmp_path: Path) -> None:
        bomb = tmp_path / "bomb.pt"
        with (
            zipfile.ZipFile(tiny_clip.checkpoint) as whole,
            zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            for entry in whole.infolist():
                archive.writestr(entry.filename, whole.read(entry))
            archive.writestr("archive/data/99", b"\0" * 100_000_000)
        with pytest.raises(ModelError, match=r"unpacks to 1.*, more than weights do"):
            load_encoder(f"tiny-clip:{bomb}", device="cpu")

    def test_a_name_that_pretends_to_be_a_checksum(self, tmp_path: Path) -> None:
        """Only the hub's cache names files by their content."""
        weights = tmp_path / "blobs" / ("a" * 64)
        weights.parent.mkdir()
        weights.write_bytes(b"others")
        assert fingerprints.digest(weights) != weights.name


def tokenizer(folder: Path, **parts: Any) -> Path:
    """A folder with the tokenizer of the tiny models, some of its parts replaced."""
    tiny_models.write_tokenizer(folder)
    edit(folder / "tokenizer.json", lambda content: content.update(parts))
    return folder


def doubling(times: int) -> dict[str, Any]:
    rule = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
    return {"type": "Sequence", "normalizers": [rule] * times}


def table(trie: bytes, replacements: bytes) -> dict[str, Any]:
    content = base64.b64encode(struct.pack("<I", len(trie)) + trie + replacements).decode()
    return {"type": "Precompiled", "precompiled_charsmap": content}


BYTES = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": False}
ENDS = {"</s>": {"id": "</s>", "ids": [1] * 100_000, "tokens": ["</s>"] * 100_000}}
TEMPLATE = {"type": "TemplateProcessing", "pair": [], "special_tokens": ENDS}
HOSTILE: dict[str, dict[str, Any]] = {
    "doubles": {"normalizer": doubling(40)},
    "doubles within": {"normalizer": {"type": "Sequence", "normalizers": [doubling(20), doubling(20)]}},
    "inserts": {"normalizer": {"type": "Replace", "pattern": {"Regex": "x*"}, "content": "y" * 10_000}},
    "inserts everywhere": {"normalizer": {"type": "Replace", "pattern": {"String": ""}, "content": "y"}},
    "bytes of bytes": {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [BYTES] * 40}},
    "a broken table": {"normalizer": table(b"\xff" * 8, b"abc\0")},
    "an empty table": {"normalizer": table(b"", b"")},
    "no table": {"normalizer": {"type": "Precompiled", "precompiled_charsmap": ""}},
    "long replacements": {"normalizer": table(b"\0" * 8, b"a" * 100_000 + b"\0")},
    "pieces of nothing": {"pre_tokenizer": {"type": "FixedLength", "length": 0}},
    "an unknown rule": {"normalizer": {"type": "Surprise"}},
    "no rule": {"normalizer": ["Lowercase"]},
    "a template": {"post_processor": {**TEMPLATE, "single": [{"SpecialToken": {"id": "</s>", "type_id": 0}}] * 100}},
    "an expression": {
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
    },
    "a bad expression": {"normalizer": {"type": "Replace", "pattern": {"Regex": "("}, "content": ""}},
    "no model": {"model": {}},
}


class TestTokenizers:
    @pytest.mark.parametrize("name", HOSTILE)
    def test_hostile_ones_fail_soon_with_a_line(
        self, name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        folder = tokenizer(tmp_path, **HOSTILE[name])
        started = time.monotonic()
        with pytest.raises(ModelError, match=r"tokenizer\.json"):
            tokens.open_tokenizer({"context_length": 16}, folder)
        assert time.monotonic() - started < 30
        assert capfd.readouterr() == ("", "")  # a panic of the library would print its own lines

    def test_one_that_does_not_end(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = tokenizer(tmp_path)
        monkeypatch.setattr(tokenizer_file, "_SECONDS", 0.5)
        monkeypatch.setattr(tokenizer_file, "_TRIAL", "while True: pass")
        with pytest.raises(ModelError, match=r"takes more than 0\.5 s to open"):
            tokens.open_tokenizer({}, folder)

    def test_a_text_that_takes_for_ever(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        opened = tokens.open_tokenizer({"context_length": 16}, tokenizer(tmp_path))
        stop = threading.Event()

        class Endless:
            def encode_batch(self, texts: list[str]) -> object:
                return stop.wait(60)

        monkeypatch.setattr(tokens, "_SECONDS", 0.2)
        endless = tokens.TextTokenizer(opened.clean, Endless())  # type: ignore[arg-type]
        with pytest.raises(ModelError, match=r"takes more than 0\.2 s for this text"):
            endless(["a cat"])
        stop.set()

    def test_a_panic_on_one_text_is_an_error(self, tmp_path: Path) -> None:
        """Of a table that is in order for all that was tried."""
        from tokenizers import Tokenizer

        tiny_models.write_tokenizer(tmp_path)
        broken = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
        content = json.loads(broken.to_str()) | {"normalizer": HOSTILE["a broken table"]["normalizer"]}
        broken = Tokenizer.from_str(json.dumps(content))
        with pytest.raises(ModelError, match="cannot take this text"):
            tokens.TextTokenizer(str.strip, broken)(["a cat"])

    def test_a_text_without_tokens_is_an_error(self, tmp_path: Path) -> None:
        unknown = {"type": "WordLevel", "vocab": {"a": 0, "</s>": 1}, "unk_token": "none"}
        opened = tokens.open_tokenizer({"context_length": 4}, tokenizer(tmp_path, model=unknown))
        assert opened(["a"]).tolist() == [[0, 1, 0, 0]]
        with pytest.raises(ModelError, match=r"cannot take this text: WordLevel error: Missing"):
            opened(["zebra"])

    def test_rules_of_real_ones_pass(self, tmp_path: Path) -> None:
        """Of SigLIP's kind: cleaned by expressions, a table of replacements, SentencePiece's mark for a space."""
        expressions = [
            {"type": "Replace", "pattern": {"Regex": pattern}, "content": content}
            for pattern, content in [("[!?]", ""), (r"\s+", " "), (" {2,}", " "), ("^ ", ""), (" $", "")]
        ]
        mark = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
        rules = [{"type": "Lowercase"}, {"type": "NFKC"}, *expressions, mark, {"type": "Prepend", "prepend": "▁"}]
        folder = tokenizer(tmp_path, normalizer={"type": "Sequence", "normalizers": rules})
        assert tokens.open_tokenizer({"context_length": 16}, folder)(["a cat"]).shape == (1, 16)
        assert np.isfinite(tokens.open_tokenizer({"context_length": 4}, folder).unknown_share("a zebra"))
