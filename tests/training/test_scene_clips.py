from __future__ import annotations

import numpy as np
import pytest

from training.scene_clips import compose_scene_clip


@pytest.mark.parametrize("seed", range(8))
def test_masks_are_exact_partitions_and_start_visible(seed: int) -> None:
    clip = compose_scene_clip(np.random.default_rng(seed), frames=3, side_px=64, max_objects=2, gap=2.0)
    assert clip.frames.shape == (3, 64, 64, 3)
    assert clip.frames.dtype == np.uint8
    assert 1 <= len(clip.masks) <= 2
    assert clip.masks.shape[1:] == (3, 64, 64)
    assert clip.masks[:, 0].any(axis=(1, 2)).all()
    assert clip.masks.sum(axis=0).max() <= 1


def test_a_clip_depends_on_its_seed_alone() -> None:
    def clip(seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        return compose_scene_clip(rng, frames=2, side_px=64, max_objects=2, gap=1.0).frames

    np.testing.assert_array_equal(clip(1), clip(1))
    assert (clip(1) != clip(2)).any()
