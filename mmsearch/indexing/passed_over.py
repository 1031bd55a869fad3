"""What an index run passes over because it is no image that can be read: of which kind it is, and how that is told.

What a file holds decides whether it is an image. Of what kind it is otherwise, the ending of its name says well enough.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal

Kind = Literal[
    "svg",
    "video",
    "raw",
    "pdf",
    "picture",
    "symbolic_link",
    "system_folder",
    "same_folder",
    "apple_double",
    "special",
    "other",
]

# What people call one and several of each kind.
_NAMES: dict[Kind, tuple[str, str]] = {
    "svg": ("SVG", "SVG"),
    "video": ("video", "videos"),
    "raw": ("RAW photo", "RAW photos"),
    "pdf": ("PDF", "PDF"),
    "picture": ("picture in another format", "pictures in other formats"),
    "symbolic_link": ("symbolic link", "symbolic links"),
    "system_folder": ("folder of thumbnails or trash", "folders of thumbnails or trash"),
    "same_folder": ("folder met under two names", "folders met under two names"),
    "apple_double": ("AppleDouble file", "AppleDouble files"),
    "special": ("special file", "special files"),  # pipes, sockets, devices
    "other": ("other file", "other files"),
}

# Kinds that nobody takes for pictures: they alone are not worth a line.
_NEVER_PICTURES: frozenset[Kind] = frozenset({"apple_double", "special", "other"})

# Endings of names, in lower case. Not among the videos is .ts, which is mostly TypeScript.
_ENDINGS: dict[Kind, str] = {
    "svg": "svg svgz",
    "video": "3g2 3gp asf avi divx dv f4v flv insv lrv m2ts m2v m4v mkv mov mp4 mpe mpeg mpg mts mxf ogv vob webm wmv",
    "raw": "3fr arw cr2 cr3 crw dcr dng erf fff gpr iiq k25 kdc mef mos mrw nef nrw orf pef raf raw rw2 rwl sr2 srf"
    " srw x3f",
    "pdf": "pdf",
    "picture": "afdesign afphoto ai cdr clip dcm djv djvu emf eps exr hdr jxr kra odg ora pcd psb wdp wmf xcf",
}
_KINDS = {f".{ending}".encode(): kind for kind, endings in _ENDINGS.items() for ending in endings.split()}


def kind_of_file(name: bytes) -> Kind:
    """The kind of a file that is no image, by its name."""
    return _KINDS.get(os.path.splitext(name)[1].lower(), "other")


def ordered(counts: Mapping[Kind, int]) -> dict[str, int]:
    """The kinds that there are, the most frequent first; what nobody takes for pictures last."""
    return dict(sorted(counts.items(), key=lambda entry: (entry[0] in _NEVER_PICTURES, -entry[1], entry[0])))


def told(counts: Mapping[str, int]) -> str | None:
    """One line for the user, such as "passed over: 12 SVG, 3 videos, 1 symbolic link", from what `ordered` gives.

    None where there is nothing that somebody may have expected to be indexed: notes and sidecar files beside photos are
    as they should be.
    """
    if not counts.keys() - _NEVER_PICTURES:
        return None
    listed = (f"{count:,} {_NAMES[kind][count != 1]}" for kind, count in counts.items() if kind in _NAMES)
    return f"passed over: {', '.join(listed)}"
