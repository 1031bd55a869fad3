"""What is taken in of a folder, by the options of its root and of all roots around that.

What is left out by one of them is left out; names that begin with a dot, links and system folders are taken in where
one says so. Of several that say what to include, the innermost counts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mmsearch.base.names import folded
from mmsearch.base.records import ScanOptions
from mmsearch.indexing import system_files

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

# Tells of the name of a file (or of a folder: True) whether it is wanted.
Match = Callable[[str, bool], bool]


@dataclass(frozen=True, slots=True)
class _Patterns:
    """Those of one root, whose path is `root`; names are compared as people do (`mmsearch.base.names`)."""

    root: str
    include: GitIgnoreSpec | None
    exclude: GitIgnoreSpec


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a scan takes in at some place."""

    hidden: bool = False
    follow_symlinks: bool = False
    ignore_inode: bool = False
    default_excludes: bool = True
    patterns: tuple[_Patterns, ...] = ()

    def inside(self, root: str, options: ScanOptions) -> Wanted:
        """What it takes in at the root `root`, which is scanned with these options of its own, and below it."""
        return Wanted(
            self.hidden or options.hidden,
            self.follow_symlinks or options.follow_symlinks,
            self.ignore_inode or options.ignore_inode,
            self.default_excludes and options.default_excludes,
            (*self.patterns, *_patterns(root, options)),
        )

    def matcher(self, folder: str) -> Match | None:
        """What patterns say of the names in a folder; None where there are none."""
        if not self.patterns:
            return None
        layers = [(one, _prefix(folder, one.root)) for one in self.patterns]
        including = [layer for layer in layers if layer[0].include is not None][-1:]

        def match(name: str, is_folder: bool) -> bool:
            shown = folded(name) + "/" * is_folder
            if any(one.exclude.match_file(prefix + shown) for one, prefix in layers):
                return False
            return is_folder or all(one.include.match_file(prefix + shown) for one, prefix in including if one.include)

        return match

    def passes_over(self, name: bytes, *, is_folder: bool) -> system_files.Kind | None:
        """What an entry is passed over as, whatever patterns say."""
        if not self.default_excludes:
            return None
        return system_files.kind_of_folder(name) if is_folder else system_files.kind_of_file(name)


def reaches(root: str, options: ScanOptions, path: str) -> bool:
    """Whether a scan of a root comes to `path` (below it), but for patterns: the user has named those."""
    wanted, here = Wanted().inside(root, replace(options, include=(), exclude=())), root
    for name in os.path.relpath(path, root).split(os.sep):
        here = os.path.join(here, name)
        raw = os.fsencode(name)
        if (raw.startswith(b".") and not wanted.hidden) or wanted.passes_over(raw, is_folder=True):
            return False
        if not wanted.follow_symlinks and os.path.islink(here):
            return False
    return True


def compiled(patterns: Sequence[str]) -> GitIgnoreSpec:
    """Patterns of gitignore's syntax, for folded names. Raises `ValueError` for one that is none."""
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines([folded(pattern) for pattern in patterns])


def _patterns(root: str, options: ScanOptions) -> list[_Patterns]:
    if not options.include and not options.exclude:
        return []
    return [_Patterns(root, compiled(options.include) if options.include else None, compiled(options.exclude))]


def _prefix(folder: str, root: str) -> str:
    """The path of a folder from a root, folded, as what its names begin with."""
    relative = os.path.relpath(folder, root)
    return "" if relative == os.curdir else folded(relative).replace(os.sep, "/") + "/"
