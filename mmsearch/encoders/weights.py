"""Which files a model consists of, and where they are: fetched from the hub where they are not on this disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmsearch.base.errors import ModelError, ModelUnavailableError
from mmsearch.encoders import hub, openclip_tables
from mmsearch.encoders import names as model_names
from mmsearch.encoders.names import ModelSource

CONFIG_NAME = "open_clip_config.json"

# The order in which open_clip looks for weights in a folder (open_clip/factory.py, `_find_checkpoint_in_dir`).
_PREFERRED_WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)
_WEIGHTS_SUFFIXES = (".safetensors", ".bin", ".pth")

# What transformers may read to build a text tower of its own, beside `models.TOKENIZER_NAMES`.
TRANSFORMERS_NAMES = ("special_tokens_map.json", "vocab.json", "vocab.txt", "merges.txt", "sentencepiece.bpe.model")


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model on this disk.

    `name` is what open_clip's `create_model` takes; `config` its model configuration. `tokenizer` is the folder of a
    tokenizer that is not CLIP's own. `settings` are the preprocessing settings that the weights' tag brings, and
    `quick_gelu` says that the tag asks for that activation.
    """

    name: str
    config: Mapping[str, Any]
    weights: Path
    tokenizer: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    quick_gelu: bool = False

    @property
    def build_config(self) -> dict[str, Any]:
        """The configuration that the model is built with: `config`, and what the tag asks for."""
        return {**self.config, "quick_gelu": True} if self.quick_gelu else dict(self.config)

    @property
    def text_config(self) -> Mapping[str, Any]:
        text: Mapping[str, Any] = self.config["text_cfg"]
        return text


@dataclass(frozen=True, slots=True)
class _Fetcher:
    notice: Callable[[str], None]
    progress: bool
    download: bool = True

    def __call__(self, repo: str, *names: str) -> Path:
        return hub.fetch(repo, names, notice=self.notice, progress=self.progress, download=self.download)


def locate(source: ModelSource, *, notice: Callable[[str], None], progress: bool, download: bool = True) -> ModelFiles:
    """Find or (with `download`) fetch all files of a model; imports no torch.

    Raises ModelUnavailableError for files that are nowhere to be had, ModelError for a configuration that is none.
    """
    if not openclip_tables.installed():
        raise ModelError(
            f"the model {source.spec} needs open_clip, which is not installed",
            f"pip install open_clip_torch, or use --model {model_names.STARTER}",
        )
    fetch = _Fetcher(notice, progress, download)
    match source.kind:
        case "pair":
            return _pair(source, fetch)
        case "hub":
            return _repository(source, fetch)
        case "directory":
            return _directory(source)
        case _:
            return _checkpoint(source, fetch)


def _pair(source: ModelSource, fetch: _Fetcher) -> ModelFiles:
    chosen = openclip_tables.pretrained(source.architecture)[source.tag]
    config = openclip_tables.architecture_config(source.architecture)
    weights = fetch(chosen.repo, *weights_names(chosen.filename))
    tokenizer = _fetch_tokenizer(config, fetch)
    return ModelFiles(source.architecture, config, weights, tokenizer, chosen.settings, chosen.quick_gelu)


def _repository(source: ModelSource, fetch: _Fetcher) -> ModelFiles:
    config_path = fetch(source.repo, CONFIG_NAME)
    config = _read_config(config_path)
    weights = fetch(source.repo, *model_names.WEIGHTS_NAMES)
    name = model_names.DIRECTORY_PREFIX + str(config_path.parent)
    return ModelFiles(name, config, weights, _fetch_tokenizer(config, fetch))


def _directory(source: ModelSource) -> ModelFiles:
    folder = Path(source.path)
    if not folder.is_dir():
        raise ModelUnavailableError(f"no such folder: {folder}", "check the path after local-dir:")
    config = _read_config(folder / CONFIG_NAME)
    tokenizer = folder if config["text_cfg"].get("hf_tokenizer_name") else None
    return ModelFiles(source.spec, config, _weights_in(folder), tokenizer)


def _checkpoint(source: ModelSource, fetch: _Fetcher) -> ModelFiles:
    path = Path(source.path)
    if not path.is_file():
        raise ModelUnavailableError(f"no such file: {path}", f"check the path after {source.architecture}:")
    config = openclip_tables.architecture_config(source.architecture)
    return ModelFiles(source.architecture, config, path, _fetch_tokenizer(config, fetch))


def weights_names(filename: str) -> tuple[str, ...]:
    """open_clip's names for the weights of a repository: safetensors before anything that is pickled."""
    if not filename:
        return model_names.WEIGHTS_NAMES
    if filename.endswith((".bin", ".pth")):
        return filename[:-4] + ".safetensors", filename
    return (filename,)


def _fetch_tokenizer(config: Mapping[str, Any], fetch: _Fetcher) -> Path | None:
    text = config["text_cfg"]
    repo = text.get("hf_tokenizer_name")
    if text.get("hf_model_name"):
        _fetch_for_transformers(text["hf_model_name"], fetch)
        _fetch_for_transformers(repo or text["hf_model_name"], fetch)
        return None
    if not repo:
        return None
    paths = [fetch(repo, name) for name in model_names.TOKENIZER_NAMES]
    return paths[0].parent


def _fetch_for_transformers(repo: str, fetch: _Fetcher) -> None:
    """Bring what transformers needs to build this text tower into the cache; a repository has some of these files."""
    fetch(repo, "config.json")
    for name in (*model_names.TOKENIZER_NAMES, *TRANSFORMERS_NAMES):
        try:
            fetch(repo, name)
        except ModelUnavailableError as error:
            if error.__cause__ is not None:
                raise


def _weights_in(folder: Path) -> Path:
    """The weights that open_clip would take from a folder."""
    found = {path.name: path for path in folder.iterdir() if path.suffix in _WEIGHTS_SUFFIXES}
    if not found:
        raise ModelUnavailableError(f"{folder} holds no weights", f"expected a file *{', *'.join(_WEIGHTS_SUFFIXES)}")
    preferred = [name for name in _PREFERRED_WEIGHTS if name in found]
    others = sorted(found, key=lambda name: (not name.endswith(".safetensors"), name))
    return found[(preferred or others)[0]]


def _read_config(path: Path) -> dict[str, Any]:
    """The `model_cfg` of an open_clip_config.json, checked to name nothing outside of its model."""
    try:
        config = json.loads(path.read_text("utf-8"))["model_cfg"]
        text, vision = config["text_cfg"], config["vision_cfg"]
        names = [vision.get("timm_model_name"), text.get("hf_model_name"), text.get("hf_tokenizer_name")]
    except FileNotFoundError as error:
        raise ModelUnavailableError(f"{path} is missing", "a model folder needs it beside the weights") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} is not a configuration of an open_clip model: {error}") from error
    for name in names:
        if name and (not isinstance(name, str) or ":" in name or ".." in name or name.startswith(("/", "\\", "~"))):
            raise ModelError(f"{path} names {name!r}, which is outside of the model", "use a model that you trust")
    checked: dict[str, Any] = config
    return checked
