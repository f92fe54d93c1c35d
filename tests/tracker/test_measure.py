"""Measures of masks, against the same on whole frames."""

from __future__ import annotations

import numpy as np
import pytest

from streamseg.tracker.measure import count_pixels, mask_iou, object_result, unseen
from streamseg.tracker.types import BoolMask, ObjectResult
from streamseg.worker.find.association import iou

SIZE = (64, 48)


def result_of(mask: BoolMask) -> ObjectResult:
    return object_result(1, SIZE, count_pixels(mask), iou_prediction=1.0, object_score_logits=9.0)


def noise(rng: np.random.Generator, share: float) -> BoolMask:
    """A box at random, of which a share is set."""
    (x0, x1), (y0, y1) = np.sort(rng.integers(0, 65, 2)), np.sort(rng.integers(0, 49, 2))
    mask = np.zeros(SIZE[::-1], np.bool_)
    mask[y0:y1, x0:x1] = rng.random((y1 - y0, x1 - x0)) < share
    return mask


def test_iou_is_that_of_whole_frames() -> None:
    rng = np.random.default_rng(5)
    seen = set()
    for _ in range(200):
        one, other = noise(rng, 0.9), noise(rng, 0.5)
        wanted = iou(one, other)
        assert mask_iou(result_of(one), result_of(other)) == pytest.approx(wanted)
        seen.add(wanted > 0)
    assert seen == {True, False}
    assert mask_iou(unseen(1, SIZE), unseen(2, SIZE)) == 0.0
