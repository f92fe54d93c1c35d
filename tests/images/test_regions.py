from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamseg.images.records import found_mask
from streamseg.images.regions import without_small_regions


def square(*, hole: int = 0, island: int = 0) -> NDArray[np.bool_]:
    mask = np.zeros((60, 80), dtype=np.bool_)
    mask[10:40, 10:40] = True
    mask[20 : 20 + hole, 20 : 20 + hole] = False
    mask[50 : 50 + island, 60 : 60 + island] = True
    return mask


def test_small_holes_and_islands_go_and_large_ones_stay() -> None:
    (cleaned,) = without_small_regions([found_mask(square(hole=3, island=4), 0.9)], 17, 0.7)
    np.testing.assert_array_equal(cleaned.mask, square())
    assert (cleaned.area, cleaned.box) == (900, (10, 10, 39, 39))
    large = found_mask(square(hole=5, island=5), 0.9)
    (same,) = without_small_regions([large], 17, 0.7)
    assert same is large


def test_the_largest_part_always_stays() -> None:
    mask = np.zeros((60, 80), dtype=np.bool_)
    mask[5:8, 5:8] = mask[20:22, 20:22] = True
    (cleaned,) = without_small_regions([found_mask(mask, 0.9)], 100, 0.7)
    assert (cleaned.area, cleaned.box) == (9, (5, 5, 7, 7))


def test_of_masks_that_become_duplicates_the_one_that_did_not_change_stays() -> None:
    changed, same = found_mask(square(island=4), 0.95), found_mask(square(), 0.9)
    other = found_mask(square(hole=8)[::-1, ::-1], 0.8)
    assert without_small_regions([changed, same, other], 17, 0.7) == [same, other]


def test_no_masks_stay_no_masks() -> None:
    assert without_small_regions([], 17, 0.7) == []
