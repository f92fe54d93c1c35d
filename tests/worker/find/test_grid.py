from __future__ import annotations

import numpy as np

from streamseg.config.schema import AreaConfig
from streamseg.worker.find.grid import GRID, allowed_cells, deepest_point, free_points, to_grid

LEFT = AreaConfig(polygon=((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)), coords="normalized")


def test_a_mask_of_any_size_keeps_its_share():
    mask = np.zeros((360, 640), np.bool_)
    mask[90:270, 160:480] = True
    assert abs(float(to_grid(mask).mean()) - 0.25) < 0.01
    assert to_grid(mask[::6, ::6]).tolist() == to_grid(mask).tolist()


def test_objects_are_found_in_the_region_but_not_where_it_is_ignored():
    size = (640, 360)
    assert allowed_cells((), (), size).all()
    assert abs(float(allowed_cells((LEFT,), (), size).mean()) - 0.5) < 0.02
    top = AreaConfig(polygon=((0, 0), (640, 0), (640, 180), (0, 180)))
    assert abs(float(allowed_cells((LEFT,), (top,), size).mean()) - 0.25) < 0.02


def test_points_lie_in_free_cells_and_every_other_look_between_them():
    free = np.ones((GRID, GRID), np.bool_)
    free[:, : GRID // 2] = False
    points = free_points(12, free)
    assert len(points) == 72
    assert min(x for x, _ in points) > 0.5
    assert not set(points) & set(free_points(12, free, shifted=True))


def test_the_deepest_point_is_inside_the_mask():
    mask = np.zeros((GRID, GRID), np.bool_)
    mask[10:40, 10:90] = True
    mask[10:90, 10:20] = True
    x, y = deepest_point(mask)
    assert mask[int(y * GRID), int(x * GRID)]
    assert abs(y * GRID - 25) < 3
