"""Exports of open_clip models: as faithful as they claim, complete without torch, and made once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
from tiny_models import TinyModel

from mmsearch import Collection
from mmsearch.base.errors import ModelError
from mmsearch.base.records import Encoder, EncoderInfo
from mmsearch.encoders import ensure_export, identify, load_encoder, load_export, load_query_encoder, openclip
from mmsearch.encoders.export import folder as export_folder
from mmsearch.encoders.export import make as export_make
from mmsearch.encoders.export import policy as export_policy
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.openclip import OpenClipEncoder

TEXTS = ["a photo of a cat", "", "The RED  house &amp; the sky, two dogs!", "zebra 日本語 🎈", "a " * 100, "cat"]


@dataclass(frozen=True)
class Exported:
    """A tiny model on torch, and the folder with its export, which tests copy into caches of their own."""

    model: TinyModel
    encoder: OpenClipEncoder
    folder: Path

    @property
    def info(self) -> EncoderInfo:
        return self.encoder.info


def make(model: TinyModel, cache: Path) -> Exported:
    encoder = load_encoder(f"local-dir:{model.directory}", device="cpu", precision="fp32")
    assert isinstance(encoder, OpenClipEncoder)
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMSEARCH_CACHE", str(cache))
        ensure_export(encoder, lines.append)
        folder = export_folder.folder_of(encoder.info.fingerprint)
    assert lines == [f"preparing {encoder.info.spec} for fast queries; this takes about a minute, once"]
    return Exported(model, encoder, folder)


@pytest.fixture(scope="session")
def clip(tiny_clip: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return make(tiny_clip, tmp_path_factory.mktemp("clip-cache"))


@pytest.fixture(scope="session")
def siglip(tiny_siglip: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return make(tiny_siglip, tmp_path_factory.mktemp("siglip-cache"))


@pytest.fixture(params=["clip", "siglip"])
def either(request: pytest.FixtureRequest) -> Exported:
    found: Exported = request.getfixturevalue(request.param)
    return found


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setenv("MMSEARCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def graphs_at_hand(clip: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports of `clip` take the graphs that are there, instead of tracing for several seconds."""

    def copy(tower: Any, example: Any, name: str, axes: Any, path: Path) -> None:
        for ending in (".onnx", ".weights"):
            shutil.copyfile((clip.folder / path.name).with_suffix(ending), path.with_suffix(ending))

    monkeypatch.setattr(export_make, "_write_graph", copy)


def install(source: Exported) -> Path:
    """Put the export into this test's cache."""
    folder = export_folder.folder_of(source.info.fingerprint)
    shutil.copytree(source.folder, folder)
    return folder


def opened(source: Exported) -> OnnxEncoder:
    install(source)
    found = export_folder.find(source.info.fingerprint)
    assert found is not None
    return found


def noise(encoder: Encoder, count: int) -> np.ndarray:
    size = encoder.info.preprocess.size
    return np.random.default_rng(count).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    assert one.shape == other.shape
    assert other.dtype == np.float32
    return (one * other).sum(axis=1)


