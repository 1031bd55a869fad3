"""Compare the pixels that mmsearch makes of files with those of ImageMagick, djxl, avifdec and heif-convert.

    python -m tests.harness.second_decoder FOLDER... [--limit 12]

Both pictures are brought to 64 x 64 and compared over white. It prints each file whose mean difference (0 to 255) is
over the limit, or that only the other decoder reads, and then one JSON line with the counts. Files that the other
decoder cannot read are passed over.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from mmsearch.base.errors import MMSearchError, NotAnImageError
from mmsearch.images import decode

_SIDE = 64
_SECONDS = 60
_OTHERS = {".jxl": ["djxl"], ".avif": ["avifdec", "-q", "100"], ".heic": ["heif-convert"], ".heif": ["heif-convert"]}


def ours(path: Path) -> Image.Image | str:
    """What mmsearch makes of a file, or why it refuses it."""
    try:
        with path.open("rb") as file:
            return decode.decode(file, max_pixels=10**9)[0]
    except (MMSearchError, OSError) as error:
        return str(error)


def theirs(path: Path) -> Image.Image | None:
    """What another decoder makes of it, upright and over white."""
    with tempfile.TemporaryDirectory() as folder:
        target = os.path.join(folder, "out.png")
        first = _OTHERS.get(path.suffix.lower())
        source = str(path)
        if first:
            if _failed([*first, source, target]):
                return None
            source = target
        command = ["convert", f"{source}[0]", "-auto-orient", "-background", "white", "-flatten", "-colorspace", "sRGB"]
        if _failed([*command, "-depth", "8", "-resize", f"{_SIDE}x{_SIDE}!", f"png24:{target}.png"]):
            return None
        return Image.open(io.BytesIO(Path(f"{target}.png").read_bytes())).convert("RGB")


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean absolute difference of two pictures, 0 to 255."""
    small = one.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    return float(np.abs(np.asarray(small).astype(int) - np.asarray(other).astype(int)).mean())


def _failed(command: list[str]) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return True
    return done.returncode != 0


def main() -> int:
    """Compare folders."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--limit", type=float, default=12.0)
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    for folder in options.folders:
        for path in sorted(file for file in folder.rglob("*") if file.is_file()):
            mine = ours(path)
            if mine == NotAnImageError("not in a known image format").message:
                continue
            other = theirs(path)
            if other is None:
                counts["read by us alone" if isinstance(mine, Image.Image) else "read by neither"] += 1
            elif isinstance(mine, str):
                counts["refused by us"] += 1
                print(f"{path}: refused: {mine}", file=sys.stderr)
            else:
                counts["compared"] += 1
                if (distance := difference(mine, other)) > options.limit:
                    counts["different"] += 1
                    print(f"{path}: {distance:.0f}", file=sys.stderr)
    print(json.dumps(dict(sorted(counts.items()))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
