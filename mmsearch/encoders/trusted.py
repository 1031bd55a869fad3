"""Which models a collection may have loaded: a collection names its model, and may come from somebody else.

The built-in model and those in open_clip's tables are what they are wherever they are named. A folder, a checkpoint or
another repository of the hub is loaded because of a collection only where the user has named it before, or says so now.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from mmsearch.base import config
from mmsearch.base.durable import write_json
from mmsearch.base.errors import ModelError, UnknownModelError
from mmsearch.base.paths import make_private
from mmsearch.encoders import names as model_names
from mmsearch.encoders import openclip_tables, plain_files
from mmsearch.encoders.names import ModelSource

# Asked whether to trust a model, by its name.
MayTrust = Callable[[str], bool]

# What this process was told by name, which holds where nothing can be written too.
_named: set[str] = set()


def nobody(spec: str) -> bool:
    """Trusts nothing that the user has not named."""
    return False


def name(spec: str) -> None:
    """Take down that the user has named a model, in this process; `remember` keeps it for others."""
    source = _source(spec)
    if source is not None:
        _named.add(source.spec)


def remember(spec: str) -> None:
    """Keep a model among those that the user has named. Where that cannot be written, this process knows it."""
    name(spec)
    source = _source(spec)
    kept = _kept()
    if source is None or not _is_others(source) or source.spec in kept:
        return
    try:
        make_private(_place().parent)
        write_json(_place(), {"models": [*kept, source.spec]})
    except OSError:  # a home that cannot be written remembers nothing
        return


def is_trusted(spec: str) -> bool:
    """Whether a collection may have this model loaded. One that is no model at all will not be."""
    source = _source(spec)
    return source is None or not _is_others(source) or source.spec in _named or source.spec in _kept()


def require(spec: str, may_trust: MayTrust = nobody) -> None:
    """Raise ModelError for a model that the user has neither named before nor, asked with `may_trust`, trusts now."""
    if is_trusted(spec):
        return
    if not may_trust(spec):
        raise ModelError(
            f"the collection names the model {spec}, which you have not used before, so it was not loaded",
            "if you trust where it comes from, add --trust-model, or in Python trust_model=True to Collection.open",
        )
    remember(spec)


def _source(spec: str) -> ModelSource | None:
    try:
        return model_names.parse(spec)
    except UnknownModelError:
        return None


def _is_others(source: ModelSource) -> bool:
    """Whether what a model is depends on who has made its files."""
    if source.kind == "hub":
        return source.repo not in openclip_tables.repositories()
    return source.kind in ("directory", "checkpoint")


def _place() -> Path:
    return config.data_dir() / "trusted-models.json"


def _kept() -> list[str]:
    """The models that were remembered; none where the file is not the user's alone."""
    path = _place()
    try:
        state = path.lstat()
        if os.name != "nt" and (state.st_uid != os.geteuid() or stat.S_IMODE(state.st_mode) & 0o022):
            return []
        found = plain_files.read_json(path).get("models")
    except (OSError, ValueError, ModelError):
        return []
    return [spec for spec in found if isinstance(spec, str)] if isinstance(found, list) else []
