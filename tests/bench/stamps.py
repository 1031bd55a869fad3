"""A benchmark of real captioned pictures that anyone can repeat offline: Debian's `tuxpaint-stamps-default`.

    apt-get download tuxpaint-stamps-default && dpkg-deb -x tuxpaint-stamps-default_*.deb stamps
    python tests/bench/stamps.py stamps > stamps.jsonl
    mmsearch eval stamps.jsonl --model starter

Prints JSON Lines for `mmsearch eval`: each PNG with its caption, the first line of the .txt beside it, which is
English, or its line in the `--language` asked for. Nothing is picked: cartoons, symbols, letters and coins are in it. A
mirrored stamp, where that differs from the plain one, comes without a caption of its own and is left out; drawings in
SVG are too. Stamps are transparent around the thing that they show; mmsearch lays transparency over white. Several have
the same caption ("A flower."): `mmsearch eval` makes that one query, and takes any of its stamps as the right one.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the package was unpacked")
    parser.add_argument("--language", help="a code as in the .txt files, such as de or zh_CN; none: English")
    arguments = parser.parse_args()
    lines = stamps(arguments.folder.absolute(), arguments.language)
    if not lines:
        sys.exit(f"no captioned stamps below {arguments.folder}")
    for path, caption in lines:
        print(json.dumps({"file": str(path), "captions": [caption]}, ensure_ascii=False))
    print(f"{len(lines)} stamps, {len({caption for _, caption in lines})} different captions", file=sys.stderr)


def stamps(folder: Path, language: str | None = None) -> list[tuple[Path, str]]:
    """Every PNG below `folder` with a caption, by path."""
    found = []
    for path in sorted(folder.rglob("*.png")):
        words = path.with_suffix(".txt")
        said = caption(words.read_text("utf-8"), language) if words.exists() else ""
        if said:
            found.append((path, said))
    return found


def caption(text: str, language: str | None = None) -> str:
    """One language's line of a stamp's text, empty where it has none. Lines are `CODE.utf8=CAPTION`, but the first."""
    first, *others = text.splitlines() or [""]
    if language is None:
        return first.strip()
    start = f"{language}.utf8="
    return next((line.removeprefix(start).strip() for line in others if line.startswith(start)), "")


if __name__ == "__main__":
    main()
