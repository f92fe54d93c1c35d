"""A minute of the demo's scene, offline, against its exact truth: what the first user sees must be right.

The goal is an IoU of 0.85 and at most 1 % of the object-frames with a mask that lies mostly on another object.
Measured (2026-11-30, float32): 0.886 and none. nano's fourth weights had 0.874 and 0.3 %, 0.814 without the colors of
edges, 0.576 and 21.5 % without those of whole objects.
"""

from __future__ import annotations

import pytest
from quality_arms import tracker_arm
from quality_videos import follow, scene_video

from tests.nano_networks import NANO_ON_OPENVINO

SECONDS = 60
MIN_IOU = 0.85
MAX_ON_ANOTHER = 0.01


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("nano_networks")
def test_nano_holds_the_objects_of_the_demo_for_a_minute() -> None:
    """900 frames, each object marked by a box, as the demo marks them."""
    arm = tracker_arm("nano", threads=1, engine=NANO_ON_OPENVINO.engine, dtype=NANO_ON_OPENVINO.dtype)
    arm.warm_up()
    score, observed = follow(scene_video("scene:default", SECONDS), arm, "box")
    assert (score.objects, score.frames) == (3, 900)
    assert score.iou >= MIN_IOU
    assert score.identity <= MAX_ON_ANOTHER
    assert all("confidence" in one.scores for one in observed)
