"""Bombs and huge files in a real worker: what they cost it at most, in memory and time."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bombs import animations, bombs, hidden_bombs, lying_boxes
from mutate import TimedPool, peak_kb
from pictures import file_bytes
from PIL import Image

from mmsearch.base.config import DEFAULT_MAX_PIXELS
from mmsearch.base.records import FileRecord
from mmsearch.images import memory
from mmsearch.images.pool import Decoded

# Memory in MB that a worker may take for a file that is refused or small: Python, Pillow and all codecs included.
MOST_MB = 120

# Seconds for any of the files below, on a busy machine too. Most take hundredths.
MOST_SECONDS = 30

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process holds, and limits it")


def run(folder: Path, files: dict[str, bytes], *, max_pixels: int) -> tuple[dict[str, Decoded], TimedPool]:
    """The files through one worker, one after the other."""
    with TimedPool(workers=1, max_pixels=max_pixels, time_limit=MOST_SECONDS) as pool:
        outcomes = {}
        for number, (name, data) in enumerate(files.items()):
            path = folder / f"{number}.png"
            path.write_bytes(data)
            outcomes[name] = pool.submit(FileRecord(str(path), 0, 0)).result(2 * MOST_SECONDS)
    return outcomes, pool


@linux
def test_bombs_take_neither_memory_nor_time(tmp_path: Path) -> None:
    outcomes, pool = run(tmp_path, bombs() | lying_boxes(), max_pixels=DEFAULT_MAX_PIXELS)
    assert [name for name, outcome in outcomes.items() if outcome.pixels is not None] == []
    reasons = {outcome.reason.split(" (")[0] for outcome in outcomes.values()}
    assert not any(reason.startswith(("its decoder", "took longer")) for reason in reasons)
    assert 0 < pool.peak_kb / 1000 < MOST_MB
    assert max(pool.seconds.values()) < MOST_SECONDS


@linux
def test_what_hides_inside_a_small_file_takes_neither_memory_nor_time(tmp_path: Path) -> None:
    outcomes, pool = run(tmp_path, hidden_bombs(), max_pixels=DEFAULT_MAX_PIXELS)
    reasons = {name: outcome.reason for name, outcome in outcomes.items()}
    assert not any(reason.startswith(("its decoder", "took longer")) for reason in reasons.values()), reasons
    assert reasons["PNG with a text of 256 MB"] == "", "the text is left out, not the picture"
    assert outcomes["GIF with 100,000 remarks"].pixels is not None
    assert 0 < pool.peak_kb / 1000 < MOST_MB
    assert max(pool.seconds.values()) < MOST_SECONDS


@linux
def test_ten_thousand_frames_cost_one(tmp_path: Path) -> None:
    outcomes, pool = run(tmp_path, animations(), max_pixels=10_000)
    for name, outcome in outcomes.items():
        assert outcome.pixels is not None, (name, outcome.reason)
        assert outcome.facts is not None
        assert outcome.facts.format == name
        corner = outcome.pixels[4, 4].astype(int)
        assert np.abs(corner - (220, 30, 40)).max() < 20, "the first frame"
    assert 0 < pool.peak_kb / 1000 < MOST_MB


def large(mode: str, side: int) -> Image.Image:
    """A smooth picture of an odd sample type, which is what takes memory."""
    ramp = Image.linear_gradient("L").resize((side, side))
    if mode == "I;16":
        return Image.fromarray(np.asarray(ramp).astype(np.uint16) * 257)
    if mode == "F":
        return Image.fromarray(np.asarray(ramp).astype(np.float32) / 255)
    return Image.merge("RGBA", [ramp, ramp, ramp, ramp]) if mode == "RGBA" else ramp.convert(mode)


@linux
@pytest.mark.parametrize(
    ("format_name", "mode", "options"),
    [
        ("PNG", "RGBA", {}),
        ("PNG", "I;16", {}),
        ("TIFF", "F", {}),
        ("TIFF", "RGBA", {"compression": "tiff_lzw"}),
        ("GIF", "P", {"transparency": 0}),
        ("WEBP", "RGBA", {"lossless": True, "method": 0}),
        ("AVIF", "RGBA", {"speed": 10, "subsampling": "4:4:4"}),
        ("HEIF", "RGBA", {"chroma": "444"}),
        ("JXL", "RGBA", {"lossless": True, "effort": 1}),
        ("JXL", "F", {"lossless": True, "effort": 1}),
        ("JPEG2000", "RGBA", {}),
        ("ICNS", "RGBA", {}),
    ],
)
def test_a_large_image_takes_less_than_its_share_of_the_limit(
    format_name: str, mode: str, options: dict[str, Any], tmp_path: Path
) -> None:
    side = 1024 if format_name in {"ICNS", "HEIF"} else 2048
    data = file_bytes(large(mode, side), format_name, **options)
    outcomes, pool = run(tmp_path, {"large": data}, max_pixels=side * side)
    assert outcomes["large"].pixels is not None, outcomes["large"].reason
    share = memory._BYTES_A_PIXEL * side * side / 1e6
    assert pool.peak_kb / 1000 < MOST_MB + share * 0.75


@linux
@pytest.mark.parametrize(("mode", "format_name"), [("RGBA", "PNG"), ("I;16", "PNG"), ("F", "TIFF")])
def test_odd_samples_are_converted_in_bands(mode: str, format_name: str, tmp_path: Path) -> None:
    side = 3000
    outcomes, pool = run(tmp_path, {"large": file_bytes(large(mode, side), format_name)}, max_pixels=side * side)
    assert outcomes["large"].pixels is not None
    assert pool.peak_kb / 1000 < 60 + 12 * side * side / 1e6, "as a whole, it takes 20 to 31 bytes a pixel"


@linux
def test_decoders_do_not_start_a_thread_for_each_core(tmp_path: Path) -> None:
    script = """
