from __future__ import annotations

import numpy as np

from streamseg.frame import Frame, FrameFormat, FrameStamps
from streamseg.tracker.simple.echo import EchoTracker
from streamseg.tracker.types import Point, Prompt

STAMPS = FrameStamps(0, "file", 0, 0, None, (1, 25))


def blank(width: int, height: int) -> Frame:
    """A frame without planes: the tracker does not look at them."""
    return Frame(0, 0, FrameFormat(width, height, "yuv420p"), (), STAMPS)


def tracking(width: int = 64, height: int = 48) -> EchoTracker:
    tracker = EchoTracker()
    tracker.open_stream("cam")
    tracker.track({"cam": blank(width, height)})
    return tracker


def test_the_mask_comes_back_on_every_frame():
    mask = np.random.default_rng(0).random((48, 64)) < 0.1
    tracker = tracking()
    tracker.add_prompt("cam", Prompt(1, mask=mask))
    given = mask.copy()
    mask[:] = True  # the caller's array is the caller's
    for _ in range(3):
        (result,) = tracker.track({"cam": blank(64, 48)})["cam"]
        assert np.array_equal(result.full_mask, given)
        assert result.area == given.sum()


def test_the_mask_grows_and_shrinks_with_the_frame():
    tracker = tracking()
    tracker.add_prompt("cam", Prompt(1, box=(16, 12, 32, 36)))
    (larger,) = tracker.track({"cam": blank(128, 96)})["cam"]
    assert (larger.size, larger.roi) == ((128, 96), (32, 24, 32, 48))
    (back,) = tracker.track({"cam": blank(64, 48)})["cam"]
    assert back.roi == (16, 12, 16, 24)


def test_clicks_correct_the_mask_at_its_present_size():
    tracker = tracking()
    tracker.add_prompt("cam", Prompt(1, box=(16, 12, 32, 36)))
    tracker.track({"cam": blank(128, 96)})
    result = tracker.add_prompt("cam", Prompt(1, points=(Point(48, 48, label=0), Point(100, 10)))).current
    mask = result.full_mask
    assert mask.shape == (96, 128)
    assert (mask[48, 48], mask[10, 100], mask[30, 40]) == (False, True, True)
