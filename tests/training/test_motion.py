from __future__ import annotations

import numpy as np

from training.motion import BEND_MARGIN, bend, bends, fold, path, view_order


def test_bending_starts_from_the_true_shape_and_stays_inside_its_margin() -> None:
    for seed in range(20):
        bent = bends(np.random.default_rng(seed), frames=6, gap=3.0)
        assert not bent[0].any()
        assert bent[1:].any()
        assert np.abs(bent).max() <= BEND_MARGIN


def test_a_bent_picture_keeps_its_size_and_its_pixels() -> None:
    rgba = np.zeros((60, 40, 4), np.uint8)
    rgba[20:40, 10:30] = 255
    still = bend(rgba, np.zeros((3, 3, 2), np.float32))
    np.testing.assert_array_equal(still, rgba)
    moved = bend(rgba, np.full((3, 3, 2), 0.1, np.float32))  # everything by a tenth of 60 pixels
    np.testing.assert_array_equal(moved[14:34, 4:24], rgba[20:40, 10:30])


def test_folding_reflects_at_both_limits() -> None:
    values = np.array([0.0, 1.0, 1.5, 2.5, -0.25, -1.5], np.float32)
    np.testing.assert_allclose(fold(values, 0.0, 1.0), [0.0, 1.0, 0.5, 0.5, 0.25, 0.5], atol=1e-6)


def test_a_path_starts_at_zero_and_is_smooth() -> None:
    way = path(np.random.default_rng(0), frames=60, step=1.0, wobble=0.0)
    assert way.shape == (60, 2)
    assert not way[0].any()
    velocity = np.diff(way, axis=0)
    assert np.abs(np.diff(velocity, axis=0)).mean() < 0.5 * np.abs(velocity).mean()


def test_views_follow_each_other_there_and_back() -> None:
    order = view_order(np.random.default_rng(1), frames=200, views=10, gap=1.0)
    assert order.min() == 0
    assert order.max() == 9
    assert np.abs(np.diff(order)).max() == 1
