from __future__ import annotations

import itertools

import numpy as np
import torch
from sam2.utils.amg import is_box_near_crop_edge

from streamseg.images.crops import Crop
from streamseg.images.parameters import parameters
from streamseg.images.selection import Filter


def test_masks_cut_off_by_a_crop_are_the_reference_s() -> None:
    crop, size = Crop(100, 0, 300, 200, 1), (400, 210)
    keep = Filter(parameters(), crop, size)
    sides = (0, 10, 19, 20, 21, 60)
    boxes = [(left, top, 199 - right, 199 - bottom) for left, top, right, bottom in itertools.product(sides, repeat=4)]
    wanted = is_box_near_crop_edge(torch.tensor(boxes), list(crop[:4]), [0, 0, *size])
    given = np.array([keep._is_cut_off(box) for box in boxes])
    assert 0 < given.sum() < len(boxes)
    np.testing.assert_array_equal(given, wanted.numpy())
