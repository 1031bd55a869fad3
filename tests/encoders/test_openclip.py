"""Encoders on torch: every form of `--model` end to end on tiny models, against open_clip's own pipeline."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
from PIL import Image
from tiny_models import TinyModel

from mmsearch.base.errors import DeviceError, ModelError, ModelUnavailableError, UsageError
from mmsearch.encoders import fingerprints, load_encoder, openclip, openclip_tables, resolve
from mmsearch.encoders import weights as weight_files
from mmsearch.images.preprocess import prepare

torch, open_clip = openclip.torch, openclip.open_clip
TEXTS = ["a photo of a cat", "the red house on the sky", "", "zebra"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setenv("MMSEARCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def encoder(tiny_clip: TinyModel) -> openclip.OpenClipEncoder:
    return load(f"local-dir:{tiny_clip.directory}")


def load(spec: str, **options: Any) -> openclip.OpenClipEncoder:
    loaded = load_encoder(
        spec, device=options.pop("device", "cpu"), precision=options.pop("precision", "fp32"), **options
    )
    assert isinstance(loaded, openclip.OpenClipEncoder)
    return loaded


def pictures() -> list[Image.Image]:
    random = np.random.default_rng(7)
    shapes = [(40, 60), (33, 31), (200, 90), (32, 32)]
    return [Image.fromarray(random.integers(0, 256, (*shape, 3), dtype=np.uint8)) for shape in shapes]


def noise(encoder: openclip.OpenClipEncoder, count: int) -> np.ndarray:
    size = encoder.info.preprocess.size
    return np.random.default_rng(3).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def check_against_open_clip(encoder: openclip.OpenClipEncoder, model: Any, transform: Any, tokenize: Any) -> None:
    """Embeddings equal those of open_clip's documented pipeline: its transform, its model, its tokenizer."""
    images = pictures()
    with torch.inference_mode():
        expected = (
            model.eval().encode_image(torch.stack([transform(image) for image in images]), normalize=True).numpy()
        )
        expected_texts = model.encode_text(tokenize(TEXTS), normalize=True).numpy()
    ours = encoder.encode_images(np.stack([prepare(image, encoder.info.preprocess) for image in images]))
    assert (ours * expected).sum(axis=1).min() >= 0.9999
    assert (encoder.encode_texts(TEXTS) * expected_texts).sum(axis=1).min() >= 0.9999


