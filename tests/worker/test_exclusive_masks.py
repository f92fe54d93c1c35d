"""Each pixel belongs to one object."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from streamseg.tracker.measure import count_pixels, object_result
from streamseg.tracker.types import ObjectResult
from streamseg.worker.exclusive_masks import exclusive

SIZE = (40, 30)


def _square(obj_id: int, x: int, *, side: int = 10, iou: float = 0.9, confidence: float | None = 0.9) -> ObjectResult:
    mask = np.zeros((SIZE[1], SIZE[0]), np.bool_)
    mask[5 : 5 + side, x : x + side] = True
    part = count_pixels(mask)
    return object_result(obj_id, SIZE, part, iou_prediction=iou, object_score_logits=4.0, confidence=confidence)


def _exclusive(*results: ObjectResult) -> dict[int, ObjectResult]:
    return exclusive({result.obj_id: result for result in results})


def test_the_more_trusted_object_keeps_the_pixels() -> None:
    first, second = _square(1, 5, confidence=0.6), _square(2, 10, confidence=0.8)
    found = _exclusive(first, second)
    assert list(found) == [1, 2]
    assert found[2] is second
    assert (found[1].area, found[1].roi) == (50, (5, 5, 5, 10))
    assert (found[1].confidence, found[1].iou_prediction) == (0.6, 0.9)


def test_no_pixel_has_two_objects_and_none_is_lost() -> None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        given = [
            _square(n, int(rng.integers(0, 28)), side=int(rng.integers(3, 12)), confidence=float(rng.random()))
            for n in range(1, 6)
        ]
        masks = [result.full_mask for result in _exclusive(*given).values()]
        assert sum(mask.astype(int) for mask in masks).max() <= 1
        np.testing.assert_array_equal(np.any(masks, axis=0), np.any([result.full_mask for result in given], axis=0))


def test_a_mask_inside_another_may_vanish() -> None:
    found = _exclusive(_square(1, 5), _square(2, 7, side=4, confidence=0.2))
    assert (found[2].area, found[2].roi) == (0, (0, 0, 0, 0))


def test_without_a_confidence_the_predicted_iou_decides_and_then_the_order() -> None:
    plain = [_square(1, 5, iou=0.5, confidence=None), _square(2, 10, iou=0.7, confidence=None)]
    assert [result.area for result in _exclusive(*plain).values()] == [50, 100]
    equal = [replace(result, iou_prediction=0.7) for result in plain]
    assert [result.area for result in _exclusive(*equal).values()] == [100, 50]


def test_objects_apart_stay_as_they_are() -> None:
    apart = [_square(1, 2), _square(2, 20)]
    assert list(_exclusive(*apart).values()) == apart
    assert exclusive({}) == {}
