"""The color of each object: the same in every picture, process and browser."""

from __future__ import annotations

from typing import Final

PALETTE: Final[tuple[tuple[int, int, int], ...]] = (
    (86, 180, 233),
    (230, 159, 0),
    (204, 121, 167),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (190, 190, 190),
)
"""Okabe and Ito's colors, which are distinct for any color vision, in an order that suits natural scenes; RGB."""


def color_of(obj_id: int) -> tuple[int, int, int]:
    """Return an object's color, RGB."""
    return PALETTE[(obj_id - 1) % len(PALETTE)]
