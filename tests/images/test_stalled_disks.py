"""Disks that do not answer."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mmsearch.base import mounts as mounted
from mmsearch.images import stalled_disks
from mmsearch.images.stalled_disks import MOST_IN_A_ROW, Stalls

MOUNTS = r"""22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:25 / /mnt/nas rw,relatime - nfs4 server:/ rw
31 30 0:26 / /mnt/nas/my\040photos rw - nfs4 server:/photos rw
32 22 0:27 / /mnt/nas2 rw - ext4 /dev/sdb1 rw
"""


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTS)
    monkeypatch.setattr(mounted, "_MOUNTS", str(tmp_path / "mountinfo"))


@pytest.mark.parametrize(
    ("path", "disk"),
    [
        ("/home/a.jpg", "/"),
        ("/mnt/nas/a.jpg", "/mnt/nas"),
        ("/mnt/nas/my photos/a.jpg", "/mnt/nas/my photos"),
        ("/mnt/nas2/a.jpg", "/mnt/nas2"),
        ("/mnt/nas3/a.jpg", "/"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="mounts of POSIX")
def test_the_disk_of_a_path(mounts: None, path: str, disk: str) -> None:
    assert stalled_disks.disk_of(path) == disk


@pytest.mark.skipif(sys.platform == "win32", reason="mounts of POSIX")
def test_without_a_list_of_mounts_all_is_one_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounted, "_MOUNTS", "/nonexistent")
    assert stalled_disks.disk_of("/mnt/nas/a.jpg") == "/"


def test_a_disk_is_given_up_after_a_few_files_in_a_row(mounts: None) -> None:
    disks = Stalls()
    for _ in range(MOST_IN_A_ROW - 1):
        disks.add("/mnt/nas/a.jpg")
    assert disks.given_up("/mnt/nas/b.jpg") is None
    disks.add("/mnt/nas/a.jpg")
    assert disks.given_up("/mnt/nas/b.jpg") == "/mnt/nas"
    assert disks.given_up("/mnt/nas2/b.jpg") is None


def test_a_file_that_can_be_read_wipes_the_slate(mounts: None) -> None:
    disks = Stalls()
    for _ in range(MOST_IN_A_ROW - 1):
        disks.add("/mnt/nas/a.jpg")
    disks.clear("/home/a.jpg")
    disks.clear("/mnt/nas/b.jpg")
    disks.add("/mnt/nas/a.jpg")
    assert disks.given_up("/mnt/nas/b.jpg") is None
