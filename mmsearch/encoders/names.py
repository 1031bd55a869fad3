"""Names of models: the aliases, and every form that `--model` takes.

starter                       the model inside the package
clip, siglip2, ...            an alias: `ALIASES`, and those of `EVERY_ALIAS` that are no longer offered
ViT-B-32/laion2b_s34b_b79k    an open_clip architecture and the tag of its weights
hf-hub:org/repo               a repository in open_clip's layout on the model hub
local-dir:/path               a folder in the same layout
ARCH:/path/to/checkpoint      an open_clip architecture and a file with weights
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mmsearch.base.errors import UnknownModelError
from mmsearch.encoders import openclip_tables

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
    """What a user wants to know before choosing an alias. A figure that nobody has published or measured is None.

    `download_mb` is in units of 10**6 bytes: the weights, which the hub has as float32, and a tokenizer of their own;
    `dim` is the width of an embedding; `pixels` the side of the input.

    `coco_r1` is the share of MSCOCO's captions that find their image first among 5,000, in percent, as `coco_source`
    has published it; `imagenet_top1` the zero-shot top-1 accuracy on ImageNet-1k in percent
    that `figure_source` has published. `languages_note` says which languages a model of many is weak in, as far as
    `languages_source` has measured it.

    `image_gflop` are the floating-point operations for one image in 10**9, a multiplication and an addition being two.
    `memory_mb` (10**6 bytes, all processes) is the peak of a first index run on a CPU, which loads the model with torch
    and exports it; `later_memory_mb` that of a later run, which finds the export, and `query_memory_mb` of a query in
    words. tests/bench/model_costs.py counts and measures these four.
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
    coco_r1: float | None = None
    coco_source: str = ""
    image_gflop: float | None = None
    memory_mb: int | None = None
    later_memory_mb: int | None = None
    query_memory_mb: int | None = None
    languages_note: str = ""
    languages_source: str = ""

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
_OPEN_CLIP_RETRIEVAL = "mlfoundations/open_clip, docs/openclip_retrieval_results.csv"
_SIGLIP2 = "google-research/big_vision, big_vision/configs/proj/image_text/README_siglip2.md"
_PERCEPTION_ENCODER = "facebookresearch/perception_models, apps/pe/README.md"

# Measured by immich: the mean of recall@1, @5 and @10 of captions of Crossmodal-3600, which has 36 languages. Weak is
# below 50 (English has 73 to 75); of little use are those that its tables leave out, whose lowest figure is 20.
_CROSSMODAL = "immich-app/immich, docs/docs/features/searching.md"
_SIGLIP2_BASE_WEAK = (
    "weak in Finnish, Thai, Hindi and Filipino, of little use in Bengali, Telugu, Swahili, Maori and Quechua"
)

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
        memory_mb=535,
        later_memory_mb=535,
        query_memory_mb=227,
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
        coco_r1=39.9,
        coco_source=_OPEN_CLIP_RETRIEVAL,
        image_gflop=11.5,
        memory_mb=2224,
        later_memory_mb=625,
        query_memory_mb=261,
    ),
    ModelCard(
        "siglip2",
        "ViT-B-32-SigLIP2-256/webli",
        good_for="many languages, and better answers than clip's for the same work; a larger download",
        download_mb=1542,
        licence="Apache-2.0",
        languages="multilingual",
        dim=768,
        pixels=256,
        repo="timm/ViT-B-32-SigLIP2-256",
        needs_tokenizer=True,
        imagenet_top1=74.0,
        figure_source=_SIGLIP2,
        coco_r1=47.2,
        coco_source=_SIGLIP2,
        image_gflop=11.5,
        memory_mb=3815,
        later_memory_mb=718,
        query_memory_mb=759,
        languages_note=_SIGLIP2_BASE_WEAK,
        languages_source=_CROSSMODAL,
    ),
    ModelCard(
        "siglip2-base",
        "ViT-B-16-SigLIP2-256/webli",
        good_for="many languages and finer distinctions: four times clip's work for each image",
        download_mb=1535,
        licence="Apache-2.0",
        languages="multilingual",
        dim=768,
        pixels=256,
        repo="timm/ViT-B-16-SigLIP2-256",
        needs_tokenizer=True,
        imagenet_top1=79.1,
        figure_source=_SIGLIP2,
        coco_r1=53.2,
        coco_source=_SIGLIP2,
        image_gflop=46.8,
        memory_mb=3788,
        later_memory_mb=1447,
        query_memory_mb=759,
        languages_note=_SIGLIP2_BASE_WEAK,
        languages_source=f"{_CROSSMODAL} (the same model at 224 pixels)",
    ),
    ModelCard(
        "siglip2-large",
        "ViT-L-16-SigLIP2-256/webli",
        good_for="the most languages, with a GPU or patience: 14 times clip's work for each image",
        download_mb=3561,
        licence="Apache-2.0",
        languages="multilingual",
        dim=1024,
        pixels=256,
        repo="timm/ViT-L-16-SigLIP2-256",
        needs_tokenizer=True,
        imagenet_top1=82.5,
        figure_source=_SIGLIP2,
        coco_r1=54.7,
        coco_source=_SIGLIP2,
        image_gflop=162.6,
        memory_mb=7852,
        later_memory_mb=2656,
        query_memory_mb=1628,
        languages_note="weak in Thai, Hindi, Filipino and Bengali, of little use in Telugu, Swahili, Maori and Quechua",
        languages_source=_CROSSMODAL,
    ),
    ModelCard(
        "pe-large",
        "PE-Core-L-14-336/meta",
        good_for="the best answers in English, with a GPU or much patience: 33 times clip's work for each image",
        download_mb=2685,
        licence="Apache-2.0",
        languages="English",
        dim=1024,
        pixels=336,
        repo="timm/PE-Core-L-14-336",
        imagenet_top1=83.5,
        figure_source=_PERCEPTION_ENCODER,
        coco_r1=57.1,
        coco_source=_PERCEPTION_ENCODER,
        image_gflop=384.4,
        memory_mb=6768,
        later_memory_mb=5299,
        query_memory_mb=1327,
    ),
    ModelCard(
        "mobile",
        "MobileCLIP2-S2/dfndr2b",
        good_for="a small download with better answers than clip's, slower on a CPU; its licence allows research only",
        download_mb=397,
        licence="Apple Machine Learning Research Model License (apple-amlr)",
        languages="English",
        dim=512,
        pixels=256,
        repo="timm/MobileCLIP2-S2-OpenCLIP",
        imagenet_top1=77.2,
        figure_source="apple/ml-mobileclip, README.md",
        coco_r1=48.8,
        coco_source="apple/ml-mobileclip, results/mobileclip2_s2.jsonl",
        image_gflop=15.7,
        memory_mb=2215,
        later_memory_mb=874,
        query_memory_mb=267,
    ),
)
# No longer offered: smaller models have better figures. Collections that were made with one go on, under its name.
_OLD_CARDS = (
    ModelCard(
        "clip-large",
        "ViT-L-14/datacomp_xl_s13b_b90k",
        good_for="collections that were made with it; siglip2-base answers better for less than a third of its work",
        download_mb=1710,
        licence="MIT",
        languages="English",
        dim=768,
        pixels=224,
        repo="laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K",
        imagenet_top1=79.2,
        figure_source=_OPEN_CLIP_RESULTS,
        coco_r1=45.7,
        coco_source=_OPEN_CLIP_RETRIEVAL,
        image_gflop=162.0,
        memory_mb=4506,
        later_memory_mb=2251,
        query_memory_mb=430,
    ),
)
ALIASES: dict[str, ModelCard] = {card.alias: card for card in _CARDS}
EVERY_ALIAS: dict[str, ModelCard] = {card.alias: card for card in (*_CARDS, *_OLD_CARDS)}
_ALIAS_OF = {card.spec: card.alias for card in EVERY_ALIAS.values()}


