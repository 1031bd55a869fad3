"""Numbers of file systems, as a catalog can hold them."""

from __future__ import annotations

import os

import pytest

from mmsearch.base.file_state import state_of

_FIELDS = ("st_size", "st_mtime_ns", "st_ctime_ns", "st_ino")


class _Status:
    """The status of a file on a system that says what it likes."""

    def __init__(self, *numbers: int) -> None:
        for name, number in zip(_FIELDS, numbers, strict=True):
            setattr(self, name, number)


def state(*numbers: int) -> tuple[int | None, ...]:
    return state_of(_Status(*numbers))  # type: ignore[arg-type]


def test_what_fits_stays_as_it_is(tmp_path: os.PathLike[str]) -> None:
    status = os.stat(tmp_path)
    assert state_of(status) == tuple(getattr(status, name) for name in _FIELDS)


@pytest.mark.parametrize("number", [2**63, 2**64 - 1, 10**30, -(2**63) - 1, -(10**30)])
def test_every_number_fits_into_a_catalog(number: int) -> None:
    values = state(number, number, number, number)
    assert all(value is not None and -(2**63) <= value < 2**63 for value in values)
    assert (values[1] or 0) * number > 0, "later stays later"


def test_numbers_beyond_63_bits_are_told_apart() -> None:
    assert len({state(1, 1, 1, 2**63 + inode)[3] for inode in range(9)}) == 9
    assert len({state(1, 1, 2**63 + ctime, 1)[2] for ctime in range(9)}) == 9


def test_no_inode_is_not_known() -> None:
    assert state(1, 1, 1, 0) == (1, 1, 1, None)
