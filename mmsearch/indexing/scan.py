"""Walk a root and compare what is there with what is known. Reads directories and stats files, opens none."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from mmsearch.base import beneath, long_paths
from mmsearch.base.file_state import State, state_of
from mmsearch.base.other_names import Identity, identity_of
from mmsearch.base.records import ScanOptions
from mmsearch.base.text import unforeseen
from mmsearch.indexing.passed_over import Kind
from mmsearch.indexing.wanted import Match, Wanted

# Files directly in one folder: the state of each by name. Names are bytes, as the file system and the
# catalog have them: a run over 100,000 unchanged files then decodes and encodes none.
Files = Mapping[bytes, State]


# How a system says that a folder's disk is not there: no such folder or device, or a file system whose server has gone.
_AWAY = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENODEV, errno.ENXIO, errno.ENOTCONN})


@dataclass(frozen=True, slots=True)
class Folder:
    """The regular files directly in one directory, in byte order of their names.

    `unreadable` are the names of entries that are there but whose status cannot be read; `passed_over` has those that
    are neither files nor folders, links that are not followed among them, and what systems keep beside photos.
    `wanted` has the options that hold here.
    """

    path: str
    files: Files
    unreadable: list[bytes] = field(default_factory=list)
    passed_over: Mapping[bytes, Kind] = field(default_factory=dict)
    wanted: Wanted = field(default_factory=Wanted)


@dataclass(frozen=True, slots=True)
class FolderChanges:
    """A folder against what was known of it, as file names in byte order. `unchanged` counts indexed files.

    `changed` may have changed: only reading them can tell. `noted` have not, but their ctime or inode is another.
    """

    new: list[bytes] = field(default_factory=list)
    changed: list[bytes] = field(default_factory=list)
    noted: list[bytes] = field(default_factory=list)
    unchanged: int = 0
    gone: list[bytes] = field(default_factory=list)


def compare(
    files: Files,
    known: Files,
    *,
    failed: Collection[bytes] = (),
    unreadable: Collection[bytes] = (),
    verify: bool = False,
    ignore_inode: bool = False,
) -> FolderChanges:
    """Sort a folder's files into new, changed, unchanged and gone.

    `failed` are those of the known files that are not indexed. Files named in `unreadable` are none of these: what is
    known of them stays as it is. With `verify` all known files count as changed; with `ignore_inode` only those whose
    size or mtime differs.
    """
    if files == known and not verify:
        return FolderChanges(unchanged=len(files) - len(failed))
    both = [name for name in files if name in known]
    changed = set(both) if verify else _changed(files, known, both, ignore_inode=ignore_inode)
    same = [name for name in both if name not in changed]
    return FolderChanges(
        new=[name for name in files if name not in known],
        changed=[name for name in both if name in changed],
        noted=[name for name in same if files[name] != known[name] and not ignore_inode],
        unchanged=len(set(same).difference(failed)),
        gone=[name for name in known if name not in files and name not in unreadable],
    )


def _changed(files: Files, known: Files, names: Sequence[bytes], *, ignore_inode: bool) -> set[bytes]:
    """Those of the files that may hold something else than before.

    Size and mtime can be the same by accident, or because somebody has set the time; the ctime is the system's own.
    Where it is no more than a copy of the mtime (FAT, many network file systems), the inode tells of a file that was
    put in the place of another. But there each mount may number all files anew: an inode alone says nothing where no
    file of the folder has kept its own.
    """
    changed = {name for name in names if files[name][:2] != known[name][:2]}
    if ignore_inode:
        return changed
    changed.update(name for name in names if _differ(files[name][2], known[name][2]))
    renumbered = [name for name in names if _differ(files[name][3], known[name][3])]
    if len(renumbered) == 1 or any(files[name][3] == known[name][3] is not None for name in names):
        changed.update(renumbered)
    return changed


def _differ(now: int | None, before: int | None) -> bool:
    return now is not None and before is not None and now != before


def absence(path: str, *, may_be_empty: bool) -> str | None:
    """Why a folder seems not to be there at all, in words, or None where it is.

    A folder without any entry counts as absent unless it `may_be_empty`: so looks the mount point of an unmounted disk.
    Raises `OSError` where it may be there, but cannot be read now.
    """
    try:
        with os.scandir(path) as entries:
            return None if may_be_empty or any(True for _ in entries) else "is empty"
    except OSError as error:
        if error.errno in _AWAY:
            return "is missing"
        raise


def walk(
    start: str,
    root: str,
    options: ScanOptions,
    report: Callable[[str, OSError], None],
    *,
    around: Sequence[tuple[str, ScanOptions]] = (),
    inner: Mapping[str, ScanOptions] = MappingProxyType({}),
) -> Iterator[Folder]:
    """Yield `start` and every directory below it with its candidate files, parents first, in byte order.

    Both paths are absolute; `start` is `root` or lies below it, and patterns are relative to `root`. The options of the
    roots `around` it (outermost first) hold as well, and at and below those in `inner` (by path) theirs too. What
    cannot be read is passed to `report`: a directory is then yielded as nothing, a file as its name alone, so that what
    is known of them stays as it is. Symbolic links beneath `start` are followed only where `follow_symlinks` says
    so. A directory reached twice (a loop of links, a bind mount) is walked once, and yielded without any file the
    second time.
    """
    wanted = Wanted()
    for path, theirs in (*around, (root, options)):
        wanted = wanted.inside(path, theirs)
    visited: set[Identity] = set()
    first = os.fsencode(start)
    waiting = [(first, wanted)]
    while waiting:
        raw, wanted = waiting.pop()
        path = os.fsdecode(raw)
        if path in inner:
            wanted = wanted.inside(path, inner[path])
        try:
            if _seen_before(raw, visited, follow=wanted.follow_symlinks or raw == first):
                yield Folder(path, {}, passed_over={b".": "same_folder"})
                continue
            folder, below = _read(raw, None if wanted.follow_symlinks else first, wanted, report)
        except OSError as error:
            report(path, error)
            continue
        match = wanted.matcher(path)
        if match is not None:
            folder = _only_matching(folder, match)
            below = [child for child in below if match(os.path.basename(os.fsdecode(child)), True)]
        waiting.extend((child, wanted) for child in reversed(below))
        yield folder


def _only_matching(folder: Folder, match: Match) -> Folder:
    """A folder with what the user wants of it."""
    files = {name: state for name, state in folder.files.items() if match(os.fsdecode(name), False)}
    passed_over = {
        name: kind for name, kind in folder.passed_over.items() if match(os.fsdecode(name), kind == "system_folder")
    }
    return replace(folder, files=files, passed_over=passed_over)


def _read(
    path: bytes, trusted: bytes | None, options: Wanted, report: Callable[[str, OSError], None]
) -> tuple[Folder, list[bytes]]:
    """A folder, opened through no link from `trusted` on, and the whole paths of the folders directly in it."""
    files: dict[bytes, State] = {}
    below: list[bytes] = []
    unreadable: list[bytes] = []
    passed_over: dict[bytes, Kind] = {}
    with beneath.listing(path, trusted) as listing:
        for name, entry in listing:
            if not options.hidden and name.startswith(b"."):
                continue
            try:
                if entry.is_file(follow_symlinks=options.follow_symlinks):
                    if kind := options.passes_over(name, is_folder=False):
                        passed_over[name] = kind
                    else:
                        files[name] = state_of(entry.stat(follow_symlinks=options.follow_symlinks))
                elif entry.is_dir(follow_symlinks=options.follow_symlinks):
                    if kind := options.passes_over(name, is_folder=True):
                        passed_over[name] = kind
                    else:
                        below.append(os.path.join(path, name))
                else:
                    passed_over[name] = "symbolic_link" if entry.is_symlink() else "special"
            except FileNotFoundError:  # deleted since it was listed
                continue
            except OSError as error:
                unreadable.append(name)
                report(os.fsdecode(os.path.join(path, name)), error)
            except Exception as error:  # a fault of ours over one entry must cost that entry, not the run
                unreadable.append(name)
                report(os.fsdecode(os.path.join(path, name)), OSError(unforeseen(error)))
    return Folder(os.fsdecode(path), files, unreadable, passed_over, options), below


def _seen_before(path: bytes, visited: set[Identity], *, follow: bool) -> bool:
    try:
        status = os.stat(path, follow_symlinks=follow)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        status = long_paths.status(path)
    identity = identity_of(status)
    if identity is None or identity not in visited:
        visited.update([identity] if identity else [])
        return False
    return True
