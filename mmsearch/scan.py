"""Walk a root and compare what is there with what is known. Reads directories and stats files, opens none."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from mmsearch.types import FileRecord, ScanOptions

# The known state of a folder: (size in bytes, mtime in ns, whether it is indexed) by file name.
KnownFiles = Mapping[str, tuple[int, int, bool]]


@dataclass(frozen=True, slots=True)
class Folder:
    """The regular files directly in one directory, in byte order of their names.

    `unreadable` are the names of entries that are there but whose status cannot be read.
    """

    path: str
    files: list[FileRecord]
    unreadable: list[str] = field(default_factory=list)


@dataclass(slots=True)
class FolderChanges:
    """A folder against what was known of it. `unchanged` counts indexed files; `gone` are file names."""

    new: list[FileRecord] = field(default_factory=list)
    changed: list[FileRecord] = field(default_factory=list)
    unchanged: int = 0
    gone: list[str] = field(default_factory=list)


def compare(files: list[FileRecord], known: KnownFiles, unreadable: Iterable[str] = ()) -> FolderChanges:
    """Sort a folder's files into new, changed (size or mtime differs), unchanged and gone.

    Files named in `unreadable` are none of these: what is known of them stays as it is.
    """
    changes = FolderChanges()
    if not known:
        changes.new = files
        return changes
    seen = set(unreadable)
    for record in files:
        name = os.path.basename(record.path)
        seen.add(name)
        before = known.get(name)
        if before is None:
            changes.new.append(record)
        elif before[:2] == (record.size, record.mtime_ns):
            changes.unchanged += before[2]
        else:
            changes.changed.append(record)
    changes.gone = [name for name in known if name not in seen]
    return changes


def walk(start: str, root: str, options: ScanOptions, report: Callable[[str, OSError], None]) -> Iterator[Folder]:
    """Yield `start` and every directory below it with its candidate files, parents first, in byte order.

    Both paths are absolute; `start` is `root` or lies below it, and patterns are relative to `root`. What cannot be
    read is passed to `report`: a directory is then yielded as nothing, a file as its name alone, so that what is known
    of them stays as it is. Symbolic links are followed only with `options.follow_symlinks`; a directory reached twice
    (a loop, a bind mount) is walked once then.
    """
    match = _matcher(options)
    visited: set[tuple[int, int]] = set()
    waiting = [start]
    while waiting:
        path = waiting.pop()
        try:
            if options.follow_symlinks and _seen_before(path, visited):
                continue
            with os.scandir(path) as entries:
                listing = sorted(entries, key=_byte_order)
        except OSError as error:
            report(path, error)
            continue
        files: list[FileRecord] = []
        below: list[str] = []
        unreadable: list[str] = []
        for entry in listing:
            if not options.hidden and entry.name.startswith("."):
                continue
            try:
                _sort_in(entry, options.follow_symlinks, files, below)
            except FileNotFoundError:  # deleted since it was listed
                continue
            except OSError as error:
                unreadable.append(entry.name)
                report(entry.path, error)
        if match is not None:
            files = [record for record in files if match(os.path.relpath(record.path, root), False)]
            below = [child for child in below if match(os.path.relpath(child, root), True)]
        waiting.extend(reversed(below))
        yield Folder(path, files, unreadable)


def _byte_order(entry: os.DirEntry[str]) -> bytes:
    return os.fsencode(entry.name)


def _seen_before(path: str, visited: set[tuple[int, int]]) -> bool:
    status = os.stat(path)
    identity = (status.st_dev, status.st_ino)
    if identity in visited:
        return True
    visited.add(identity)
    return False


def _sort_in(entry: os.DirEntry[str], follow: bool, files: list[FileRecord], below: list[str]) -> None:
    if entry.is_dir(follow_symlinks=follow):
        below.append(entry.path)
    elif entry.is_file(follow_symlinks=follow):
        status = entry.stat(follow_symlinks=follow)
        files.append(FileRecord(entry.path, status.st_size, status.st_mtime_ns))


def _matcher(options: ScanOptions) -> Callable[[str, bool], bool] | None:
    """A predicate over (path relative to the root, is it a directory), or None where everything is taken."""
    if not options.include and not options.exclude:
        return None
    from pathspec import GitIgnoreSpec

    include = GitIgnoreSpec.from_lines(options.include) if options.include else None
    exclude = GitIgnoreSpec.from_lines(options.exclude)

    def match(path: str, is_directory: bool) -> bool:
        if exclude.match_file(path + "/" if is_directory else path):
            return False
        return is_directory or include is None or include.match_file(path)

    return match
