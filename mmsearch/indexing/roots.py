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
from mmsearch.base.other_names import Identity, KnownNames, identity_of
from mmsearch.base.paths import absolute, nearest
from mmsearch.base.records import RootRecord, ScanOptions
from mmsearch.indexing import moved_roots, passed_over, patterns, scan, seen_roots
from mmsearch.indexing.scan_thread import Subtree
from mmsearch.indexing.wanted import reaches
from mmsearch.store.catalog import Catalog


@dataclass(frozen=True, slots=True)
class Plan:
    """What an index run does with folders.

    `roots` are to be added, or to get other options; `subtrees` to be scanned. `offline` are the known roots that were
    looked for and are not there, `online` those that are. `moved` has the new paths of known roots by their old ones;
    `absorbed` are roots without options of their own that a scan of another root comes to: they become part of that.
    """

    roots: list[Subtree] = field(default_factory=list)
    subtrees: list[Subtree] = field(default_factory=list)
    offline: list[str] = field(default_factory=list)
    online: list[str] = field(default_factory=list)
    moved: dict[str, str] = field(default_factory=dict)
    absorbed: list[str] = field(default_factory=list)

    def store(self, catalog: Catalog) -> None:
        """Put the roots and who of them is offline into the catalog."""
        for old, new in self.moved.items():
            catalog.roots.rename(old, new)
        catalog.roots.set_offline(self.offline, self.online)
        for root in self.roots:
            catalog.roots.put(root.path, root.options)
        for path in self.absorbed:
            catalog.roots.absorb(path)


def plan(
    catalog: Catalog, sources: Sequence[str] | None, options: ScanOptions | None, notice: Callable[[str], None]
) -> Plan:
    """What to scan: the folders `sources`, or (None) all known roots; `notice` is told of each that is offline.

    A named folder that is a known root, or lies in one, may be offline. One that the collection knows under another
    name (a link, a bind mount, what it was called before it was moved) is taken for that. Raises `SourceError` for any
    other that cannot be read, `UsageError` for a pattern that cannot match.
    """
    known = {root.path: root for root in catalog.roots.all()}
    made = Plan()
    if sources is not None:
        sources = _by_known_names(sources, known, notice)
        made.moved.update(moved_roots.find(catalog, sources, known, notice))
        known = moved_roots.applied(known, made.moved)
    for root in _concerned(known, sources):
        _look_for(root, made, notice)
    offline = frozenset(made.offline)
    if sources is None:
        chosen = [Subtree(path, path, known[path].options) for path in made.online]
    else:
        chosen = [subtree for path in sources if (subtree := _subtree(path, known, options, offline))]
        chosen = _with_patterns(chosen, options, notice)
    by_path = {path: known[path].options for path in made.online}
    by_path |= {subtree.path: subtree.options for subtree in chosen if subtree.path == subtree.root}
    made.absorbed.extend(path for path, own in by_path.items() if own == ScanOptions() and _reached_from(path, by_path))
    staying = {path: own for path, own in by_path.items() if path not in made.absorbed}
    if sources is not None:
        made.roots.extend(subtree for subtree in chosen if subtree.path in staying and subtree.path == subtree.root)
    made.subtrees.extend(_placed(_outermost(chosen), staying, offline))
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
    roots = catalog.roots.paths()
    if path not in roots and not catalog.files.knows_below(path):
        path = KnownNames(roots).of(path) or path
    if path not in roots and not catalog.files.knows_below(path):
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
    """The known roots that lie in one of the folders `sources`, or have one in them; all where None is named.

    Where a folder is new, those that are missing too: a part of them may be there, and nothing should lead to the rest.
    """
    named = frozenset(sources or ())
    some_new = any(nearest(path, known.keys()) is None for path in named)
    above = set()
    for path in named:
        while (root := nearest(path, known.keys())) and root not in above:
            above.add(root)
            path = os.path.dirname(root)
    for path, record in known.items():
        if sources is None or path in above or nearest(path, named) is not None or (some_new and _is_missing(record)):
            yield record


def _is_missing(root: RootRecord) -> bool:
    try:
        return scan.absence(root.path, may_be_empty=not root.images) is not None
    except OSError:
        return False


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


