"""How far two places on the Earth are from each other."""

from __future__ import annotations

import math

# Kilometres: the Earth's mean radius (IUGG).
EARTH_RADIUS = 6371.0088


def distance(
    latitude: float | None, longitude: float | None, other_latitude: float, other_longitude: float
) -> float | None:
    """Kilometres along a great circle between two places in degrees, by the haversine formula; None for no place.

    The Earth is no sphere: the error is below 0.6 %. SQL knows it as `distance_km`, and could not tell an exception in
    it from Ctrl-C: there is none for any numbers.
    """
    if latitude is None or longitude is None or not (math.isfinite(latitude) and math.isfinite(longitude)):
        return None
    from_, to = math.radians(latitude), math.radians(other_latitude)
    turn = math.radians(other_longitude - longitude)
    chord = math.sin((to - from_) / 2) ** 2 + math.cos(from_) * math.cos(to) * math.sin(turn / 2) ** 2
    return 2 * EARTH_RADIUS * math.asin(math.sqrt(min(1.0, chord)))
