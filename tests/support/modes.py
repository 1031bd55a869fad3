"""Run something that obeys file modes, whoever runs the tests: as root, the right to ignore them is given up."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

_PR_CAPBSET_DROP = 24
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2


def run_obeying_modes(*arguments: object, code: str = "") -> subprocess.CompletedProcess[str]:
    """`mmsearch ARGUMENTS` in a process of its own, or other Python `code` with these arguments."""
    how = ["-c", code] if code else ["-m", "mmsearch"]
    command = [sys.executable, *how, *(str(argument) for argument in arguments)]
    prepare = _give_up if hasattr(os, "geteuid") and os.geteuid() == 0 else None
    return subprocess.run(command, capture_output=True, text=True, preexec_fn=prepare)


def _give_up() -> None:
    """Between fork and exec: Linux then grants root no more than an owner's rights."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
        if libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")
