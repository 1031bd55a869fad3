"""Which files a model consists of, and where they are: fetched from the hub where they are not on this disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmsearch.base.errors import ModelError, ModelUnavailableError
from mmsearch.encoders import hub, model_config, openclip_tables, plain_files, text_tower
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

# What transformers may need to build a text tower of its own, beside `models.TOKENIZER_NAMES`.
TRANSFORMERS_NAMES = ("special_tokens_map.json", *text_tower.VOCABULARIES)


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model on this disk, whose files are plain and whose configuration says no more than it may.

    `architecture` is open_clip's name of one that it knows; empty where the configuration comes with the model.
    `config` is its model configuration. `tokenizer` is the folder of a tokenizer that is not CLIP's own, `tower` that
    of the settings of a text tower from transformers. `settings` are the preprocessing settings that the model's folder
    or the weights' tag brings, and `quick_gelu` says that the tag asks for that activation.
    """

    architecture: str
    config: Mapping[str, Any]
    weights: Path
    tokenizer: Path | None = None
    tower: Path | None = None
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
            found = _pair(source, fetch)
        case "hub":
            found = _repository(source, fetch)
        case "directory":
            found = _directory(source)
        case _:
            found = _checkpoint(source, fetch)
    plain_files.check(found.weights, plain_files.MOST_WEIGHTS)
    return found


def _pair(source: ModelSource, fetch: _Fetcher) -> ModelFiles:
    chosen = openclip_tables.pretrained(source.architecture)[source.tag]
    config = openclip_tables.architecture_config(source.architecture)
    weights = fetch(chosen.repo, *weights_names(chosen.filename))
    beside = _beside(config, fetch)
    return ModelFiles(source.architecture, config, weights, *beside, chosen.settings, chosen.quick_gelu)


def _repository(source: ModelSource, fetch: _Fetcher) -> ModelFiles:
    config, settings = model_config.read(fetch(source.repo, CONFIG_NAME))
    weights = fetch(source.repo, *model_names.WEIGHTS_NAMES)
    return ModelFiles("", config, weights, *_beside(config, fetch), settings)


def _directory(source: ModelSource) -> ModelFiles:
    folder = Path(source.path)
    if not folder.is_dir():
        raise ModelUnavailableError(f"no such folder: {folder}", "check the path after local-dir:")
    config, settings = model_config.read(folder / CONFIG_NAME)
    tower = config["text_cfg"].get("hf_model_name")
    tokenizer = folder if tower or config["text_cfg"].get("hf_tokenizer_name") else None
    return ModelFiles("", config, _weights_in(folder), tokenizer, _tower_of(folder, tower) if tower else None, settings)


def _tower_of(folder: Path, name: str) -> Path:
    """Where the settings of a text tower lie: within the model's folder (`./NAME`), else in the hub's cache, else among
    the model's own files."""
    if model_config.is_inside(name):
        found = (folder / name).resolve()
        if not found.is_relative_to(folder.resolve()):
            raise ModelError(f"{folder / CONFIG_NAME} names {name!r}, which is outside of the model")
        return found
    cached = hub.cached(name, "config.json")
    return cached.parent if cached else folder


def _checkpoint(source: ModelSource, fetch: _Fetcher) -> ModelFiles:
    path = Path(source.path)
    if not path.exists():
        raise ModelUnavailableError(f"no such file: {path}", f"check the path after {source.architecture}:")
    config = openclip_tables.architecture_config(source.architecture)
    return ModelFiles(source.architecture, config, path, *_beside(config, fetch))


def weights_names(filename: str) -> tuple[str, ...]:
    """open_clip's names for the weights of a repository: safetensors before anything that is pickled."""
    if not filename:
        return model_names.WEIGHTS_NAMES
    if filename.endswith((".bin", ".pth")):
        return filename[:-4] + ".safetensors", filename
    return (filename,)


def _beside(config: Mapping[str, Any], fetch: _Fetcher) -> tuple[Path | None, Path | None]:
    """The folders of a tokenizer that is not CLIP's own, and of the settings of a text tower from transformers.

    Both are repositories of the hub. Raises ModelError for a name that is none.
    """
    text = config["text_cfg"]
    repo, tower = text.get("hf_tokenizer_name"), text.get("hf_model_name")
    for name in (repo, tower):
        if name and model_config.is_inside(name):
            raise ModelError(f"the model names {name!r}, which is not among its files", "use a model that you trust")
    if tower:
        settings = _fetch_for_transformers(tower, fetch)
        return _fetch_for_transformers(repo or tower, fetch), settings
    if not repo:
        return None, None
    paths = [fetch(repo, name) for name in model_names.TOKENIZER_NAMES]
    return paths[0].parent, None


def _fetch_for_transformers(repo: str, fetch: _Fetcher) -> Path:
    """Bring what transformers needs to build this text tower into the cache; a repository has some of these files."""
    folder = fetch(repo, "config.json").parent
    for name in (*model_names.TOKENIZER_NAMES, *TRANSFORMERS_NAMES):
        try:
            fetch(repo, name)
        except ModelUnavailableError as error:
            if error.__cause__ is not None:
                raise
    return folder


def _weights_in(folder: Path) -> Path:
    """The weights that open_clip would take from a folder."""
    found = {path.name: path for path in folder.iterdir() if path.suffix in _WEIGHTS_SUFFIXES}
    if not found:
        raise ModelUnavailableError(f"{folder} holds no weights", f"expected a file *{', *'.join(_WEIGHTS_SUFFIXES)}")
    preferred = [name for name in _PREFERRED_WEIGHTS if name in found]
    others = sorted(found, key=lambda name: (not name.endswith(".safetensors"), name))
    return found[(preferred or others)[0]]
