"""The folders and files of a question, as the collection names them: by other letters, or through another name."""

from __future__ import annotations

from collections.abc import Sequence

from mmsearch.base.other_names import KnownNames
from mmsearch.base.records import ImageRecord
from mmsearch.store.catalog import Catalog


def folders(catalog: Catalog, paths: Sequence[str]) -> tuple[str, ...]:
    """The folders at absolute `paths` under the names that the collection has for them; each alone where it has none.

    A name with other letters than ASCII may be there in either normal form, or in both.
    """
    plain = {path for path in paths if path.isascii() and catalog.files.knows_below(path)}
    alike = catalog.files.folders_alike(frozenset(paths) - plain) if plain != set(paths) else {}
    others = KnownNames(catalog.roots.paths())
    found: dict[str, None] = {}
    for path in paths:
        found.update(dict.fromkeys([path] if path in plain else alike.get(path) or _elsewhere(catalog, path, others)))
    return tuple(found)


def image(catalog: Catalog, path: str) -> ImageRecord | None:
    """The indexed file that the user means by an absolute path; None where there is none."""
    found = catalog.files.at(path) or catalog.files.alike(path)
    if found is not None:
        return found
    other = KnownNames(catalog.roots.paths()).of(path)
    return catalog.files.at(other) or catalog.files.alike(other) if other else None


def _elsewhere(catalog: Catalog, path: str, others: KnownNames) -> list[str]:
    """A folder of which nothing is known by its own name: by another of its names, else as it is."""
    other = others.of(path)
    return [path] if other is None else catalog.files.folders_alike([other]).get(other, [path])
