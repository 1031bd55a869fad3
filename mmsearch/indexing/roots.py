"""Which folders an index run scans, and which of the known ones are offline: their disk is not there.

A root is offline where its folder is missing, or has no entry at all although images are known below it: that is what
the mount point of an unmounted disk looks like. Its images stay in the collection until it is back, or is forgotten.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mmsearch.base.errors import SourceError
from mmsearch.base.events import Summary
from mmsearch.base.paths import absolute, nearest
from mmsearch.base.records import RootRecord, ScanOptions
from mmsearch.indexing import passed_over, scan, seen_roots
from mmsearch.indexing.scan_thread import Subtree
from mmsearch.store.catalog import Catalog


@dataclass(frozen=True, slots=True)
class Plan:
    """What an index run does with folders.

    `roots` are to be added, or to get other options; `subtrees` to be scanned. `offline` are the known roots that were
    looked for and are not there, `online` those that are.
    """

    roots: list[Subtree] = field(default_factory=list)
    subtrees: list[Subtree] = field(default_factory=list)
    offline: list[str] = field(default_factory=list)
    online: list[str] = field(default_factory=list)

    def store(self, catalog: Catalog) -> None:
        """Put the roots and who of them is offline into the catalog."""
        catalog.roots.set_offline(self.offline, self.online)
        for root in self.roots:
            catalog.roots.put(root.path, root.options)


def plan(
    catalog: Catalog, sources: Sequence[str] | None, options: ScanOptions | None, notice: Callable[[str], None]
) -> Plan:
    """What to scan: the folders `sources`, or (None) all known roots; `notice` is told of each that is offline.

    A named folder that is a known root, or lies in one, may be offline. Raises `SourceError` for any other that cannot
    be read.
    """
    known = {root.path: root for root in catalog.roots.all()}
    made = Plan()
    for root in _concerned(known, sources):
        _look_for(root, made, notice)
    offline = frozenset(made.offline)
    if sources is None:
        roots = [Subtree(path, path, known[path].options) for path in made.online]
        made.subtrees.extend(_outermost(roots))
        made.roots.extend(_outermost(roots) if len(made.subtrees) < len(roots) else [])
    else:
        chosen = [subtree for path in sources if (subtree := _subtree(path, known, options, offline))]
        made.subtrees.extend(_outermost(chosen))
        made.roots.extend(subtree for subtree in made.subtrees if subtree.path == subtree.root)
    made.subtrees[:] = [replace(subtree, kept=offline) for subtree in made.subtrees]
    return made


def check_found(catalog: Catalog, made: Plan, summary: Summary) -> None:
    """A folder without a single image is most likely the wrong folder; it does not become a root."""
    empty = [subtree.path for subtree in made.subtrees if not catalog.files.count(subtree.path)]
    if not empty or len(empty) < len(made.subtrees) or summary.skipped or summary.known_failures or summary.interrupted:
        return
    with catalog.transaction():
        for path in empty:
            catalog.roots.remove(path)
    seen = passed_over.told(summary.passed_over)
    what = f"no images found in {', '.join(empty)}{f' ({seen})' if seen else ''}"
    raise SourceError(what, "check the folder, or include hidden ones with --hidden")


def forget(catalog: Catalog, path: str) -> int:
    """Drop what is known of the folder `path` (absolute) and of all below it; returns how many images that were.

    Raises `SourceError` where nothing of it is known.
    """
    known = path in {root.path for root in catalog.roots.all()} or any(True for _ in catalog.files.folders_at(path))
    if not known:
        raise SourceError(f"{path} is not in the collection", "`mmsearch info` lists the indexed folders")
    is_seen = seen_roots.is_seen(catalog)
    with catalog.transaction():
        catalog.roots.remove(path)
        removed = catalog.files.remove_below(path)
        catalog.contents.drop_released()
    if is_seen:
        seen_roots.remember(catalog)
    return removed


def existing_folder(path: str | os.PathLike[str]) -> str:
    """The absolute path of a folder that can be read. Raises `SourceError` for anything else."""
    folder = absolute(path)
    try:
        os.stat(folder)
    except (FileNotFoundError, NotADirectoryError):
        raise SourceError(f"no such folder: {folder}", "check the spelling") from None
    except PermissionError:
        raise SourceError(f"no permission to read {folder}", "check its permissions") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise SourceError(f"cannot read the folder {folder}: {why}", "check its disk") from error
    if not os.path.isdir(folder):
        raise SourceError(f"{folder} is a file, not a folder", "name the folder that holds it")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise SourceError(f"no permission to read {folder}", "check its permissions")
    return folder


def _concerned(known: Mapping[str, RootRecord], sources: Sequence[str] | None) -> Iterator[RootRecord]:
    """The known roots that lie in one of the folders `sources`, or have one in them; all where None is named."""
    named = frozenset(sources or ())
    above = set()
    for path in named:
        while (root := nearest(path, known.keys())) and root not in above:
            above.add(root)
            path = os.path.dirname(root)
    for path, record in known.items():
        if sources is None or path in above or nearest(path, named) is not None:
            yield record


def _look_for(root: RootRecord, made: Plan, notice: Callable[[str], None]) -> None:
    try:
        why = scan.absence(root.path, may_be_empty=not root.images)
    except OSError:  # of a disk that is there; the scan will say what is wrong
        why = None
    if why is None:
        made.online.append(root.path)
        return
    made.offline.append(root.path)
    images = f"its {root.images:,} images are kept, marked offline" if root.images else "it is marked offline"
    notice(f"{root.path} {why}; {images}, until it is back or `mmsearch forget` drops it")


def _subtree(
    path: str, known: Mapping[str, RootRecord], options: ScanOptions | None, offline: Collection[str]
) -> Subtree | None:
    """What to scan for a folder that the user named; None for one that is offline."""
    root = nearest(path, known.keys())
    if root in offline:
        return None
    existing_folder(path)
    if root is None:
        return Subtree(path, path, options or ScanOptions())
    return Subtree(path, root, options or known[root].options)


def _outermost(subtrees: Sequence[Subtree]) -> list[Subtree]:
    """The subtrees that lie in no other, each once."""
    by_path: dict[str, Subtree] = {}
    for subtree in subtrees:
        by_path.setdefault(subtree.path, subtree)
    return [
        subtree
        for path, subtree in by_path.items()
        if os.path.dirname(path) == path or nearest(os.path.dirname(path), by_path.keys()) is None
    ]
