"""What open_clip knows by name, read from its own files without importing it.

Importing open_clip imports torch, which takes some 10 s; a typing error in `--model` or a hub that cannot be reached
should be told at once, and a text query should never pay for it.
"""

from __future__ import annotations

import ast
import copy
import functools
import importlib.util
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

from mmsearch.base.errors import ModelError

# How often to make code of syntax trees, and seconds between two tries.
_TRIES = 20
_PAUSE = 0.05


@dataclass(frozen=True, slots=True)
class Weights:
    """One entry of open_clip's table of pretrained weights.

    `repo` and `filename` say where it is on the model hub; `filename` is empty where the repository has open_clip's
    default names. `settings` are the preprocessing settings that go with it. `quick_gelu` says that it was trained
    with the sigmoid approximation of GELU.
    """

    repo: str
    filename: str
    quick_gelu: bool
    settings: Mapping[str, Any]


def installed() -> bool:
    """Whether the open_clip package is present."""
    return importlib.util.find_spec("open_clip") is not None


def architectures() -> list[str]:
    """The names of open_clip's model architectures, with any that this process has added; none without open_clip."""
    if not installed():
        return []
    loaded = sys.modules.get("open_clip")
    if loaded is not None:
        return [str(name) for name in loaded.list_models()]
    return sorted(path.stem for path in (_package() / "model_configs").glob("*.json"))


def pretrained(architecture: str) -> dict[str, Weights]:
    """The pretrained weights of an architecture by tag; none for one that is unknown or has none on the hub."""
    entries = _table().get(architecture, {})
    return {tag: _weights(fields) for tag, fields in entries.items() if fields.get("hf_hub")}


def repositories() -> set[str]:
    """The repositories of the hub that the table has weights in."""
    if not installed():
        return set()
    entries = [fields for tags in _table().values() for fields in tags.values()]
    return {str(fields["hf_hub"]).rpartition("/")[0] for fields in entries if fields.get("hf_hub")}


def architecture_config(architecture: str) -> dict[str, Any]:
    """A fresh copy of the configuration of an architecture that `architectures` names."""
    loaded = sys.modules.get("open_clip")
    if loaded is not None:
        config: dict[str, Any] = loaded.get_model_config(architecture)
    else:
        config = json.loads((_package() / "model_configs" / f"{architecture}.json").read_text("utf-8"))
    return config


def clip_vocabulary() -> Path:
    """The file with the byte-pair merges of CLIP's tokenizer."""
    return _package() / "bpe_simple_vocab_16e6.txt.gz"


def clean_tag(tag: str) -> str:
    """A tag as open_clip's table spells it."""
    return tag.lower().replace("-", "_")


def _weights(fields: Mapping[str, Any]) -> Weights:
    repo, _, filename = str(fields["hf_hub"]).rpartition("/")
    settings = {name: fields[name] for name in ("mean", "std", "interpolation", "resize_mode") if name in fields}
    return Weights(repo, filename, bool(fields.get("quick_gelu")), settings)


def _package() -> Path:
    spec = importlib.util.find_spec("open_clip")
    if spec is None or not spec.submodule_search_locations:
        raise ModelError("open_clip is not installed", "pip install open_clip_torch, or use --model starter")
    return Path(spec.submodule_search_locations[0])


@functools.cache
def _table() -> dict[str, dict[str, dict[str, Any]]]:
    """open_clip's `_PRETRAINED`, by running those statements of its module that build it: no imports, no downloads."""
    names: dict[str, Any] = {"copy": copy}
    exec(compile((_package() / "constants.py").read_text("utf-8"), "open_clip/constants.py", "exec"), names)
    exec(_table_code((_package() / "pretrained.py").read_text("utf-8")), names)
    table: dict[str, dict[str, dict[str, Any]]] = names["_PRETRAINED"]
    return table


def _table_code(source: str) -> CodeType:
    """Those statements. Python 3.11 may fail where another thread works with syntax trees too, as the import of torch
    does (python/cpython, issue 106905): then again.
    """
    for attempt in range(_TRIES):
        try:
            module = ast.parse(source)
            module.body = [node for node in module.body if _builds_the_table(node)]
            return compile(module, "open_clip/pretrained.py", "exec")
        except SystemError:
            if attempt == _TRIES - 1:
                raise
            time.sleep(_PAUSE)
    raise AssertionError("the last try does not come here")


def _builds_the_table(node: ast.stmt) -> bool:
    if isinstance(node, ast.FunctionDef):
        return node.name.startswith("_") and node.name.endswith("cfg")
    return isinstance(node, ast.Assign | ast.For | ast.Expr)
