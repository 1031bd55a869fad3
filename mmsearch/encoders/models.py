"""Names of models: the aliases, and every form that `--model` takes.

starter                              the model inside the package
clip, clip-large, siglip2, mobile    an alias: `ALIASES`
ViT-B-32/laion2b_s34b_b79k           an open_clip architecture and the tag of its weights
hf-hub:org/repo                      a repository in open_clip's layout on the model hub
local-dir:/path                      a folder in the same layout
ARCH:/path/to/checkpoint             an open_clip architecture and a file with weights
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mmsearch.encoders import catalogue
from mmsearch.errors import UnknownModelError

STARTER = "starter"
DEFAULT = "clip"
HUB_PREFIX = "hf-hub:"
DIRECTORY_PREFIX = "local-dir:"

# open_clip's default names for weights in a hub repository, in the order in which it looks for them.
WEIGHTS_NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
TOKENIZER_NAMES = ("tokenizer.json", "tokenizer_config.json")

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a user wants to know before choosing an alias.

    `download_mb` is in units of 10**6 bytes; `dim` is the width of an embedding; `pixels` the side of the input.
    `imagenet_top1` is the zero-shot top-1 accuracy on ImageNet-1k in percent that `figure_source` has published.
    """

    alias: str
    spec: str
    good_for: str
    download_mb: int
    licence: str
    languages: str
    dim: int
    pixels: int
    repo: str = ""
    needs_tokenizer: bool = False
    imagenet_top1: float | None = None
    figure_source: str = ""

    @property
    def source(self) -> str:
        """Where its weights come from."""
        return f"https://huggingface.co/{self.repo}" if self.repo else "part of mmsearch"


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A parsed `--model`. `spec` is its canonical text, with absolute paths: it parses to the same source again.

    `architecture` is set for `pair` and `checkpoint`, `tag` for `pair`, `repo` for `hub` and `pair`, `path` for
    `directory` and `checkpoint`. `alias` is the short name of a model that has one.
    """

    kind: Literal["starter", "pair", "hub", "directory", "checkpoint"]
    spec: str
    architecture: str = ""
    tag: str = ""
    repo: str = ""
    path: str = ""
    alias: str = ""


_OPEN_CLIP_RESULTS = "mlfoundations/open_clip, docs/openclip_results.csv"

_CARDS = (
    ModelCard(
        STARTER,
        STARTER,
        good_for="trying mmsearch and machines without a network: everyday objects and animals",
        download_mb=0,
        licence="Apache-2.0",
        languages="English",
        dim=384,
        pixels=224,
    ),
    ModelCard(
        "clip",
        "ViT-B-32-256/datacomp_s34b_b86k",
        good_for="most collections: fast on a CPU, understands objects, scenes, actions and styles",
        download_mb=605,
        licence="MIT",
        languages="English",
        dim=512,
        pixels=256,
        repo="laion/CLIP-ViT-B-32-256x256-DataComp-s34B-b86K",
        imagenet_top1=72.8,
        figure_source=_OPEN_CLIP_RESULTS,
    ),
    ModelCard(
        "clip-large",
        "ViT-L-14/datacomp_xl_s13b_b90k",
        good_for="finer distinctions, with a GPU or patience: about 14 times the work of clip for each image",
        download_mb=1710,
        licence="MIT",
        languages="English",
        dim=768,
        pixels=224,
        repo="laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K",
        imagenet_top1=79.2,
        figure_source=_OPEN_CLIP_RESULTS,
    ),
    ModelCard(
        "siglip2",
        "ViT-B-32-SigLIP2-256/webli",
        good_for="queries in languages other than English, at about the speed of clip",
        download_mb=1507,
        licence="Apache-2.0",
        languages="multilingual",
        dim=768,
        pixels=256,
        repo="timm/ViT-B-32-SigLIP2-256",
        needs_tokenizer=True,
        imagenet_top1=74.0,
        figure_source="google-research/big_vision, configs/proj/image_text/README_siglip2.md",
    ),
    ModelCard(
        "mobile",
        "MobileCLIP2-S2/dfndr2b",
        good_for="a smaller download than clip; its licence allows research only",
        download_mb=397,
        licence="Apple Machine Learning Research Model License (apple-amlr)",
        languages="English",
        dim=512,
        pixels=256,
        repo="timm/MobileCLIP2-S2-OpenCLIP",
        imagenet_top1=77.2,
        figure_source="apple/ml-mobileclip, README.md",
    ),
)
ALIASES: dict[str, ModelCard] = {card.alias: card for card in _CARDS}
_ALIAS_OF = {card.spec: card.alias for card in _CARDS}


def parse(spec: str) -> ModelSource:
    """Read any form of `--model`; touches no network and imports nothing heavy.

    Files are not looked at. Raises UnknownModelError, with the nearest known names, for a name that means nothing.
    """
    text = spec.strip()
    if text in ALIASES:
        text = ALIASES[text].spec
    if text == STARTER:
        return ModelSource("starter", STARTER, alias=STARTER)
    if text.startswith(HUB_PREFIX):
        return _parse_hub(text)
    if text.startswith(DIRECTORY_PREFIX):
        path = _absolute(text.removeprefix(DIRECTORY_PREFIX), spec)
        return ModelSource("directory", DIRECTORY_PREFIX + path, path=path)
    if ":" in text:
        return _parse_checkpoint(text)
    return _parse_pair(text)


def is_cached(card: ModelCard) -> bool:
    """Whether a model's files are on this disk: no network is used. True for the starter model."""
    if not card.repo:
        return True
    from mmsearch.encoders import hub

    wanted = [WEIGHTS_NAMES, *((name,) for name in TOKENIZER_NAMES if card.needs_tokenizer)]
    return all(any(hub.cached(card.repo, name) for name in names) for names in wanted)