def _by_known_names(
    sources: Sequence[str], known: Mapping[str, RootRecord], notice: Callable[[str], None]
) -> list[str]:
    """The folders that the user named, each under the name by which the collection knows it, or another of them."""
    names, found = KnownNames(known), dict[str, None]()
    first: dict[Identity, str] = {}
    for path in sources:
        root = nearest(path, known.keys())
        is_known = root is not None and (path == root or reaches(root, known[root].options, path))
        other = None if is_known else names.of(path) or _met_before(path, first)
        if other is not None:
            notice(f"{path} is {other}, and is indexed under that name")
        found[other or path] = None
    return list(found)


def _met_before(path: str, first: dict[Identity, str]) -> str | None:
    """The first name of a folder that is named twice in one command, None where this is it."""
    try:
        identity = identity_of(os.stat(path))
    except OSError:
        return None
    before = first.setdefault(identity, path) if identity else path
    return None if before == path else before


def _subtree(
    path: str, known: Mapping[str, RootRecord], options: ScanOptions | None, offline: Collection[str]
) -> Subtree | None:
    """What to scan for a folder that the user named; None for one that is offline.

    One in a known root is part of that, unless it gets options of its own, or a scan of the root does not come to it.
    """
    root = nearest(path, known.keys())
    if root in offline:
        return None
    existing_folder(path)
    if root is None or root == path:
        return Subtree(path, path, options or (known[path].options if root else ScanOptions()))
    if options or not reaches(root, known[root].options, path):
        return Subtree(path, path, options or ScanOptions())
    return Subtree(path, root, known[root].options)


def _with_patterns(
    chosen: Sequence[Subtree], options: ScanOptions | None, notice: Callable[[str], None]
) -> list[Subtree]:
    """The subtrees, the patterns of those with the options that the user gave made relative to their roots."""
    if options is None:
        return list(chosen)
    made = patterns.for_roots(options, [subtree.path for subtree in chosen], notice)
    return [replace(subtree, options=made[subtree.path]) for subtree in chosen]


def _around(path: str, roots: Mapping[str, ScanOptions]) -> Iterator[str]:
    """The roots that a root lies in, as far as each comes to the one within it; from the innermost on."""
    while (above := os.path.dirname(path)) != path:
        outer = nearest(above, roots.keys())
        if outer is None or not reaches(outer, roots[outer], path):
            return
        yield outer
        path = outer


def _reached_from(path: str, roots: Mapping[str, ScanOptions]) -> bool:
    return next(_around(path, roots), None) is not None


def _outermost(subtrees: Sequence[Subtree]) -> list[Subtree]:
    """The subtrees that no scan of another comes to, each once."""
    by_path: dict[str, Subtree] = {}
    for subtree in subtrees:
        by_path.setdefault(subtree.path, subtree)
    return [subtree for path, subtree in by_path.items() if not _is_part(subtree, by_path)]


def _is_part(subtree: Subtree, by_path: Mapping[str, Subtree]) -> bool:
    above = os.path.dirname(subtree.path)
    outer = nearest(above, by_path.keys()) if above != subtree.path else None
    return outer is not None and reaches(outer, by_path[outer].options, subtree.path)


def _placed(
    subtrees: Sequence[Subtree], roots: Mapping[str, ScanOptions], offline: frozenset[str]
) -> Iterator[Subtree]:
    """The subtrees, each with the roots around it and in it; those in it that it does not come to stay as they are."""
    inner: dict[str, dict[str, ScanOptions]] = {subtree.path: {} for subtree in subtrees}
    kept: dict[str, set[str]] = {subtree.path: set() for subtree in subtrees}
    for path, options in roots.items():
        above = os.path.dirname(path)
        outer = nearest(above, inner.keys()) if above != path else None
        if outer is not None and path not in inner:
            if _reached_from(path, roots):
                inner[outer][path] = options
            else:
                kept[outer].add(path)
        elif outer is not None:
            kept[outer].add(path)
    for subtree in subtrees:
        around = tuple((path, roots[path]) for path in _around(subtree.root, roots))[::-1]
        yield replace(subtree, kept=offline | kept[subtree.path], around=around, inner=inner[subtree.path])