class TestFaithful:
    @pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 33])
    def test_images(self, either: Exported, count: int) -> None:
        pixels = noise(either.encoder, count)
        found = opened(either).encode_images(pixels)
        assert cosines(either.encoder.encode_images(pixels), found).min(initial=1) >= 0.9999

    def test_texts(self, either: Exported) -> None:
        encoder = opened(either)
        together = either.encoder.encode_texts(TEXTS)
        assert cosines(together, encoder.encode_texts(TEXTS)).min() >= 0.9999
        alone = np.concatenate([encoder.encode_texts([text]) for text in TEXTS])
        assert cosines(together, alone).min() >= 0.9999
        np.testing.assert_allclose(encoder.encode_texts(TEXTS * 12), np.concatenate([alone] * 12), atol=1e-5)
        assert encoder.encode_texts([]).shape == (0, either.info.dim)

    def test_tokens_are_those_of_open_clip(self, either: Exported) -> None:
        # open_clip reads a tokenizer.json with transformers; test_tokens.py compares ours with its documented steps.
        theirs = either.encoder.tokenize if either.model.name == "tiny-siglip" else _clip_tokens
        for texts in (TEXTS, *([text] for text in TEXTS)):
            expected = theirs(texts)
            ours = export_folder.ExportTokenizer(either.folder, manifest(either))(texts)
            np.testing.assert_array_equal(ours.inputs["input_ids"], expected)

    def test_a_short_text_is_not_padded_where_padding_is_not_seen(self, clip: Exported, siglip: Exported) -> None:
        texts = ["a cat", "", "a cat on a chair"] * 20
        widths = []
        for source in (clip, siglip):
            tokens = export_folder.ExportTokenizer(source.folder, manifest(source))(texts)
            passes = list(tokens.passes())
            assert sorted(np.concatenate([rows for rows, _ in passes]).tolist()) == list(range(60))
            widths.append([inputs["input_ids"].shape[1] for _, inputs in passes])
        # With start and end tokens: 20 of two tokens and 12 of four; 8 of four and 20 of seven. SigLIP sees padding.
        assert widths == [[4, 7], [tiny_models.CONTEXT_LENGTH] * 2]

    def test_an_unfaithful_export_is_discarded(
        self, clip: Exported, graphs_at_hand: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = type("Other", (), {"encode_texts": lambda self, texts: np.zeros((len(texts), 16), np.float32)})
        monkeypatch.setattr(OnnxEncoder, "encode_texts", other.encode_texts)
        lines: list[str] = []
        ensure_export(clip.encoder, lines.append)
        assert "the text tower's export is not faithful: cosine 0.000000" in lines[1]
        assert remains() == ["failed.json", "lock"]


class TestClassToken:
    """The image tower that computes no more of the last block than the class token needs."""

    @pytest.mark.parametrize(
        "settings", [{}, {"ls_init_value": 0.3}, {"final_ln_after_pool": True}, {"no_ln_pre": True}], ids=str
    )
    def test_is_the_whole_tower(self, settings: dict[str, Any]) -> None:
        tower = _vision_tower(**settings)
        batch = export_make.torch.randn(3, 3, 32, 32, generator=export_make.torch.manual_seed(1))
        chosen = export_make._class_token_tower(type("Model", (), {"visual": tower}))
        assert chosen is tower
        with export_make.torch.no_grad():
            expected, found = tower(batch), export_make._class_token_features(chosen, batch)
        np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=2e-6)

    @pytest.mark.parametrize(
        "settings",
        [{"pool_type": "avg"}, {"attentional_pool": True}, {"qk_norm": True}, {"output_tokens": True}],
        ids=str,
    )
    def test_leaves_other_towers_alone(self, settings: dict[str, Any]) -> None:
        assert export_make._class_token_tower(type("Model", (), {"visual": _vision_tower(**settings)})) is None

    def test_leaves_towers_of_other_makers_alone(self, siglip: Exported) -> None:
        assert export_make._class_token_tower(siglip.encoder.model) is None  # type: ignore[attr-defined]


def _vision_tower(**settings: Any) -> Any:
    export_make.torch.manual_seed(0)
    tower = export_make.layers.VisionTransformer(
        32, 8, 32, layers=3, heads=2, mlp_ratio=2.0, output_dim=16, **settings
    ).eval()
    for parameter in tower.parameters():  # biases and norms are trivial when new
        export_make.torch.nn.init.normal_(parameter, std=0.2)
    return tower


def _clip_tokens(texts: Sequence[str]) -> np.ndarray:
    theirs = openclip.open_clip.get_tokenizer("ViT-B-32", context_length=tiny_models.CONTEXT_LENGTH)
    return np.asarray(theirs(texts).numpy())


def manifest(source: Exported) -> export_folder.Manifest:
    return export_folder.Manifest.from_json(json.loads((source.folder / export_folder.MANIFEST).read_text()))


def remains() -> list[str]:
    """What is in the folder of exports, without the part of the names that all have."""
    return sorted(path.name.split("-v1")[-1].lstrip(".") for path in export_folder._exports().iterdir())


