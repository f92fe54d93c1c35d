"""The colour of each object: the same in every picture, every process and every browser."""

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
"""Okabe and Ito's colours, told apart with any colour vision, in an order that suits pictures of nature; RGB."""


def colour_of(obj_id: int) -> tuple[int, int, int]:
    """Return an object's colour, RGB."""
    return PALETTE[(obj_id - 1) % len(PALETTE)]
