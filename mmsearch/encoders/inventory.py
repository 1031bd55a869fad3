"""What of models lies on this disk: downloads in the hub's cache, exports and digests in ours; bring it and remove it.

The hub's cache is shared with other programs. A repository in it counts as a model's where open_clip's tables, or the
name of the model, say that its files come from there; all others are counted as other programs'.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmsearch.base import config
from mmsearch.base.cleaning import ours, remove_ours
from mmsearch.base.errors import MMSearchError, ModelUnavailableError
from mmsearch.encoders import fingerprints, hub, model_config, openclip_tables, trusted
from mmsearch.encoders import names as model_names
from mmsearch.encoders import weights as weight_files
from mmsearch.encoders.export import folder as export_folder
from mmsearch.encoders.names import ModelCard, ModelSource

Notice = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Item:
    """Something on this disk: a file or a folder with all that is in it, and its size in bytes."""

    path: Path
    bytes: int

    def to_json(self) -> dict[str, Any]:
        return {"path": str(self.path), "bytes": self.bytes}


@dataclass(frozen=True, slots=True)
class Holding:
    """What there is of one model. `is_complete` says that nothing is to be downloaded; `has_export` that queries need
    no torch. `shared` are downloads that other models, or other programs, use as well."""

    spec: str
    is_complete: bool
    has_export: bool
    downloads: list[Item] = field(default_factory=list)
    exports: list[Item] = field(default_factory=list)
    notes: list[Item] = field(default_factory=list)
    shared: list[Item] = field(default_factory=list)

    @property
    def own(self) -> list[Item]:
        """What goes when the model is removed."""
        return [*self.downloads, *self.exports, *self.notes]

    @property
    def bytes(self) -> int:
        return sum(item.bytes for item in self.own)


@dataclass(frozen=True, slots=True)
class Inventory:
    """Everything on this disk, each item once.

    `shared` are downloads that several models use; `leftovers` belong to no model that is known: exports of older
    versions, what killed exports left, digests of files that are gone; `rest` is what else mmsearch keeps in its cache;
    `others` are other programs' repositories of the hub.
    """

    holdings: list[Holding]
    shared: list[Item]
    leftovers: list[Item]
    rest: list[Item]
    others: list[Item]

    @property
    def bytes(self) -> int:
        """The size of all but what is other programs'."""
        items = [*self.shared, *self.leftovers, *self.rest]
        return sum(held.bytes for held in self.holdings) + sum(item.bytes for item in items)


def card_of(source: ModelSource) -> ModelCard:
    """What is known of a model: the card of one with a short name, else what its configuration says."""
    if source.alias:
        return model_names.EVERY_ALIAS[source.alias]
    settings = _config(source) or {}
    own = _tokenizer_names(settings.get("text_cfg", {}))
    size = settings.get("vision_cfg", {}).get("image_size", 0)
    return ModelCard(
        "",
        source.spec,
        good_for="",
        download_mb=0,
        licence="see its source",
        languages=f"those of its tokenizer, {own[0]}" if own else "English" if settings else "unknown until pulled",
        dim=int(settings.get("embed_dim", 0)),
        pixels=size if isinstance(size, int) else max(size),
        repo=source.repo,
    )


def holding(source: ModelSource) -> Holding:
    """What there is of one model."""
    return _holding(source, _exports(), _specs_on_disk())


def inventory() -> Inventory:
    """What there is of all models, whatever they are called."""
    exports, specs = _exports(), _specs_on_disk()
    holdings = [_holding(model_names.parse(spec), exports, specs) for spec in specs]
    claimed = {item.path for found in holdings for item in [*found.own, *found.shared]}
    return Inventory(
        holdings,
        shared=[*{item.path: item for found in holdings for item in found.shared}.values()],
        leftovers=[_item(path) for path in _derived() if path not in claimed and not _is_note(path)],
        rest=[_item(path) for path in _rest() if path not in claimed],
        others=[_item(hub.folder(repo)) for repo in hub.repositories() if hub.folder(repo) not in claimed],
    )