def _parse_hub(text: str) -> ModelSource:
    repo = text.removeprefix(HUB_PREFIX)
    if not _REPOSITORY.fullmatch(repo):
        raise UnknownModelError(f"no model is called {text!r}", "a model on the hub is written hf-hub:ORG/REPOSITORY")
    return ModelSource("hub", HUB_PREFIX + repo, repo=repo)


def _parse_checkpoint(text: str) -> ModelSource:
    architecture, _, path = text.partition(":")
    _check_architecture(architecture, text)
    path = _absolute(path, text)
    return ModelSource("checkpoint", f"{architecture}:{path}", architecture=architecture, path=path)


def _parse_pair(text: str) -> ModelSource:
    architecture, _, tag = text.partition("/")
    known = _ALIAS_OF.get(text)
    if known:
        return ModelSource("pair", text, architecture, tag, repo=ALIASES[known].repo, alias=known)
    if not tag and os.path.exists(text):
        raise UnknownModelError(f"no model is called {text!r}", f"a folder is written {DIRECTORY_PREFIX}{text}")
    _check_architecture(architecture, text)
    weights = catalogue.pretrained(architecture)
    chosen = weights.get(catalogue.clean_tag(tag))
    if chosen is None:
        raise _unknown_tag(architecture, tag, weights)
    spec = f"{architecture}/{catalogue.clean_tag(tag)}"
    return ModelSource("pair", spec, architecture, catalogue.clean_tag(tag), chosen.repo, alias=_ALIAS_OF.get(spec, ""))


def _absolute(path: str, spec: str) -> str:
    if not path.strip():
        raise UnknownModelError(f"no path in {spec!r}", "write a path after the colon")
    return str(Path(path).expanduser().absolute())


def _check_architecture(architecture: str, spec: str) -> None:
    if architecture in catalogue.architectures():
        return
    if os.path.isdir(spec):
        raise UnknownModelError(f"no model is called {spec!r}", f"a folder is written {DIRECTORY_PREFIX}{spec}")
    nearest = _nearest(spec, _every_name())
    hint = f"did you mean {' or '.join(nearest)}?" if nearest else f"short names are {', '.join(ALIASES)}"
    raise UnknownModelError(f"no model is called {spec!r}", hint)


def _every_name() -> list[str]:
    pairs = [f"{name}/{tag}" for name in catalogue.architectures() for tag in catalogue.pretrained(name)]
    return [*ALIASES, *pairs]


def _unknown_tag(architecture: str, tag: str, known: Iterable[str]) -> UnknownModelError:
    what = f"{architecture!r} has no weights called {tag!r}" if tag else f"{architecture!r} names no weights"
    tags = sorted(known, key=_preference)
    if not tags:
        return UnknownModelError(what, f"with a file of your own, write {architecture}:/path/to/checkpoint")
    shown = [name for name in tags if tag and name.startswith(tag)] or _nearest(tag, tags) or tags
    return UnknownModelError(what, "write " + " or ".join(f"{architecture}/{name}" for name in shown[:3]))


def _preference(tag: str) -> tuple[int, str]:
    """Weights trained on the most and cleanest data first."""
    families = ("datacomp_xl", "datacomp1b", "webli", "dfn", "laion2b", "openai")
    return next((place for place, family in enumerate(families) if tag.startswith(family)), len(families)), tag


def _nearest(name: str, known: Iterable[str]) -> list[str]:
    by_folded = {candidate.casefold(): candidate for candidate in known}
    return [by_folded[near] for near in difflib.get_close_matches(name.casefold(), by_folded, n=2, cutoff=0.6)]
