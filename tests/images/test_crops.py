from __future__ import annotations

import numpy as np
import pytest
from sam2.utils.amg import build_all_layer_point_grids, generate_crop_boxes

from streamseg.images.crops import crops, point_grids
from streamseg.images.parameters import parameters


@pytest.mark.parametrize("size", [(1280, 720), (333, 777), (100, 100)])
@pytest.mark.parametrize("ratio", [0.0, 512 / 1500, 0.7])
def test_crops_are_the_reference_s(size: tuple[int, int], ratio: float) -> None:
    boxes, layers = generate_crop_boxes(size[::-1], 3, ratio)
    given = crops(size, 3, ratio)
    assert [list(crop[:4]) for crop in given] == boxes
    assert [crop.layer for crop in given] == layers


def test_every_crop_has_pixels() -> None:
    for size in ((1, 1), (2, 9), (5, 3)):
        assert all(min(crop.size) > 0 for crop in crops(size, 3, 0.3))


def test_grids_are_the_reference_s() -> None:
    values = parameters({"points_per_side": 13, "crop_n_layers": 2, "crop_n_points_downscale_factor": 3})
    for ours, theirs in zip(point_grids(values), build_all_layer_point_grids(13, 2, 3), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-15)


def test_a_layer_may_have_no_points() -> None:
    grids = point_grids(parameters({"points_per_side": 3, "crop_n_layers": 2, "crop_n_points_downscale_factor": 2}))
    assert [len(grid) for grid in grids] == [9, 1, 0]
