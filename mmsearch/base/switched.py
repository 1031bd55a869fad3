"""Settings of the whole process that have other values for a while: the environment, the constants of a module."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any


class Switched:
    """`with` gives the settings that `find` returns these `values`, and puts back what was there before.

    Any number of threads may be inside at once: the first to come sets the values, the last to leave puts back.
    """

    def __init__(self, find: Callable[[], MutableMapping[str, Any]], values: Mapping[str, Any]) -> None:
        """Change nothing yet; `find` is called whenever somebody comes, so that it may import what it needs."""
        self._find = find
        self._values = dict(values)
        self._lock = threading.Lock()
        self._inside = 0
        self._before: dict[str, Any] = {}

    def __enter__(self) -> None:
        settings = self._find()
        with self._lock:
            if not self._inside:
                self._before = {name: settings[name] for name in self._values if name in settings}
                settings.update(self._values)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        settings = self._find()
        with self._lock:
            self._inside -= 1
            if not self._inside:
                for name in self._values.keys() - self._before.keys():
                    settings.pop(name, None)
                settings.update(self._before)