class TestEveryFormOfModel:
    @pytest.mark.parametrize("form", ["checkpoint", "safetensors"])
    def test_checkpoint(self, tiny_clip: TinyModel, form: str) -> None:
        path = getattr(tiny_clip, form)
        model, _, transform = open_clip.create_model_and_transforms("tiny-clip", pretrained=str(path))
        check_against_open_clip(load(f"tiny-clip:{path}"), model, transform, open_clip.get_tokenizer("tiny-clip"))

    def test_local_dir(self, tiny_clip: TinyModel) -> None:
        name = f"local-dir:{tiny_clip.directory}"
        model, _, transform = open_clip.create_model_and_transforms(name)
        check_against_open_clip(load(name), model, transform, open_clip.get_tokenizer(name))

    def test_local_dir_with_its_own_tokenizer_and_a_tower_from_timm(self, tiny_siglip: TinyModel) -> None:
        encoder = load(f"local-dir:{tiny_siglip.directory}")
        assert encoder.info.preprocess.resize_mode == "squash"
        model, _, transform = open_clip.create_model_and_transforms(encoder.info.spec)
        ids = encoder.tokenize(TEXTS)
        check_against_open_clip(encoder, model, transform, lambda texts: torch.from_numpy(ids))

    def test_spec_of_the_info_loads_the_same_model(self, encoder: openclip.OpenClipEncoder) -> None:
        assert load(encoder.info.spec).info == encoder.info

    def test_pair_from_the_hub(self, hub: Any, tiny_clip: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
        """The tag brings its preprocessing settings and its activation with it."""
        hub.repos["tiny/pair"] = {"open_clip_model.safetensors": tiny_clip.safetensors.read_bytes()}
        entry = open_clip.pretrained._slpcfg(hf_hub="tiny/pair/", quick_gelu=True)
        monkeypatch.setitem(openclip_tables._table(), "tiny-clip", {"webli": entry})
        monkeypatch.setitem(
            open_clip.pretrained._PRETRAINED, "tiny-clip", {"webli": {**entry, "file": str(tiny_clip.checkpoint)}}
        )
        encoder = load("tiny-clip/WebLI")
        assert encoder.info.spec == "tiny-clip/webli"
        model, _, transform = open_clip.create_model_and_transforms(
            "tiny-clip", pretrained="webli", force_quick_gelu=True
        )
        check_against_open_clip(encoder, model, transform, open_clip.get_tokenizer("tiny-clip"))

    @pytest.mark.parametrize("weights", ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"])
    def test_hub_repository(self, hub: Any, tiny_clip: TinyModel, weights: str) -> None:
        config = tiny_clip.directory / weight_files.CONFIG_NAME
        content = (tiny_clip.safetensors if weights.endswith("safetensors") else tiny_clip.checkpoint).read_bytes()
        hub.repos["tiny/clip"] = {weight_files.CONFIG_NAME: config.read_bytes(), weights: content}
        model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{tiny_clip.directory}")
        encoder = load("hf-hub:tiny/clip")
        check_against_open_clip(encoder, model, transform, open_clip.get_tokenizer("tiny-clip"))
        hub.requests.clear()
        assert load("hf-hub:tiny/clip").info == encoder.info
        assert hub.requests == []

    def test_hub_repository_with_a_tokenizer_elsewhere(self, hub: Any, tiny_siglip: TinyModel) -> None:
        content = {path.name: path.read_bytes() for path in tiny_siglip.directory.iterdir()}
        hub.repos["tiny/siglip"] = {
            name: content[name] for name in (weight_files.CONFIG_NAME, "open_clip_model.safetensors")
        }
        hub.repos[tiny_models.TOKENIZER_REPO] = {
            name: content[name] for name in ("tokenizer.json", "tokenizer_config.json")
        }
        local = load(f"local-dir:{tiny_siglip.directory}")
        np.testing.assert_array_equal(load("hf-hub:tiny/siglip").encode_texts(TEXTS), local.encode_texts(TEXTS))


class TestEncoding:
    def test_shapes_types_and_norms(self, encoder: openclip.OpenClipEncoder) -> None:
        for embeddings in (encoder.encode_images(noise(encoder, 3)), encoder.encode_texts(TEXTS[:3])):
            assert embeddings.shape == (3, 16)
            assert embeddings.dtype == np.float32
            np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)

    def test_nothing_in_nothing_out(self, encoder: openclip.OpenClipEncoder) -> None:
        assert encoder.encode_images(noise(encoder, 0)).shape == (0, 16)
        assert encoder.encode_texts([]).shape == (0, 16)

    def test_more_texts_than_a_pass_takes(self, encoder: openclip.OpenClipEncoder) -> None:
        texts = [f"{number} cats" for number in range(150)]
        some = encoder.encode_texts([texts[0], texts[64], texts[149]])
        np.testing.assert_allclose(encoder.encode_texts(texts)[[0, 64, 149]], some, atol=1e-5)

    def test_takes_read_only_and_strided_pixels(self, encoder: openclip.OpenClipEncoder) -> None:
        pixels = noise(encoder, 4)
        expected = encoder.encode_images(pixels)
        pixels.setflags(write=False)
        np.testing.assert_array_equal(encoder.encode_images(pixels), expected)
        np.testing.assert_allclose(encoder.encode_images(pixels[::2]), expected[::2], atol=1e-6)

    def test_pixels_that_do_not_fit_are_refused(self, encoder: openclip.OpenClipEncoder) -> None:
        with pytest.raises(ModelError, match="takes uint8"):
            encoder.encode_images(np.zeros((1, 16, 16, 3), np.uint8))
        with pytest.raises(ModelError, match="takes uint8"):
            encoder.encode_images(np.zeros((1, 32, 32, 3), np.float32))  # type: ignore[arg-type]

    @pytest.mark.parametrize("precision", ["bf16", "fp16"])
    def test_precision_keeps_the_embeddings(self, tiny_clip: TinyModel, precision: str) -> None:
        exact = load(f"local-dir:{tiny_clip.directory}")
        short = load(f"local-dir:{tiny_clip.directory}", precision=precision)
        assert short.precision == precision
        assert {weight.dtype for weight in short._model.parameters()} == {short._dtype}
        pixels = noise(exact, 8)
        assert (exact.encode_images(pixels) * short.encode_images(pixels)).sum(axis=1).min() > 0.999
        assert (exact.encode_texts(TEXTS) * short.encode_texts(TEXTS)).sum(axis=1).min() > 0.999
        assert short.info == exact.info

    def test_values_that_are_not_numbers_are_an_error(self, encoder: openclip.OpenClipEncoder) -> None:
        with torch.no_grad():
            encoder._model.visual.proj.fill_(float("nan"))
        with pytest.raises(ModelError, match="--precision fp32"):
            encoder.encode_images(noise(encoder, 1))


class TestMemory:
    """A device that takes at most `room` items at a time, and raises torch's own error for more."""

    @staticmethod
    def crowded(encoder: openclip.OpenClipEncoder, room: int) -> list[int]:
        tried: list[int] = []
        whole: Callable[..., Any] = encoder._model.encode_image  # type: ignore[assignment]

        def encode_image(batch: Any) -> Any:
            tried.append(len(batch))
            if len(batch) > room:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
            return whole(batch)

        encoder._model.encode_image = encode_image  # type: ignore[assignment]
        return tried

    def test_halves_the_batch_and_remembers(self, encoder: openclip.OpenClipEncoder) -> None:
        pixels = noise(encoder, 20)
        expected = encoder.encode_images(pixels)
        tried = self.crowded(encoder, room=6)
        np.testing.assert_allclose(encoder.encode_images(pixels), expected, atol=1e-5)
        assert tried == [20, 10, 5, 5, 5, 5]
        tried.clear()
        np.testing.assert_allclose(encoder.encode_images(pixels[:7]), expected[:7], atol=1e-5)
        assert tried == [5, 2]

    def test_not_even_one(self, encoder: openclip.OpenClipEncoder) -> None:
        tried = self.crowded(encoder, room=0)
        with pytest.raises(DeviceError, match="too little free memory"):
            encoder.encode_images(noise(encoder, 4))
        assert tried == [4, 2, 1]

    def test_other_failures_are_device_errors(self, encoder: openclip.OpenClipEncoder) -> None:
        def fails(batch: Any) -> Any:
            raise RuntimeError("CUDA error: unspecified launch failure\nmore lines")

        encoder._model.encode_image = fails  # type: ignore[assignment]
        with pytest.raises(DeviceError, match="cpu failed: CUDA error: unspecified launch failure; try"):
            encoder.encode_images(noise(encoder, 1))


class TestDevices:
    @pytest.fixture(autouse=True)
    def no_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)

    @pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:3"])
    def test_cuda_that_is_not_there(self, name: str, tiny_clip: TinyModel) -> None:
        with pytest.raises(DeviceError, match=f"no CUDA device for '{name}'.*use --device cpu"):
            load(f"local-dir:{tiny_clip.directory}", device=name)

    def test_mps_that_is_not_there(self) -> None:
        with pytest.raises(DeviceError, match="no Apple GPU"):
            openclip.choose_device("mps")

    @pytest.mark.parametrize("name", ["gpu", "", "cpu:1", "cuda:", "cuda:x", "mps:0", "CUDA"])
    def test_names_that_are_no_device(self, name: str) -> None:
        with pytest.raises(UsageError, match="unknown device"):
            openclip.choose_device(name)

    def test_auto(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert openclip.choose_device("auto") == torch.device("cpu")
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
        assert openclip.choose_device("auto") == torch.device("mps")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
        assert openclip.choose_device("auto") == torch.device("cuda:1")
        assert openclip.choose_device("cuda:0") == torch.device("cuda:0")
        with pytest.raises(DeviceError, match="last CUDA device is cuda:1"):
            openclip.choose_device("cuda:2")

    @pytest.mark.parametrize(
        ("device", "able", "expected"),
        [("cuda", {}, "fp16"), ("mps", {}, "fp32"), ("cpu", {}, "fp32"), ("cpu", {"amx_bf16": True}, "bf16")],
    )
    def test_precision_of_auto(
        self, device: str, able: dict[str, bool], expected: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
        assert openclip.choose_precision("auto", torch.device(device)) == expected
        assert openclip.choose_precision("bf16", torch.device(device)) == "bf16"

    def test_unknown_precision(self) -> None:
        with pytest.raises(UsageError, match="unknown precision 'int4'"):
            openclip.choose_precision("int4", torch.device("cpu"))


class TestRefused:
    def test_a_checkpoint_that_would_run_code(self, tmp_path: Path) -> None:
        proof = tmp_path / "ran"
        evil = tmp_path / "evil.pt"
        torch.save({"state_dict": _Runs(str(proof))}, evil)
        plain = tmp_path / "plain.bin"
        plain.write_bytes(pickle.dumps(_Runs(str(proof))))
        tiny_models.register(tmp_path / "architectures")
        for path in (evil, plain):
            with pytest.raises(ModelError, match="holds more than weights, so it was not opened"):
                load(f"tiny-clip:{path}")
        assert not proof.exists()

    def test_damaged_weights(self, tiny_clip: TinyModel, tmp_path: Path) -> None:
        for whole in (tiny_clip.checkpoint, tiny_clip.safetensors):
            content = whole.read_bytes()
            for size in (0, 100, len(content) // 2):
                damaged = tmp_path / f"damaged-{size}{whole.suffix}"
                damaged.write_bytes(content[:size])
                with pytest.raises(ModelError) as caught:
                    load(f"tiny-clip:{damaged}")
                assert str(damaged) in str(caught.value)
                assert "\n" not in str(caught.value)

    def test_weights_of_another_architecture(self, tiny_clip: TinyModel, tiny_siglip: TinyModel) -> None:
        with pytest.raises(ModelError, match="do not fit tiny-clip"):
            load(f"tiny-clip:{tiny_siglip.safetensors}")

    def test_files_that_are_not_there(self, tiny_clip: TinyModel, tmp_path: Path) -> None:
        with pytest.raises(ModelUnavailableError, match="no such file: "):
            load(f"tiny-clip:{tmp_path / 'none.pt'}")
        with pytest.raises(ModelUnavailableError, match="no such folder: "):
            load(f"local-dir:{tmp_path / 'none'}")
        with pytest.raises(ModelUnavailableError, match=r"open_clip_config\.json is missing"):
            load(f"local-dir:{tmp_path}")
        shutil.copy(tiny_clip.directory / weight_files.CONFIG_NAME, tmp_path)
        with pytest.raises(ModelUnavailableError, match="holds no weights"):
            load(f"local-dir:{tmp_path}")

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"model_cfg": 3}', '{"model_cfg": {"embed_dim": 3}}', "\xff"])
    def test_configurations_that_are_none(self, text: str, tmp_path: Path) -> None:
        (tmp_path / weight_files.CONFIG_NAME).write_bytes(text.encode("latin-1"))
        with pytest.raises(ModelError, match="is not a configuration of an open_clip model"):
            load(f"local-dir:{tmp_path}")

    @pytest.mark.parametrize(
        ("tower", "key", "value"),
        [
            ("vision_cfg", "timm_model_name", "hf-hub:someone/something"),
            ("vision_cfg", "timm_model_name", "local-dir:/etc"),
            ("text_cfg", "hf_tokenizer_name", "../../other"),
            ("text_cfg", "hf_model_name", "/etc"),
            ("text_cfg", "hf_tokenizer_name", ["x"]),
        ],
    )
    def test_a_configuration_that_leads_out_of_its_folder(
        self, tower: str, key: str, value: object, tiny_clip: TinyModel, tmp_path: Path
    ) -> None:
        folder = edited_copy(tiny_clip, tmp_path, lambda config: config["model_cfg"][tower].update({key: value}))
        with pytest.raises(ModelError, match="outside of the model"):
            load(f"local-dir:{folder}")

    def test_a_configuration_that_open_clip_cannot_build(self, tiny_clip: TinyModel, tmp_path: Path) -> None:
        folder = edited_copy(tiny_clip, tmp_path, lambda config: config["model_cfg"].update({"surprise": 1}))
        with pytest.raises(ModelError, match=r"open_clip cannot build .*surprise"):
            load(f"local-dir:{folder}")

    def test_input_that_is_not_square(self, tiny_clip: TinyModel, tmp_path: Path) -> None:
        def widen(config: dict[str, Any]) -> None:
            config["model_cfg"]["vision_cfg"]["image_size"] = [32, 64]

        folder = edited_copy(tiny_clip, tmp_path, widen)
        weights = open_clip.create_model("local-dir:" + str(folder), load_weights=False).state_dict()
        torch.save(weights, folder / "model.pth")
        (folder / "open_clip_model.safetensors").unlink()
        with pytest.raises(ModelError, match="images of 64 x 32 pixels"):
            load(f"local-dir:{folder}")

    def test_a_text_tower_that_needs_transformers(
        self, tiny_clip: TinyModel, hub: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(openclip, "_has_transformers", lambda: False)
        folder = edited_copy(
            tiny_clip, tmp_path, lambda config: config["model_cfg"]["text_cfg"].update({"hf_model_name": "x/roberta"})
        )
        with pytest.raises(ModelError, match="pip install transformers"):
            load(f"local-dir:{folder}")


class TestFingerprint:
    def test_is_the_same_wherever_the_model_lies(self, tiny_clip: TinyModel, tmp_path: Path) -> None:
        copy = shutil.copytree(tiny_clip.directory, tmp_path / "copy")
        first, second = load(f"local-dir:{tiny_clip.directory}"), load(f"local-dir:{copy}")
        assert first.info.fingerprint == second.info.fingerprint
        assert len(first.info.fingerprint) == 64

    def test_changes_with_weights_preprocessing_and_architecture(self, tiny_clip: TinyModel, tmp_path: Path) -> None:
        def less_contrast(config: dict[str, Any]) -> None:
            config["preprocess_cfg"]["std"] = [0.5, 0.5, 0.5]

        def quick_gelu(config: dict[str, Any]) -> None:
            config["model_cfg"]["quick_gelu"] = True

        other = tiny_models.make("tiny-clip", tmp_path / "other", seed=1)
        folders = [
            tiny_clip.directory,
            other.directory,
            edited_copy(tiny_clip, tmp_path / "a", less_contrast),
            edited_copy(tiny_clip, tmp_path / "b", quick_gelu),
        ]
        found = {load(f"local-dir:{folder}").info.fingerprint for folder in folders}
        assert len(found) == len(folders)

    def test_a_digest_is_remembered_until_the_file_changes(self, tmp_path: Path, cache: Path) -> None:
        weights = tmp_path / "weights.bin"
        weights.write_bytes(b"one")
        first = fingerprints.digest(weights)
        (note,) = (cache / "digests").iterdir()
        remembered = json.loads(note.read_text())
        note.write_text(json.dumps({**remembered, "sha256": "from the note"}))
        assert fingerprints.digest(weights) == "from the note"
        weights.write_bytes(b"three")
        assert fingerprints.digest(weights) not in (first, "from the note")

    @pytest.mark.parametrize("content", ["", "[]", "{}", '{"sha256"'])
    def test_a_damaged_note_is_not_believed(self, content: str, tmp_path: Path, cache: Path) -> None:
        weights = tmp_path / "weights.bin"
        weights.write_bytes(b"one")
        first = fingerprints.digest(weights)
        (note,) = (cache / "digests").iterdir()
        note.write_text(content)
        assert fingerprints.digest(weights) == first

    def test_a_cache_that_cannot_be_written_is_none(self, tmp_path: Path, cache: Path) -> None:
        weights = tmp_path / "weights.bin"
        weights.write_bytes(b"one")
        cache.write_text("a file where the folder should be")
        assert fingerprints.digest(weights) == fingerprints.digest(weights)


def test_files_of_a_resolved_source_import_no_torch(tiny_clip: TinyModel) -> None:
    code = (
        "import sys; from mmsearch.encoders import weights as weight_files, resolve\n"
        f"weight_files.locate(resolve('local-dir:{tiny_clip.directory}'), notice=print, progress=False)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
    assert resolve(f"local-dir:{tiny_clip.directory}").kind == "directory"


def test_loading_and_encoding_is_quiet(tiny_siglip: TinyModel, tmp_path: Path) -> None:
    code = (
        "from mmsearch.encoders import load_encoder\n"
        f"load_encoder('local-dir:{tiny_siglip.directory}', device='cpu').encode_texts(['a cat'])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("", "")


@pytest.mark.cuda
def test_cuda_gives_the_embeddings_of_the_cpu(tiny_clip: TinyModel) -> None:
    here = load(f"local-dir:{tiny_clip.directory}")
    there = load(f"local-dir:{tiny_clip.directory}", device="cuda", precision="auto")
    assert (there.device, there.precision) == ("cuda:0", "fp16")
    pixels = noise(here, 40)
    assert (here.encode_images(pixels) * there.encode_images(pixels)).sum(axis=1).min() > 0.999
    assert (here.encode_texts(TEXTS) * there.encode_texts(TEXTS)).sum(axis=1).min() > 0.999


class _Runs:
    """Something that makes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path(self.path),)


def edited_copy(tiny: TinyModel, folder: Path, edit: Callable[[dict[str, Any]], object]) -> Path:
    """A copy of a model's folder whose configuration was changed by `edit`."""
    copy = shutil.copytree(tiny.directory, folder / "edited")
    path = copy / weight_files.CONFIG_NAME
    config = json.loads(path.read_text("utf-8"))
    edit(config)
    path.write_text(json.dumps(config), "utf-8")
    return copy