def parse(spec: str) -> ModelSource:
    """Read any form of `--model`; touches no network and imports nothing heavy.

    Files are not looked at. Raises UnknownModelError, with the nearest known names, for a name that means nothing.
    """
    text = spec.strip()
    if text in EVERY_ALIAS:
        text = EVERY_ALIAS[text].spec
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
        return ModelSource("pair", text, architecture, tag, repo=EVERY_ALIAS[known].repo, alias=known)
    if not tag and os.path.exists(text):
        raise UnknownModelError(f"no model is called {text!r}", f"a folder is written {DIRECTORY_PREFIX}{text}")
    _check_architecture(architecture, text)
    weights = openclip_tables.pretrained(architecture)
    chosen = weights.get(openclip_tables.clean_tag(tag))
    if chosen is None:
        raise _unknown_tag(architecture, tag, weights)
    spec = f"{architecture}/{openclip_tables.clean_tag(tag)}"
    return ModelSource(
        "pair", spec, architecture, openclip_tables.clean_tag(tag), chosen.repo, alias=_ALIAS_OF.get(spec, "")
    )


def _absolute(path: str, spec: str) -> str:
    if not path.strip():
        raise UnknownModelError(f"no path in {spec!r}", "write a path after the colon")
    return str(Path(path).expanduser().absolute())


def _check_architecture(architecture: str, spec: str) -> None:
    if architecture in openclip_tables.architectures():
        return
    if os.path.isdir(spec):
        raise UnknownModelError(f"no model is called {spec!r}", f"a folder is written {DIRECTORY_PREFIX}{spec}")
    nearest = _nearest(spec, _every_name())
    hint = f"did you mean {' or '.join(nearest)}?" if nearest else f"short names are {', '.join(ALIASES)}"
    raise UnknownModelError(f"no model is called {spec!r}", hint)


def _every_name() -> list[str]:
    pairs = [f"{name}/{tag}" for name in openclip_tables.architectures() for tag in openclip_tables.pretrained(name)]
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
    return next((number for number, family in enumerate(families) if tag.startswith(family)), len(families)), tag


def _nearest(name: str, known: Iterable[str]) -> list[str]:
    by_folded = {candidate.casefold(): candidate for candidate in known}
    return [by_folded[near] for near in difflib.get_close_matches(name.casefold(), by_folded, n=2, cutoff=0.6)]
