"""Specks and holes of masks."""

from __future__ import annotations

import numpy as np
import pytest

from streamseg.tracker.measure import count_pixels, object_result
from streamseg.tracker.types import BoolMask, ObjectResult
from streamseg.worker.mask_cleanup import cleaned


def result_of(mask: BoolMask) -> ObjectResult:
    size = (mask.shape[1], mask.shape[0])
    return object_result(4, size, count_pixels(mask), iou_prediction=0.8, object_score_logits=3.0, confidence=0.7)


def drawn() -> BoolMask:
    """A square of 20x20 with a hole of 9 pixels and a bay, and specks of 4 and 30 pixels."""
    mask = np.zeros((60, 80), np.bool_)
    mask[10:30, 10:30] = True
    mask[15:18, 15:18] = False
    mask[10:13, 20:23] = False
    mask[40:42, 50:52] = True
    mask[50:55, 70:76] = True
    return mask


@pytest.mark.parametrize("smallest", [0, 1, 4])
def test_masks_without_small_parts_are_unchanged(smallest: int) -> None:
    result = result_of(drawn())
    assert cleaned(result, smallest) is result


def test_specks_and_holes_go_and_the_measures_follow() -> None:
    wanted = drawn()
    wanted[40:42, 50:52] = False
    wanted[15:18, 15:18] = True
    found = cleaned(result_of(drawn()), 10)
    assert np.array_equal(found.full_mask, wanted)
    assert found.area == wanted.sum()
    assert found.roi == (10, 10, 66, 45)
    assert (found.iou_prediction, found.object_score_logits, found.confidence) == (0.8, 3.0, 0.7)
    assert cleaned(found, 100).roi == (10, 10, 20, 20)


def test_the_largest_part_stays_however_small_it_is() -> None:
    mask = np.zeros((20, 20), np.bool_)
    mask[3:5, 3:5] = True
    mask[10, 10] = True
    found = cleaned(result_of(mask), 1000)
    assert (found.area, found.roi) == (4, (3, 3, 2, 2))
    empty = result_of(np.zeros((20, 20), np.bool_))
    assert cleaned(empty, 1000) is empty


def test_every_mask_keeps_exactly_its_large_parts() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        mask = rng.random((24, 24)) < 0.6
        once = cleaned(result_of(mask), 6)
        assert cleaned(once, 6).area == once.area
        assert once.full_mask.any()
