"""The grid of points and the crops of a picture, as in ``sam2/utils/amg.py``."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamseg.images.parameters import AutomaticParameters, PointGrids


class Crop(NamedTuple):
    """A part of a picture: x0, y0, x1, y1 in pixels (x1, y1 exclusive), and its layer (0 is the whole picture)."""

    x0: int
    y0: int
    x1: int
    y1: int
    layer: int

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return self.x1 - self.x0, self.y1 - self.y0


def point_grids(values: AutomaticParameters) -> PointGrids:
    """Return the points of each layer, ``float64 [N, 2]`` in 0..1."""
    if values.points_per_side is None:
        grids: PointGrids = values.point_grids
        return grids
    factor = values.crop_n_points_downscale_factor
    sides = [int(values.points_per_side / factor**layer) for layer in range(values.crop_n_layers + 1)]
    return [_grid(side) for side in sides]


def crops(size: tuple[int, int], layers: int, overlap_ratio: float) -> list[Crop]:
    """Return the whole picture of (width, height) and its crops, layer by layer."""
    width, height = size
    found = [Crop(0, 0, width, height, 0)]
    for layer in range(1, layers + 1):
        count = 2**layer
        overlap = int(overlap_ratio * min(size) * (2 / count))
        crop_w, crop_h = (math.ceil((overlap * (count - 1) + length) / count) for length in size)
        lefts, tops = ([(side - overlap) * place for place in range(count)] for side in (crop_w, crop_h))
        found += [
            Crop(x, y, min(x + crop_w, width), min(y + crop_h, height), layer)
            for x, y in itertools.product(lefts, tops)
            if x < width and y < height  # tiny pictures: a crop without pixels
        ]
    return found


def _grid(side: int) -> NDArray[np.float64]:
    """Return the centers of ``side ** 2`` equal cells, row by row. A side of 0 has no points."""
    if side == 0:
        return np.zeros((0, 2))
    offset = 1 / (2 * side)
    line = np.linspace(offset, 1 - offset, side)
    return np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
