"""The color of each object: the same in every picture, process, program and browser.

The mapping is part of the public contract (docs/protocol.md): object ``id`` has ``PALETTE[(id - 1) % 20]``.
"""

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
    (153, 34, 34),
    (187, 255, 221),
    (51, 17, 238),
    (136, 119, 255),
    (153, 68, 119),
    (187, 221, 255),
    (204, 221, 153),
    (187, 68, 51),
    (119, 0, 187),
    (153, 187, 119),
    (136, 34, 136),
    (221, 17, 204),
)
"""RGB. The first eight are Okabe and Ito's. Each of the others is the color of a grid (16 levels a channel, OKLab
lightness from 0.45 to 0.95) that is farthest from all before it. The distance of two colors is the smallest of their
OKLab distances under normal vision, protanopia, deuteranopia and tritanopia, simulated after Machado et al., 2009."""


def color_of(obj_id: int) -> tuple[int, int, int]:
    """Return an object's color, RGB."""
    return PALETTE[(obj_id - 1) % len(PALETTE)]
