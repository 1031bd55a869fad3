"""Patterns of --include and --exclude as the user gives them, made relative to the roots that they are for.

Their syntax is gitignore's, in which a path such as ./thumbs, or one that begins at the file system's root, would match
nothing, and nobody would be told. So a pattern that is a path is taken as one: it is made relative to its root, it is
refused where it lies in none, and the user is told where nothing is there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace

from mmsearch.base.errors import UsageError
from mmsearch.base.names import folded
from mmsearch.base.other_names import KnownNames
from mmsearch.base.paths import absolute, is_within
from mmsearch.base.records import ScanOptions
from mmsearch.indexing.wanted import compiled

_SIGNS = frozenset("*?[\\")
_HINT = "write it relative to the folder that is indexed, such as 'thumbs' or '/2021/thumbs'"

Notice = Callable[[str], None]


def for_roots(options: ScanOptions, roots: Sequence[str], notice: Notice) -> dict[str, ScanOptions]:
    """The options for each of the roots, whose patterns are relative to it; `notice` is told of one that is a path
    where nothing is.

    Raises `UsageError` for a path outside of all roots, and for what is no pattern.
    """
    includes = [_for_each(pattern, "--include", roots, notice) for pattern in options.include]
    excludes = [_for_each(pattern, "--exclude", roots, notice) for pattern in options.exclude]
    return {
        root: replace(
            options,
            include=tuple(found[root] for found in includes if root in found),
            exclude=tuple(found[root] for found in excludes if root in found),
        )
        for root in roots
    }


def _for_each(pattern: str, option: str, roots: Sequence[str], notice: Notice) -> dict[str, str]:
    """A pattern as each of the roots has it that it concerns."""
    denied, body = ("!", pattern[1:]) if pattern.startswith("!") else ("", pattern)
    _check(pattern, option)
    if body.startswith("#"):  # on the command line nothing is a comment
        body = "\\" + body
    if not _is_path(body):
        return dict.fromkeys(roots, denied + body)
    path = _as_path(body, roots)
    found = {root: denied + relative for root in roots if (relative := _relative(path, root, roots))}
    if found:
        _tell_what_is_missing(pattern, option, {root: text.removeprefix("!") for root, text in found.items()}, notice)
        return found
    if _leaves_its_folder(body) or _exists_elsewhere(body, roots):
        inside = " and ".join(roots)
        raise UsageError(f"{option} {pattern} is not below {inside}", _HINT)
    body = "/" + body.removeprefix("./") if body.startswith("./") else body
    _tell_what_is_missing(pattern, option, dict.fromkeys(roots, body), notice)
    return dict.fromkeys(roots, denied + body)


def _check(pattern: str, option: str) -> None:
    try:
        compiled([pattern])
    except ValueError:
        raise UsageError(f"{option} {pattern!r} is not a pattern of gitignore", "name a file or folder") from None


def _is_path(body: str) -> bool:
    """Whether a pattern says where something is, beyond how it is called."""
    return ("/" in body.rstrip("/") and not body.startswith("**/")) or body in {".", "..", "./", "../"}


def _leaves_its_folder(body: str) -> bool:
    return body.startswith("~/") or body in {".", "./"} or ".." in body.split("/")


def _as_path(body: str, roots: Sequence[str]) -> str | None:
    """The absolute path that a pattern is; None where it is better read as relative to the roots."""
    if body.startswith(("/", "~/")):
        return absolute(body)
    path = absolute(body)
    if _leaves_its_folder(body):
        return path
    in_roots = any(_is_there(root, body) for root in roots)
    return path if not in_roots and os.path.lexists(_head(path)) else None


def _relative(path: str | None, root: str, roots: Sequence[str]) -> str | None:
    """An absolute path, whatever its name, as a pattern of a root; None where it is not below that."""
    if path is None:
        return None
    head, tail = _head(path), path[len(_head(path)) :]
    if not is_within(head, root):
        head = KnownNames(roots).of(head) or head
    if not is_within(head, root) or head + tail == root:
        return None
    return "/" + os.path.relpath(head + tail, root).replace(os.sep, "/").removeprefix("./")


def _head(path: str) -> str:
    """The folders of a path as far as they are plain names."""
    parts = path.split(os.sep)
    plain = next((number for number, part in enumerate(parts) if _SIGNS & set(part)), len(parts))
    return os.sep.join(parts[:plain]) or os.sep


def _exists_elsewhere(body: str, roots: Sequence[str]) -> bool:
    """Whether a path from the file system's root on is there, and nothing of that name in the roots."""
    head = _head(body)
    if not body.startswith("/") or head == os.sep or any(_is_there(root, head) for root in roots):
        return False
    return os.path.lexists(head)


def _tell_what_is_missing(pattern: str, option: str, found: dict[str, str], notice: Notice) -> None:
    plain = {root: text for root, text in found.items() if not _SIGNS & set(text)}
    if plain and len(plain) == len(found) and not any(_is_there(root, text) for root, text in plain.items()):
        notice(f"{option} {pattern}: nothing of that name is in {' or '.join(found)} now")


def _is_there(root: str, relative: str) -> bool:
    """Whether something of that name is in a root, in any case and normal form."""
    here = root
    for part in _head(relative).strip("/").split("/"):
        if part in {"", "."}:
            continue
        if not os.path.lexists(os.path.join(here, part)):
            try:
                alike = [name for name in os.listdir(here) if folded(name) == folded(part)]
            except OSError:
                return False
            if not alike:
                return False
            part = min(alike)
        here = os.path.join(here, part)
    return True
