"""The contract of the trackers without a network, tested on both."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from streamseg.errors import FrameExpiredError, NothingToUndoError, PromptError, StreamsegError
from streamseg.frame import Frame, FrameFormat, FrameStamps
from streamseg.tracker.simple.color import ColorTracker
from streamseg.tracker.simple.echo import EchoTracker
from streamseg.tracker.simple.prompt_mask import prompt_mask
from streamseg.tracker.types import Point, Prompt, Tracker

STAMPS = FrameStamps(0, "file", 0, 0, None, (1, 25))
BOX = Prompt(1, box=(10, 10, 30, 30))


def frame(width: int = 96, height: int = 64, frame_id: int = 0, epoch: int = 0) -> Frame:
    """Gray with a red square on it."""
    picture = np.full((height, width, 3), 120, dtype=np.uint8)
    picture[10:30, 10:30] = (220, 20, 20)
    return Frame(frame_id, epoch, FrameFormat(width, height, "rgb24"), (picture.reshape(height, -1),), STAMPS)


@pytest.fixture(params=[EchoTracker, ColorTracker])
def tracker(request) -> Tracker:
    made: Tracker = request.param(max_objects=2, history_frames=6, undo_depth=2)
    made.open_stream("cam")
    return made


def test_a_stream_without_prompts_has_no_objects(tracker):
    assert tracker.track({"cam": frame()}) == {"cam": []}


def test_objects_come_in_order_of_age(tracker):
    tracker.track({"cam": frame()})
    tracker.add_prompt("cam", Prompt(7, box=(10, 10, 30, 30)))
    tracker.add_prompt("cam", Prompt(3, box=(12, 12, 28, 28)))
    tracker.add_prompt("cam", Prompt(7, points=(Point(20, 20),)))
    assert [result.obj_id for result in tracker.track({"cam": frame()})["cam"]] == [7, 3]


def test_prompt_and_next_frame_agree(tracker):
    tracker.track({"cam": frame()})
    prompted = tracker.add_prompt("cam", BOX).current
    (tracked,) = tracker.track({"cam": frame()})["cam"]
    assert np.array_equal(prompted.full_mask, tracked.full_mask)
    assert prompted.roi == (10, 10, 20, 20)
    assert prompted.area == 400
    assert prompted.centroid == (19.5, 19.5)
    assert prompted.object_score_logits > 0


def test_streams_do_not_share_objects(tracker):
    tracker.open_stream("other")
    tracker.track({"cam": frame(), "other": frame()})
    tracker.add_prompt("other", BOX)
    results = tracker.track({"cam": frame(), "other": frame()})
    assert [len(results[name]) for name in ("cam", "other")] == [0, 1]
    tracker.close_stream("other")
    tracker.close_stream("never opened")
    with pytest.raises(StreamsegError, match="stream 'other' is not open"):
        tracker.track({"other": frame()})


def test_a_prompt_needs_a_frame(tracker):
    for stream in ("cam", "unknown"):
        with pytest.raises(PromptError, match=f"stream '{stream}' has no frame yet"):
            tracker.add_prompt(stream, BOX)


def test_max_objects_is_a_limit_and_removal_makes_room(tracker):
    tracker.track({"cam": frame()})
    tracker.add_prompt("cam", BOX)
    tracker.add_prompt("cam", Prompt(2, box=(10, 10, 30, 30)))
    with pytest.raises(PromptError, match=r"already has 2 objects: remove one, or raise model\.max_objects"):
        tracker.add_prompt("cam", Prompt(3, box=(10, 10, 30, 30)))
    tracker.add_prompt("cam", BOX)
    tracker.remove_object("cam", 2)
    tracker.add_prompt("cam", Prompt(3, box=(10, 10, 30, 30)))
    for obj_id in (2, 99):
        with pytest.raises(PromptError, match=f"has no object {obj_id}"):
            tracker.remove_object("cam", obj_id)


def test_reset_forgets_all_objects(tracker):
    tracker.track({"cam": frame()})
    tracker.add_prompt("cam", BOX)
    tracker.reset("cam")
    assert tracker.track({"cam": frame()}) == {"cam": []}
    with pytest.raises(PromptError, match="no object 1"):
        tracker.undo_prompt("cam", 1)
    tracker.reset("never opened")


def test_a_frame_from_before_a_reset_can_be_prompted(tracker):
    tracker.track({"cam": frame()})
    tracker.reset("cam")
    assert tracker.add_prompt("cam", BOX).current.area == 400


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (Prompt(1, mask=np.ones((10, 10), np.bool_)), r"the mask is bool \(10, 10\): expected bool \(64, 96\)"),
        (Prompt(1, mask=np.zeros((64, 96), np.bool_)), "the mask is empty"),
        (Prompt(1, points=(Point(97, 5),)), r"\(97, 5\) is outside the frame, which is 96x64"),
        (Prompt(1, points=(Point(5, -1),)), "outside"),
        (Prompt(1, box=(96, 0, 120, 10)), "outside"),
        (Prompt(1, points=(Point(5, 5, label=0),)), "needs one on it"),
    ],
)
def test_prompts_that_cannot_be_applied(tracker, prompt, message):
    tracker.track({"cam": frame()})
    with pytest.raises(PromptError, match=f"object 1: .*{message}"):
        tracker.add_prompt("cam", prompt)
    assert tracker.track({"cam": frame()}) == {"cam": []}


def test_the_newest_frames_can_be_prompted(tracker):
    for frame_id in range(10):
        tracker.track({"cam": frame(frame_id=frame_id)})
    for ask in (tracker.add_prompt, tracker.preview):
        with pytest.raises(FrameExpiredError, match=r"frame 3 .*frames 4 to 9"):
            ask("cam", BOX, 3)
        with pytest.raises(PromptError, match="not tracked yet"):
            ask("cam", BOX, 10)
    result = tracker.add_prompt("cam", BOX, 4)
    assert (result.frame_id, result.prompted.area, result.current.area) == (4, 400, 400)
    tracker.track({"cam": frame(frame_id=10, epoch=1)})
    with pytest.raises(FrameExpiredError, match="frames 10 to 10"):
        tracker.add_prompt("cam", BOX, 9)


def test_a_preview_changes_nothing(tracker):
    tracker.track({"cam": frame()})
    assert tracker.preview("cam", BOX).prompted.area == 400
    assert tracker.track({"cam": frame()}) == {"cam": []}
    tracker.add_prompt("cam", BOX)
    tracker.preview("cam", Prompt(1, box=(50, 40, 60, 50)))
    (kept,) = tracker.track({"cam": frame()})["cam"]
    assert kept.roi == (10, 10, 20, 20)
    assert tracker.undo_prompt("cam", 1) is None  # the preview was no prompt


def test_a_prompt_on_a_frame_that_repeats_another_applies_to_that_one(tracker):
    tracker.track({"cam": frame(frame_id=3)})
    tracker.repeat("cam", 4)
    tracker.repeat("cam", 5)
    assert tracker.preview("cam", BOX, 5).frame_id == 3
    assert tracker.add_prompt("cam", BOX, 4).frame_id == 3
    tracker.track({"cam": frame(frame_id=6)})
    assert tracker.preview("cam", BOX, 5).frame_id == 3
    assert tracker.preview("cam", BOX).frame_id == 6


def test_undo_takes_back_the_last_prompt(tracker):
    tracker.track({"cam": frame(frame_id=0)})
    tracker.add_prompt("cam", BOX)
    tracker.track({"cam": frame(frame_id=1)})
    tracker.add_prompt("cam", Prompt(1, box=(50, 40, 60, 50)))
    for frame_id in (2, 3):
        tracker.track({"cam": frame(frame_id=frame_id)})
    undone = tracker.undo_prompt("cam", 1)
    assert (undone.frame_id, undone.prompted.roi, undone.current.roi) == (1, (10, 10, 20, 20), (10, 10, 20, 20))
    assert tracker.track({"cam": frame(frame_id=4)})["cam"][0].roi == (10, 10, 20, 20)
    assert tracker.undo_prompt("cam", 1) is None
    assert tracker.track({"cam": frame(frame_id=5)}) == {"cam": []}
    for stream in ("cam", "unknown"):
        with pytest.raises(PromptError, match="no object 1"):
            tracker.undo_prompt(stream, 1)


def test_undo_has_a_depth_and_outlives_the_prompted_frame(tracker):
    for frame_id in range(3):
        tracker.track({"cam": frame(frame_id=frame_id)})
        tracker.add_prompt("cam", BOX)
    for frame_id in range(3, 12):
        tracker.track({"cam": frame(frame_id=frame_id)})
    for _ in range(2):
        undone = tracker.undo_prompt("cam", 1)
        assert (undone.frame_id, undone.current.area) == (6, 400)
    with pytest.raises(NothingToUndoError, match="last 2 prompts"):
        tracker.undo_prompt("cam", 1)
    assert len(tracker.track({"cam": frame(frame_id=12)})["cam"]) == 1


def test_warm_up_says_that_it_is_done(tracker):
    shares: list[float] = []
    tracker.warm_up(lambda what, share: shares.append(share))
    assert shares[-1] == 1.0


def test_prompts_are_drawn_as_masks():
    size = (100, 50)
    box = prompt_mask(Prompt(1, box=(-5, 10, 20.5, 200)), size)
    assert box.sum() == 21 * 40
    assert prompt_mask(Prompt(1, box=(3.2, 4.1, 3.4, 4.2)), size).sum() == 1
    disc = prompt_mask(Prompt(1, points=(Point(30, 20),)), size)
    assert disc[20, 30]
    assert 9 <= disc.sum() <= 21
    corrected = prompt_mask(Prompt(1, points=(Point(10, 20, label=0), Point(60, 20))), size, present=box)
    assert not corrected[20, 10]
    assert corrected[20, 60]
    assert corrected[40, 10]
    assert box[20, 10], "the present mask was changed"


def test_trackers_without_a_network_load_no_torch():
    code = "import sys, streamseg.tracker.simple.echo, streamseg.tracker.simple.color; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


@pytest.mark.parametrize("obj_id", [None, "cup", 1.5, -1, 0, 2**31, True])
def test_what_is_not_an_object_id_is_refused(obj_id):
    with pytest.raises(PromptError, match="give a whole number from 1 to 2147483647"):
        Prompt(obj_id, points=(Point(5, 5),))