def pull(source: ModelSource, notice: Notice, *, progress: bool = True) -> Holding:
    """Download what is not here, check all of it against the hub's checksums, and prepare the model for queries.

    A download that broke off is gone on with. Raises what `load_encoder` raises.
    """
    from mmsearch import encoders

    if source.kind == "starter":
        return holding(source)
    trusted.name(source.spec)
    for repo in _repos(source):
        for path in hub.files_of(repo):
            if hub.discard_if_damaged(path):
                notice(f"{path.name} of {repo} was damaged on this disk; downloading it again")
    weight_files.locate(source, notice=notice, progress=progress)
    info = encoders.identify(source.spec, notice, progress=progress)
    if info is None or export_folder.find(info.fingerprint) is None:
        encoder = encoders.load_encoder(source.spec, device="cpu", precision="fp32", notice=notice, progress=progress)
        encoders.ensure_export(encoder, notice)
    trusted.remember(source.spec)
    return holding(source)


def remove(items: Iterable[Item]) -> None:
    """Delete these. Raises ModelUnavailableError for what the system refuses to delete, and for what is not ours to."""
    for item in items:
        is_in_our_cache = item.path.parent.parent == config.cache_dir()  # else in the hub's, whose folder may be a link
        try:
            if not remove_ours(item.path, through_links=not is_in_our_cache) and os.path.lexists(item.path):
                what = f"{item.path} is not removed: it is a link, lies behind one, or is another user's"
                raise ModelUnavailableError(what, "remove it yourself")
        except OSError as error:
            what = f"{item.path} cannot be removed: {error.strerror or error}"
            raise ModelUnavailableError(what, "check its permissions, and that nobody is using it") from error


# --- inside ---


def _holding(source: ModelSource, exports: dict[Path, str], specs: Iterable[str]) -> Holding:
    used = {repo for spec in specs for repo in _tokenizers_of_others(model_names.parse(spec), source)}
    downloads: list[Item] = []
    shared: list[Item] = []
    for repo in _repos(source):
        if hub.folder(repo).is_dir():
            is_own = repo not in used and (repo == source.repo or _is_tokenizer_only(repo))
            (downloads if is_own else shared).append(_item(hub.folder(repo)))
    mine = [path for path, spec in exports.items() if spec == source.spec]
    beside = [path for folder in mine for path in _beside(folder)]
    return Holding(
        source.spec,
        is_complete=_is_complete(source),
        has_export=source.kind == "starter" or any(_is_usable(folder) for folder in mine),
        downloads=downloads,
        exports=[_item(path) for path in mine],
        notes=[_item(path) for path in [*beside, *_digests(source)]],
        shared=shared,
    )


def _tokenizers_of_others(other: ModelSource, source: ModelSource) -> list[str]:
    return [repo for repo in _repos(other) if repo != other.repo] if other.repo != source.repo else []


def _is_tokenizer_only(repo: str) -> bool:
    """Whether nothing of a repository is here but what mmsearch fetches of one that has only a tokenizer for it."""
    names = {"config.json", *model_names.TOKENIZER_NAMES, *weight_files.TRANSFORMERS_NAMES}
    return {path.name for path in hub.files_of(repo)} <= names


def _beside(folder: Path) -> list[Path]:
    """What lies beside an export and belongs to it; not its lock, which is empty and may be waited for."""
    return [path for path in folder.parent.glob(f"*{folder.name}[.-]*") if path.suffix != ".lock"]


def _specs_on_disk() -> list[str]:
    """The models that something on this disk belongs to, those with short names first, one for each repository."""
    here = {repo for repo in hub.repositories() if hub.files_of(repo) or hub.is_partial(repo)}
    found = {
        card.repo: card.spec for card in model_names.EVERY_ALIAS.values() if card.repo in here and _is_ours(card.repo)
    }
    for architecture in openclip_tables.architectures():
        for tag, weights in openclip_tables.pretrained(architecture).items():
            if weights.repo in here and weights.repo not in found and _is_ours(weights.repo, weights.filename):
                found[weights.repo] = f"{architecture}/{tag}"
    for repo in sorted(here - found.keys()):
        if hub.cached(repo, weight_files.CONFIG_NAME):
            found[repo] = model_names.HUB_PREFIX + repo
    exports = {spec for spec in _exports().values() if _can_be_parsed(spec)}
    return [*found.values(), *sorted(exports - set(found.values()))]


