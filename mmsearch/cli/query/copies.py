"""Copies of results and links to them in a folder. Nothing that is there is ever overwritten."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from mmsearch.base.errors import SourceError


def put_all(
    paths: Sequence[str], folder: Path, act: Callable[[str, str], None], *, numbered: bool = False
) -> list[tuple[str, str]]:
    """`act(source, target)` for each path, in the order given; `folder` is made where it is missing.

    A target is the file's own name, or NAME-2.jpg, NAME-3.jpg ... where that is taken; with `numbered` the rank comes
    first, with as many digits as the last one has: 01-NAME.jpg. Returns (path, reason) of those that failed.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise SourceError(f"cannot create the folder {folder}: {reason}", "choose another one") from error
    failures, digits = [], len(str(len(paths)))
    for rank, path in enumerate(paths, 1):
        name = f"{rank:0{digits}}-{os.path.basename(path)}" if numbered else os.path.basename(path)
        try:
            _put(path, os.path.join(os.path.abspath(folder), name), act)
        except OSError as error:
            failures.append((path, error.strerror or str(error)))
    return failures


def _put(source: str, wished: str, act: Callable[[str, str], None]) -> None:
    for target in _free_names(wished):
        try:
            act(source, target)
        except FileExistsError:
            continue
        return


def _free_names(wished: str) -> Iterator[str]:
    yield wished
    stem, ending = os.path.splitext(wished)
    count = 2
    while True:
        yield f"{stem}-{count}{ending}"
        count += 1


def link(source: str, target: str) -> None:
    """A symbolic link with the absolute path. Raises `FileExistsError` where `target` is taken, else `OSError`."""
    os.stat(source)  # raises where the file is gone
    os.symlink(source, target)


def copy(source: str, target: str) -> None:
    """The file's bytes, times and mode. Raises `FileExistsError` where `target` is taken, else `OSError`.

    A copy that fails halfway, on a full disk for example, is taken away again.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)  # a pipe must not hold us up
    with os.fdopen(os.open(source, flags), "rb") as original:
        if not stat.S_ISREG(os.fstat(original.fileno()).st_mode):
            raise OSError("not a regular file")
        with open(target, "xb") as file:  # noqa: PTH123  (Path adds nothing to an absolute str)
            failure = _transfer(original, file)
    try:
        if failure is not None:
            raise failure
        shutil.copystat(source, target)
    except BaseException:
        os.unlink(target)
        raise


def _transfer(original: IO[bytes], file: IO[bytes]) -> BaseException | None:
    """Copy the bytes; an error is returned, so that the file is closed before it is taken away."""
    try:
        shutil.copyfileobj(original, file)
        file.flush()
    except BaseException as error:
        return error
    return None
