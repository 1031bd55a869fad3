"""Settings that are other ones for a while come back as they were, whoever else changed them meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from mmsearch.base import config
from mmsearch.base.switched import Switched


def test_what_was_there_comes_back() -> None:
    settings = {"kept": 1, "changed": 2}
    switched = Switched(lambda: settings, {"changed": 3, "new": None})
    with switched:
        assert settings == {"kept": 1, "changed": 3, "new": None}
    assert settings == {"kept": 1, "changed": 2}
    with pytest.raises(ValueError), switched:
        raise ValueError
    assert settings == {"kept": 1, "changed": 2}


def test_the_last_to_leave_puts_back() -> None:
    """A thread that came second must not keep what the first one set, nor lose it when that leaves."""
    settings: dict[str, str] = {}
    switched = Switched(lambda: settings, {"name": "value"})
    inside, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with switched:
            inside.set()
            leave.wait(30)

    thread = threading.Thread(target=stay)
    with switched:
        thread.start()
        assert inside.wait(30)
    assert settings == {"name": "value"}
    leave.set()
    thread.join()
    assert settings == {}


@pytest.mark.parametrize("own", [None, "0", "1"])
def test_libraries_see_the_environment(own: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Native code and child processes see it too, and find it as it was afterwards."""
    name = "ORT_DISABLE_TELEMETRY"
    monkeypatch.delenv(name, raising=False)
    if own is not None:
        monkeypatch.setenv(name, own)
    command = [sys.executable, "-c", f"import os; print(os.environ.get({name!r}))"]
    with config.NO_ONNXRUNTIME_TELEMETRY:
        within = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert within == "1\n"
    assert os.environ.get(name) == own
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == f"{own}\n"
