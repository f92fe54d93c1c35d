from __future__ import annotations

import math

import numpy as np
import pytest
from quality_metrics import (
    BoolMask,
    boundary,
    boundary_accuracy,
    expected_calibration_error,
    ranking_quality,
    region_similarity,
)


def _box(top: int, left: int, side: int, shape: tuple[int, int] = (100, 120)) -> BoolMask:
    mask = np.zeros(shape, np.bool_)
    mask[top : top + side, left : left + side] = True
    return mask


EMPTY = np.zeros((100, 120), np.bool_)


def test_j_of_known_masks() -> None:
    assert region_similarity(_box(10, 10, 20), _box(10, 10, 20)) == 1
    assert region_similarity(_box(10, 10, 20), _box(10, 20, 20)) == pytest.approx(1 / 3)
    assert region_similarity(_box(10, 10, 20), _box(60, 60, 20)) == 0
    assert region_similarity(EMPTY, _box(10, 10, 20)) == 0
    assert region_similarity(EMPTY, EMPTY) == 1


def test_f_of_known_masks() -> None:
    # The diagonal is 156.2: boundaries agree up to ceil(1.25) = 2 pixels apart.
    truth = _box(20, 20, 30)
    assert boundary_accuracy(truth, truth) == 1
    assert boundary_accuracy(_box(20, 22, 30), truth) == 1
    assert boundary_accuracy(_box(60, 80, 30), truth) == 0
    assert boundary_accuracy(EMPTY, truth) == boundary_accuracy(truth, EMPTY) == 0
    assert boundary_accuracy(EMPTY, EMPTY) == 1


def test_f_of_a_shift_by_more_than_the_tolerance() -> None:
    # Shifted right by 10: the two upright sides lose each other, but for 2 pixels at each end; 20 of 30 columns of the
    # horizontal sides, and 2 more, still lie over each other.
    truth, shifted = _box(20, 20, 30), _box(20, 30, 30)
    assert 0.3 < boundary_accuracy(shifted, truth) < 0.5
    assert boundary_accuracy(shifted, truth, tolerance=10) == 1


def test_the_boundary_is_one_pixel_wide_and_ends_at_the_edge() -> None:
    # Rows and columns just before and at the end of the square: 4 sides of 10, and the corner outside.
    assert np.count_nonzero(boundary(_box(30, 30, 10))) == 4 * 10
    whole = np.ones((100, 120), np.bool_)
    assert not boundary(whole).any()


def test_f_equals_a_slow_computation_by_definition() -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        masks = [_box(*rng.integers(2, 20, 2), int(rng.integers(4, 18)), (40, 44)) for _ in range(2)]
        masks[1] ^= rng.random(masks[1].shape) < 0.01
        reach = math.ceil(0.008 * math.hypot(40, 44) + 2)
        points = [np.argwhere(boundary(mask)) for mask in masks]
        apart = np.sqrt(((points[0][:, None] - points[1][None]) ** 2).sum(-1))
        precision, recall = (apart.min(1) <= reach).mean(), (apart.min(0) <= reach).mean()
        slow = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        assert boundary_accuracy(masks[0], masks[1], tolerance=reach) == pytest.approx(slow)


def test_ranking_equals_a_count_of_all_pairs() -> None:
    rng = np.random.default_rng(1)
    scores, good = rng.integers(0, 12, 80) / 12, rng.random(80) < 0.6
    pairs = scores[good][:, None] - scores[~good][None]
    assert ranking_quality(scores, good) == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())


def test_a_score_that_is_the_probability_is_calibrated() -> None:
    rng = np.random.default_rng(2)
    scores = rng.random(100_000)
    assert expected_calibration_error(scores, rng.random(100_000) < scores) < 0.01
    assert expected_calibration_error(np.ones(10), np.zeros(10, np.bool_)) == 1
