from __future__ import annotations

import numpy as np

from training.cast import _cover, _enter, _leave, _twin
from training.material import Material, Picture
from training.motion import Shot

SHOT = Shot(frames=40, side_px=128, gap=0.5, squeeze=1.3)


def _square() -> Picture:
    return np.pad(np.full((30, 30, 4), 255, np.uint8), ((1, 1), (1, 1), (0, 0)))


def test_a_cover_comes_hides_the_object_and_goes() -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        hidden = _enter([_square()], rng, SHOT, 30.0)
        cover = _cover(hidden, Material(), rng, SHOT)
        distance = np.linalg.norm(cover.centers - hidden.centers, axis=1)
        assert distance[0] > 0.5 * hidden.extent_px, "the object is in sight at first"
        covered = distance < 1e-3
        assert 1 <= covered.sum() <= 31
        assert np.abs(np.diff(covered.astype(int))).sum() <= 2, "once, for a while"


def test_a_look_alike_may_cross_the_way_of_its_original() -> None:
    crossed = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        original = _enter([_square()], rng, SHOT, 30.0)
        twin = _twin(original, [_square()], 30.0, rng, SHOT)
        distance = np.linalg.norm(twin.centers - original.centers, axis=1)
        crossed += bool(distance.min() < 0.1 * distance[0] and distance[-1] > distance.min() + 5)
    assert 5 <= crossed <= 18


def test_an_object_that_leaves_is_away_for_thirty_frames_at_the_most() -> None:
    for seed in range(20):
        corners = np.full((40, 4, 2), 64, np.float32)
        _leave(corners, np.random.default_rng(seed), 128)
        away = corners[:, 0, 0] > 256
        assert not away[0]
        assert 1 <= away.sum() <= 30