def _is_ours(repo: str, filename: str = "") -> bool:
    """Whether a repository holds weights that open_clip reads, or a part of them that mmsearch has downloaded."""
    return hub.is_partial(repo) or any(hub.cached(repo, name) for name in weight_files.weights_names(filename))


def _can_be_parsed(spec: str) -> bool:
    try:
        model_names.parse(spec)
    except MMSearchError:
        return False
    return True


def _is_complete(source: ModelSource) -> bool:
    """Whether the model's files are all here; no network is used."""
    if source.kind == "starter":
        return True
    try:
        weight_files.locate(source, notice=lambda line: None, progress=False, download=False)
    except MMSearchError:
        return False
    return True


def _repos(source: ModelSource) -> list[str]:
    """The repositories of the hub that a model's files come from, its weights first."""
    settings = _config(source) or {}
    names = [source.repo, *_tokenizer_names(settings.get("text_cfg", {}))]
    return [name for name in dict.fromkeys(names) if name]


def _config(source: ModelSource) -> dict[str, Any] | None:
    """The configuration of a model, where it can be had without a download."""
    if source.kind in ("pair", "checkpoint"):
        return openclip_tables.architecture_config(source.architecture)
    if source.kind == "starter":
        return None
    path = (
        hub.cached(source.repo, weight_files.CONFIG_NAME)
        if source.kind == "hub"
        else Path(source.path, weight_files.CONFIG_NAME)
    )
    try:
        return (model_config.known(path) or None) if path else None
    except (MMSearchError, ValueError):
        return None


def _tokenizer_names(text: dict[str, Any]) -> list[str]:
    """The repositories of a text tower that is not CLIP's own."""
    return [str(text[name]) for name in ("hf_tokenizer_name", "hf_model_name") if text.get(name)]


def _exports() -> dict[Path, str]:
    """Folders of exports that this version can read, and the models that they were made of."""
    found = {}
    for path in _folder(export_folder.FOLDER):
        manifest = export_folder.read_manifest(path) if path.is_dir() and not path.name.startswith(".") else None
        if manifest is not None:
            found[path] = manifest.info.spec
    return found


def _is_usable(folder: Path) -> bool:
    manifest = export_folder.read_manifest(folder)
    return manifest is not None and export_folder.find(manifest.info.fingerprint) is not None


def _digests(source: ModelSource) -> list[Path]:
    """The notes with the digest of a checkpoint, or of the weights in a folder."""
    if source.kind not in ("checkpoint", "directory"):
        return []
    path = Path(source.path).resolve()
    return [note for note in _folder(fingerprints.FOLDER) if (told := _digested(note)) and path in (told, told.parent)]


def _digested(note: Path) -> Path | None:
    """The file whose digest a note has; None for what is no such note."""
    try:
        return Path(json.loads(note.read_text("utf-8"))["path"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_note(path: Path) -> bool:
    """Whether it is of use although no model claims it: why an export failed, or the digest of a file that is there."""
    if path.parent.name == fingerprints.FOLDER:
        told = _digested(path)
        return told is not None and told.exists()
    return path.name.endswith(".failed.json")


def _derived() -> list[Path]:
    """Exports, digests, and what lies beside them. The locks of exports are empty, and may be waited for."""
    top = config.cache_dir()
    exports = [path for path in ours(top / export_folder.FOLDER, export_folder.NAMES) if path.suffix != ".lock"]
    return [*exports, *ours(top / fingerprints.FOLDER, fingerprints.NAMES)]


def _rest() -> list[Path]:
    top = config.cache_dir()
    all_ours = (export_folder.FOLDER, fingerprints.FOLDER)
    others = [path for path in (sorted(top.iterdir()) if top.is_dir() else []) if path.name not in all_ours]
    derived = _derived()
    strange = [path for name in all_ours for path in _folder(name) if path not in derived and path.suffix != ".lock"]
    return [*others, *strange, *(path for path in derived if _is_note(path))]


def _folder(name: str) -> list[Path]:
    folder = config.cache_dir() / name
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _item(path: Path) -> Item:
    """With links counted as nothing: the hub's cache has each file once, and names that are links to it."""
    inside = [path] if not path.is_dir() else [one for one in path.rglob("*") if not one.is_dir()]
    return Item(path, sum(one.lstat().st_size for one in inside if not one.is_symlink()))
