"""A minute of the demo's scene, offline, against its exact truth: what the first user sees must be right.

The goal is an IoU of 0.85 and no mask that lies mostly on another object. The weights that ship do not reach it: the
levels asserted here are what they hold, so that nothing makes them worse unnoticed. Raise them with better weights.
"""

from __future__ import annotations

import pytest
from quality_arms import tracker_arm
from quality_videos import follow, scene_video

SECONDS = 60
LEAST_IOU = 0.60
MOST_ON_ANOTHER = 0.15


@pytest.mark.slow
def test_nano_holds_the_objects_of_the_demo_for_a_minute() -> None:
    """900 frames, each object marked by a box, as the demo marks them."""
    score, observed = follow(scene_video("scene:default", SECONDS), tracker_arm("nano", dtype="float32"), "box")
    assert (score.objects, score.frames) == (3, 900)
    assert score.iou >= LEAST_IOU
    assert score.identity <= MOST_ON_ANOTHER
    doubtful = [one for one in observed if one.iou <= 0.5]
    assert all("confidence" in one.scores for one in observed)
    if doubtful:  # where a mask is wrong, the confidence says so more often than not
        assert sum(one.scores["confidence"] < 0.5 for one in doubtful) > len(doubtful) / 2
