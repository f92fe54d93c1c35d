from __future__ import annotations

import numpy as np
import pytest

from training.clip import Clip, compose_clip
from training.material import Material, Photo


def _clip(seed: int, frames: int = 5, gap: float = 2.0, material: Material | None = None) -> Clip:
    rng = np.random.default_rng(seed)
    return compose_clip(material or Material(), rng, frames=frames, side_px=96, max_objects=3, gap=gap)


def test_a_clip_depends_on_its_seed_alone() -> None:
    first, again, other = _clip(1), _clip(1), _clip(2)
    np.testing.assert_array_equal(first.frames, again.frames)
    np.testing.assert_array_equal(first.masks, again.masks)
    assert (first.frames != other.frames).any()


@pytest.mark.parametrize("seed", range(12))
def test_masks_are_exact_partitions_and_start_visible(seed: int) -> None:
    clip = _clip(seed)
    assert clip.frames.shape == (5, 96, 96, 3)
    assert clip.masks.shape[1:] == (5, 96, 96)
    assert 1 <= len(clip.masks) <= 3
    assert clip.masks[:, 0].any(axis=(1, 2)).all()
    assert clip.masks.sum(axis=0).max() <= 1, "a pixel shows one object at the most"


def test_objects_move_leave_and_return() -> None:
    clips = [_clip(seed) for seed in range(40)]
    visible = np.concatenate([clip.masks.any(axis=(2, 3)) for clip in clips])
    left = ~visible.all(axis=1)
    returned = [any(row[i] and not row[:i].all() for i in range(1, 5)) for row in visible]
    assert 0.03 < left.mean() < 0.6
    assert any(returned)
    moved = [(clip.masks[:, 0] != clip.masks[:, 1]).any() for clip in clips]
    assert np.mean(moved) > 0.9


def test_objects_vanish_where_nothing_covers_them() -> None:
    rng = np.random.default_rng(3)
    parts = [
        compose_clip(Material(), rng, frames=6, side_px=96, max_objects=3, gap=0.3, vanish_share=1.0) for _ in range(12)
    ]
    visible = np.concatenate([clip.masks.any(axis=(2, 3)) for clip in parts])
    assert visible[:, 0].all()
    assert (~visible).any(axis=1).mean() > 0.8
    assert (~visible.all(axis=1) & visible[:, -1]).any()


def test_a_longer_gap_moves_objects_further() -> None:
    def overlap(gap: float) -> float:
        clips = [_clip(seed, frames=2, gap=gap) for seed in range(30)]
        return float(np.mean([(m[0] & m[1]).sum() / (m[0] | m[1]).sum() for clip in clips for m in clip.masks]))

    assert overlap(0.3) > overlap(4.0) + 0.1


def test_objects_in_their_natural_place_are_followed() -> None:
    rgb = np.full((120, 160, 3), 90, np.uint8)
    mask = np.zeros((120, 160), np.uint8)
    mask[40:80, 60:110] = 255
    rgb[mask > 0] = (220, 30, 30)
    material = Material(photos=[Photo(rgb, [mask])])
    clips = [_clip(seed, material=material, gap=0.5) for seed in range(12)]
    assert all(clip.masks[:, 0].any() for clip in clips)


def test_an_object_shows_its_views_one_after_another() -> None:
    colors = [(250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0)]
    views = [np.full((40, 40, 4), (*color, 255), np.uint8) for color in colors]
    material = Material(turns=[views])
    clips = [_clip(seed, frames=12, material=material) for seed in range(12)]
    changes = []
    for clip in clips:
        for mask in clip.masks:
            hues = [clip.frames[t][mask[t]].mean(0).argmax() for t in range(12) if mask[t].any()]
            changes.append(len(set(hues)) > 1)
    assert any(changes)


def test_a_long_clip_keeps_most_of_its_objects_in_sight() -> None:
    clips = [_clip(seed, frames=60, gap=1.0) for seed in range(12)]
    visible = np.concatenate([clip.masks.any(axis=(2, 3)) for clip in clips])
    assert 0.6 < visible.mean() < 0.97
    assert visible[:, -1].mean() > 0.5
