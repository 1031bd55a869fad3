"""Which kind of index a collection gets, by its size. All thresholds are here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

KindName = Literal["flat", "ivf-sq8", "ivf-sq4"]
KIND_NAMES: tuple[KindName, ...] = ("flat", "ivf-sq8", "ivf-sq4")

# Vectors. A flat index reads all of its float16 codes for each query: 50 ms for 50,000 x 512 on one core, cold from
# disk.
FLAT_LIMIT = 50_000

# Vectors. Up to here 8 bits a dimension (0.5 kB a vector of 512) are cheap beside the catalog's 1 kB; beyond, 4 bits
# halve the file, and re-ranking with the catalog's embeddings makes up for what they lose.
SQ8_LIMIT = 4_000_000

# Lists for each square root of the number of vectors: between 1 and 4 costs about the same; 4 makes lists short, so
# that a cold query reads little.
_LISTS_A_ROOT = 4

# Vectors that train each list's centroid. k-means gains nothing visible past 40.
TRAINING_A_LIST = 40

SEED = 1234


@dataclass(frozen=True, slots=True)
class Kind:
    """An index kind: its name and, for inverted lists, their number (0 for flat)."""

    name: KindName
    lists: int = 0

    def __str__(self) -> str:
        return f"{self.name} with {self.lists:,} lists" if self.lists else self.name


def choose(count: int, name: KindName | None = None) -> Kind:
    """The kind for `count` vectors; `name` forces it (with as many lists as suit the count)."""
    chosen = name or ("flat" if count <= FLAT_LIMIT else "ivf-sq8" if count <= SQ8_LIMIT else "ivf-sq4")
    if chosen == "flat":
        return Kind("flat")
    lists = 2 ** round(math.log2(max(1.0, _LISTS_A_ROOT * math.sqrt(count))))
    return Kind(chosen, max(1, min(lists, count // TRAINING_A_LIST or 1)))