class TestOnDisk:
    def test_only_the_user_can_read_it(self, clip: Exported) -> None:
        assert clip.folder.stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o777 for path in clip.folder.iterdir()} == {0o600}

    def test_weights_are_not_in_the_graph(self, clip: Exported) -> None:
        assert (clip.folder / "text.weights").stat().st_size > 49408 * 32 * 4
        assert (clip.folder / "text.onnx").stat().st_size < 100_000

    def test_a_copy_is_as_good(self, clip: Exported) -> None:
        folder = install(clip)
        os.utime(folder / "text.weights", ns=(1, 1))
        assert export_folder.find(clip.info.fingerprint)
        assert json.loads((folder / export_folder.MANIFEST).read_text())["files"]["text.weights"]["mtime_ns"] == 1

    @pytest.mark.parametrize(
        "damage",
        [
            lambda folder: shutil.rmtree(folder),
            lambda folder: (folder / "image.weights").unlink(),
            lambda folder: os.truncate(folder / "text.weights", 1000),
            lambda folder: flip(folder / "text.weights"),
            lambda folder: flip(folder / "text.onnx", keep_time=True),
            lambda folder: (folder / "vocabulary.txt.gz").unlink(),
            lambda folder: (folder / "export.json").write_text("{"),
            lambda folder: (folder / "export.json").write_text("[]"),
            lambda folder: edit(folder, format=export_folder.FORMAT - 1),
            lambda folder: edit(folder, runtime="0.9.0"),
            lambda folder: edit(folder, runtime="1.9999.0"),
            lambda folder: edit(folder, machine="elsewhere"),
            lambda folder: edit(folder, files={"text.onnx": {}}),
            lambda folder: edit(folder, info={"fingerprint": "abc"}),
        ],
    )
    def test_what_is_damaged_or_outdated_is_none(self, clip: Exported, damage: Callable[[Path], None]) -> None:
        damage(install(clip))
        assert export_folder.find(clip.info.fingerprint) is None

    def test_what_is_damaged_is_made_again(self, clip: Exported, graphs_at_hand: None) -> None:
        os.truncate(install(clip) / "text.weights", 1000)
        lines: list[str] = []
        ensure_export(clip.encoder, lines.append)
        assert len(lines) == 1
        found = export_folder.find(clip.info.fingerprint)
        assert found is not None
        assert cosines(clip.encoder.encode_texts(TEXTS), found.encode_texts(TEXTS)).min() >= 0.9999
        assert remains() == ["", "lock"]

    def test_an_interrupted_export_leaves_nothing(
        self, clip: Exported, graphs_at_hand: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupt(*_: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(export_make, "_check_parity", interrupt)
        with pytest.raises(KeyboardInterrupt):
            ensure_export(clip.encoder)
        assert remains() == ["lock"]

    def test_what_a_killed_export_left_is_removed(self, clip: Exported, graphs_at_hand: None) -> None:
        left = export_folder.folder_of(clip.info.fingerprint)
        left = left.with_name(f".making-{left.name}-killed")
        left.mkdir(parents=True)
        (left / "text.weights").write_bytes(b"half")
        ensure_export(clip.encoder)
        assert remains() == ["", "lock"]

    def test_what_is_no_fingerprint_is_no_path(self) -> None:
        with pytest.raises(ModelError, match="invalid model fingerprint"):
            export_folder.find("../../elsewhere")


def flip(path: Path, *, keep_time: bool = False) -> None:
    state = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    if keep_time:
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def edit(folder: Path, **changes: Any) -> None:
    path = folder / export_folder.MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


class TestFrontDoor:
    def test_the_built_in_model_needs_no_export(self, cache: Path) -> None:
        info = load_encoder("starter").info
        assert load_query_encoder(info).info == info
        assert not cache.exists()

    def test_the_export_is_used_where_there_is_one(self, clip: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
        install(clip)
        monkeypatch.setattr(openclip, "load", None)
        assert isinstance(load_query_encoder(clip.info), OnnxEncoder)

    def test_the_first_query_makes_it(self, clip: Exported, graphs_at_hand: None) -> None:
        lines: list[str] = []
        assert isinstance(load_query_encoder(clip.info, notice=lines.append, progress=False), OnnxEncoder)
        assert lines == [f"preparing {clip.info.spec} for fast queries; this takes about a minute, once"]
        assert isinstance(load_query_encoder(clip.info, notice=lines.append), OnnxEncoder)
        assert len(lines) == 1

    def test_other_weights_are_not_exported(self, clip: Exported) -> None:
        other = replace(clip.info, fingerprint="ab" * 32)
        assert load_query_encoder(other, progress=False).info == clip.info
        assert export_folder.find(clip.info.fingerprint) is None

    def test_a_failure_is_told_once_and_remembered(self, clip: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
        tries: list[str] = []

        def fail(*_: Any) -> None:
            tries.append("try")
            raise AssertionError("no such operator\nand more")

        monkeypatch.setattr(export_make, "_write_graph", fail)
        lines: list[str] = []
        for _ in range(2):
            assert isinstance(load_query_encoder(clip.info, notice=lines.append), OpenClipEncoder)
        ensure_export(clip.encoder, lines.append)
        assert lines[1:] == [
            f"{clip.info.spec} cannot be exported: AssertionError: no such operator;"
            " queries run on torch, which takes a few seconds longer to start"
        ]
        assert len(tries) == 1
        monkeypatch.setattr(export_folder, "_versions", lambda: {"torch": "another"})
        load_query_encoder(clip.info)
        assert len(tries) == 2

    def test_a_cache_that_cannot_be_written(self, clip: Exported, cache: Path) -> None:
        cache.mkdir()
        (cache / "exports").write_text("a file")
        lines: list[str] = []
        assert isinstance(load_query_encoder(clip.info, notice=lines.append), OpenClipEncoder)
        assert len(lines) == 1
        assert "exports cannot be written: " in lines[0]

    def test_a_disk_without_room_is_no_reason_to_give_up(
        self, clip: Exported, graphs_at_hand: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        lines: list[str] = []
        with monkeypatch.context() as patch:
            patch.setattr(export_make, "_settle", fail)
            ensure_export(clip.encoder, lines.append)
        assert "cannot be written: No space left on device; queries run on torch" in lines[1]
        assert remains() == ["lock"]
        ensure_export(clip.encoder)
        assert export_folder.find(clip.info.fingerprint)

    def test_a_model_that_ran_in_half_precision(self, clip: Exported, graphs_at_hand: None) -> None:
        encoder = load_encoder(clip.info.spec, device="cpu", precision="bf16")
        ensure_export(encoder)
        assert export_folder.find(clip.info.fingerprint)

    @pytest.mark.parametrize(
        ("device", "precision", "better_on_torch", "used"),
        [
            ("auto", "auto", False, True),
            ("auto", "auto", True, False),
            ("cpu", "fp32", True, True),
            ("cpu", "auto", True, False),
            ("cpu", "auto", False, True),
            ("cuda", "auto", False, False),
            ("auto", "bf16", False, False),
        ],
    )
    def test_indexing_without_torch(
        self,
        clip: Exported,
        device: str,
        precision: str,
        better_on_torch: bool,
        used: bool,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(export_policy, "_torch_runs_faster", lambda device: better_on_torch)
        assert load_export(clip.info, device=device, precision=precision) is None
        install(clip)
        assert (load_export(clip.info, device=device, precision=precision) is not None) is used


MAKER = """
import shutil, sys, time
from pathlib import Path
from mmsearch.encoders.export import folder as export_folder, policy as export_policy
from mmsearch.base.records import EncoderInfo

ready = Path(sys.argv[1])
info = export_folder.read_manifest(ready).info

def slowly(encoder, notice):
    print("made", flush=True)
    time.sleep(1)
    shutil.copytree(ready, export_folder.folder_of(info.fingerprint))
    return export_folder.find(info.fingerprint)

export_policy._export = slowly
encoder = export_policy.load(info, print, lambda **_: type("OnTorch", (), {"info": info}))
print(encoder.encode_texts(["a cat"]).shape)
"""


def test_of_two_processes_one_makes_the_export(clip: Exported) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", MAKER, str(clip.folder)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert all(answer.endswith("(1, 16)\n") for answer in answers)
    assert "".join(answers).count("made") == 1


POISONED = """
import json, sys

class Poison:
    def find_spec(self, name, path=None, target=None):
        if name in {"torch", "open_clip", "timm", "huggingface_hub", "transformers"}:
            raise AssertionError(f"{name} was imported")

sys.meta_path.insert(0, Poison())
from mmsearch import Collection
with Collection.open(sys.argv[1], notice=lambda line: sys.exit(line)) as collection:
    words = collection.search(text="a cat", k=3)
    picture = collection.search(image=sys.argv[2], k=3)
print(json.dumps([[(hit.path, hit.score) for hit in hits] for hits in (words, picture)]))
"""


def test_queries_without_torch_and_without_the_model(either: Exported, photos: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(either.model.directory, model)
    place = tmp_path / "collection"
    install(either)
    with Collection.open(place) as collection:
        collection.add([photos], model=f"local-dir:{model}", device="cpu", precision="fp32")
        expected = [collection.search(text="a cat", k=3), collection.search(image=photos / "cat.jpg", k=3)]
    shutil.rmtree(model)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", POISONED, str(place), str(photos / "cat.jpg")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for hits, wanted in zip(json.loads(done.stdout), expected, strict=True):
        assert [path for path, _ in hits] == [hit.path for hit in wanted]
        np.testing.assert_allclose([score for _, score in hits], [hit.score for hit in wanted], atol=1e-4)


def test_a_model_is_identified_without_loading_it(tiny_clip: TinyModel) -> None:
    spec = f"{tiny_clip.name}:{tiny_clip.checkpoint}"
    assert identify(spec) == load_encoder(spec).info
    assert identify(f"local-dir:{tiny_clip.checkpoint.parent}") is None, "only the loaded model can say"
