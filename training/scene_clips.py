"""Makes clips from the package's own generated scenes (``streamseg/sources/scene/source.py``).

Seed 0, the default of users and tests, is used for neither training nor validation.
"""

from __future__ import annotations

from typing import Final, get_args

import cv2
import numpy as np

from streamseg.sources.scene.source import Scene
from streamseg.sources.scene.spec import Preset
from training.clip import Clip

TRAINING_SEEDS: Final = range(1000, 1000 + (1 << 20))
HELD_OUT_SEEDS: Final = range(500, 1000)
_SIZE: Final = "320x180"
_LAST_FRAME: Final = 30 * 60
_LONGEST_STRIDE: Final = 20
_MIN_VISIBLE: Final = 0.003
_PRESETS: Final = get_args(Preset)


def compose_scene_clip(
    rng: np.random.Generator,
    *,
    frames: int,
    side_px: int,
    max_objects: int,
    gap: float,
    seeds: range = TRAINING_SEEDS,
) -> Clip:
    """Compose one clip, like ``compose_clip``; objects visible in its first frame have masks.

    The scene's seed is one of ``seeds``.
    """
    while True:
        preset = _PRESETS[rng.integers(len(_PRESETS))]
        seed = seeds[rng.integers(len(seeds))]
        crowd = f"&objects={rng.integers(2, 5)}" if preset in ("default", "simple") else ""
        scene = Scene(f"scene:{preset}?seed={seed}&size={_SIZE}&fps=30{crowd}")
        stride = min(_LONGEST_STRIDE, max(1, round(gap * float(rng.uniform(2, 10)))))
        first = int(rng.integers(_LAST_FRAME))
        times = [first + stride * t for t in range(frames)]
        truths = [scene.truth(n) for n in times]
        visible = [obj_id for obj_id, mask in truths[0].items() if mask.mean() > _MIN_VISIBLE]
        if visible:
            break
    chosen = rng.permutation(visible)[:max_objects]
    square = (side_px, side_px)
    pictures = [cv2.resize(scene.render(n), square, interpolation=cv2.INTER_AREA) for n in times]
    masks = [
        [cv2.resize(truth[obj_id].astype(np.uint8), square, interpolation=cv2.INTER_NEAREST) > 0 for truth in truths]
        for obj_id in chosen
    ]
    return Clip(np.stack(pictures), np.array(masks))
