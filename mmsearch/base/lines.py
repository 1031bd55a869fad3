"""A short list that outlasts a run, in the user's settings: a file with an entry a line."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from mmsearch.base import config
from mmsearch.base.durable import write_private
from mmsearch.base.paths import make_private


class Lines:
    """The list in the file `name`. An entry is any bytes but a line break; the newest is last."""

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def path(self) -> Path:
        """The file, which need not exist."""
        return config.settings_dir() / self._name

    def all(self) -> list[bytes]:
        """The entries, oldest first; none where there is no list, or it cannot be read."""
        with suppress(OSError):
            return [line for line in self.path.read_bytes().split(b"\n") if line]
        return []

    def add(self, entry: bytes) -> None:
        """Put an entry at the end, once. Raises `OSError`."""
        entries = [line for line in self.all() if line != entry]
        self._write([*entries, entry])

    def remove(self, entry: bytes) -> bool:
        """Take an entry off; whether it was there. Raises `OSError`."""
        entries = self.all()
        if entry not in entries:
            return False
        self._write([line for line in entries if line != entry])
        return True

    def _write(self, entries: list[bytes]) -> None:
        make_private(self.path.parent)
        write_private(self.path, b"".join(line + b"\n" for line in entries))
