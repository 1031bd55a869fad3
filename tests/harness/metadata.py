"""Compare what mmsearch tells of photos with what ExifTool does: size, date, camera, position.

Run it over a folder of real photos, with `exiftool` on the PATH:

    python -m tests.harness.metadata FOLDER [--all]

It prints each difference, then one JSON line: files that both read, those of each fact, and how many differ. Files
that ExifTool cannot read are passed over, as are those that mmsearch refuses (`--all` lists them).
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmsearch.base.errors import MMSearchError
from mmsearch.base.records import ImageFacts
from mmsearch.images import decode

_TAGS = [
    "Make", "Model", "DateTimeOriginal", "CreateDate", "DateCreated", "ModifyDate", "DateTimeDigitized", "TimeCreated",
    "DigitalCreationDate", "DigitalCreationTime", "DateTime", "GPSLatitude", "GPSLongitude",
]  # fmt: skip

# Which counts first, as ExifTool names the groups of tags. Those of further pages and of thumbnails count for nothing.
_DATES = [
    "ExifIFD:DateTimeOriginal", "IFD0:DateTimeOriginal", "ExifIFD:CreateDate", "IFD0:CreateDate",
    "XMP-exif:DateTimeOriginal", "XMP-photoshop:DateCreated", "XMP-exif:DateTimeDigitized", "XMP-xmp:CreateDate",
    "IPTC:DateCreated", "IPTC:DigitalCreationDate", "IFD0:ModifyDate", "ExifIFD:ModifyDate", "XMP-xmp:ModifyDate",
    "XMP-tiff:DateTime",
]  # fmt: skip

# Degrees: ExifTool prints as many digits as there are.
_NEAR = 1e-6


def theirs(folder: Path) -> Iterator[dict[str, Any]]:
    """What ExifTool tells of each file."""
    wanted = [f"-{tag}" for tag in _TAGS]
    command = ["exiftool", "-json", "-n", "-G1", "-r", "-q", "-q", *wanted, str(folder)]
    done = subprocess.run(command, capture_output=True, check=False)
    yield from json.loads(done.stdout.decode("utf-8", "replace") or "[]")


def date(facts: dict[str, Any]) -> str | None:
    """The date that counts, to the second: the first that is one, with a time if one of the same day has any."""
    values = dict(facts)
    for day, time in ("DateCreated", "TimeCreated"), ("DigitalCreationDate", "DigitalCreationTime"):
        values[f"IPTC:{day}"] = f"{facts.get(f'IPTC:{day}', '')} {facts.get(f'IPTC:{time}', '')}"
    dates = []
    for tag in _DATES:
        found = re.match(r"(\d{4})[:-](\d\d)[:-](\d\d)(?:[: T](\d\d:\d\d)(:\d\d)?)?", str(values.get(tag, "")))
        if found and found[1] > "1799" and found[2] != "00":
            clock = f"{found[4] or '00:00'}{found[5] or ':00'}"
            dates.append((f"{found[1]}-{found[2]}-{found[3]}", clock, found[4]))
    if not dates:
        return None
    day, time, _ = next((found for found in dates if found[0] == dates[0][0] and found[2]), dates[0])
    return f"{day}T{time}"


def differences(ours: ImageFacts, facts: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """(fact, ours, theirs) where they differ."""
    told = date(facts)
    if (ours.taken_at or "")[:19] != (told or ""):
        yield "taken_at", ours.taken_at, told
    make, model = (
        str(facts.get(f"IFD0:{tag}") or facts.get(f"XMP-tiff:{tag}") or "").strip() for tag in ("Make", "Model")
    )
    camera = " ".join((model if model.lower().startswith(make.lower()) else f"{make} {model}").split())
    if (ours.camera or "") != camera:
        yield "camera", ours.camera, camera
    for name in ("latitude", "longitude"):
        value, told_value = getattr(ours, name), facts.get(f"Composite:GPS{name.title()}")
        if (value is None) != (told_value in {None, ""}) or (value is not None and abs(value - told_value) > _NEAR):
            yield name, value, told_value


def main() -> int:
    """Compare a folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--all", action="store_true", help="list refused files too")
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    for facts in theirs(options.folder):
        path = facts["SourceFile"]
        try:
            with Path(path).open("rb") as file:
                _, ours = decode.decode(file, max_pixels=10**9)
        except (MMSearchError, OSError) as error:
            counts["refused"] += 1
            if options.all:
                print(f"{path}: {error}", file=sys.stderr)
            continue
        counts["files"] += 1
        for fact in ("taken_at", "camera", "latitude"):
            counts[f"with {fact}"] += getattr(ours, fact) is not None
        for fact, our, their in differences(ours, facts):
            counts[f"different {fact}"] += 1
            print(f"{path}: {fact}: {our!r}, ExifTool {their!r}", file=sys.stderr)
    print(json.dumps(dict(sorted(counts.items()))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