import pathlib, sys, threading
from mmsearch.images import decode
most, done = 0, threading.Event()
def count():
    global most
    while not done.wait(0.001):
        status = pathlib.Path("/proc/self/status").read_text()
        most = max(most, int(status.partition("Threads:")[2].split()[0]))
watcher = threading.Thread(target=count)
watcher.start()
with open(sys.argv[1], "rb") as file:
    image, _ = decode.decode(file, max_pixels=10**7)
done.set()
watcher.join()
print(image.size, most)
"""
    for format_name, allowed in (("AVIF", 2), ("JXL", 2), ("HEIF", 3)):
        path = tmp_path / format_name
        path.write_bytes(file_bytes(large("RGB", 1024), format_name))
        command = [sys.executable, "-c", script, str(path)]
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
        answer = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
        assert answer.startswith("(1024, 1024)")
        assert int(answer.split()[-1]) <= allowed, format_name


@linux
def test_a_worker_is_limited_and_leaves_no_core_dump(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(file_bytes(large("RGB", 8), "PNG"))
    with TimedPool(workers=1, max_pixels=1_000_000) as pool:
        assert pool.submit(FileRecord(str(tmp_path / "a.png"), 0, 0)).result(60).pixels is not None
        (pid,) = (worker._process.pid for worker in pool._workers)
        limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
        soft = {line[:26].strip(): line[26:].split()[0] for line in limits}
        assert int(soft["Max data size"]) == memory.memory_limit(1_000_000)
        assert soft["Max core file size"] == "0"
        assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "1000"
        assert Path("/proc/self/oom_score_adj").read_text().strip() != "1000"
        assert peak_kb(pid) > 0


def test_the_limit_grows_with_the_pixels_and_never_beyond_the_machine() -> None:
    assert memory.memory_limit(2_000_000) - memory.memory_limit(1_000_000) == 32_000_000
    if hasattr(os, "sysconf"):
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        assert memory.memory_limit(10**15) == whole


def test_a_file_of_an_absurd_size_is_not_even_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.webp"
    with path.open("wb") as file:
        file.write(b"RIFF" + struct.pack("<I", 1 << 31) + b"WEBPVP8 ")
        file.truncate(1 << 40)  # a hole: it takes no space, and hours to read
    with TimedPool(workers=1, max_pixels=1_000_000) as pool:
        outcome = pool.submit(FileRecord(str(path), 0, 0)).result(60)
    assert outcome.reason == "1,099,511,627,776 bytes are too many for an image of at most 1,000,000 pixels"
    assert not outcome.retry
