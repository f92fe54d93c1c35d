"""A minute of the demo's scene, offline, against its exact truth: what the first user sees must be right.

The goal is an IoU of 0.85 and at most 1 % of the object-frames with a mask that lies mostly on another object. Measured
(2026-11-30): 0.884 and none. With nano's fourth weights it was 0.874 and 0.3 %, without the colors of edges
0.814, without those of whole objects 0.576 and 21.5 %.
"""

from __future__ import annotations

import pytest
from quality_arms import tracker_arm
from quality_videos import follow, scene_video

SECONDS = 60
MIN_IOU = 0.85
MAX_ON_ANOTHER = 0.01


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_nano_holds_the_objects_of_the_demo_for_a_minute() -> None:
    """900 frames, each object marked by a box, as the demo marks them."""
    score, observed = follow(
        scene_video("scene:default", SECONDS), tracker_arm("nano", threads=1, dtype="float32"), "box"
    )
    assert (score.objects, score.frames) == (3, 900)
    assert score.iou >= MIN_IOU
    assert score.identity <= MAX_ON_ANOTHER
    assert all("confidence" in one.scores for one in observed)
