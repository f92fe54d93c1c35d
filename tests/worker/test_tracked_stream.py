"""Prompts, new epochs and lost memory of one stream, with a real tracker."""

from __future__ import annotations

import numpy as np
import pytest

from streamseg.config.schema import PromptConfig, StreamConfig
from streamseg.frame import Frame, FrameFormat, FrameStamps
from streamseg.tracker.fixed import FixedMaskTracker
from streamseg.worker.tracked_stream import TrackedStream

BOX = PromptConfig(object=7, label="cup", box=(100, 100, 140, 150))


def frame(number: int, size: tuple[int, int] = (320, 180), epoch: int = 0) -> Frame:
    stamps = FrameStamps(1_700_000_000_000_000_000 + number, "arrival", 1000 + number, 2000 + number, number, (1, 30))
    planes = (np.zeros((size[1], 3 * size[0]), np.uint8),)
    return Frame(number, epoch, FrameFormat(*size, "rgb24"), planes, stamps)


class Follower:
    """What the worker does with one stream."""

    def __init__(self, policy: str = "keep", *, memory_lost: bool = False) -> None:
        config = StreamConfig(source="scene:simple", prompts=(BOX,), on_discontinuity=policy)
        self.tracker = FixedMaskTracker()
        self.stream = TrackedStream("cam", config, self.tracker, memory_lost=memory_lost)

    def feed(self, one: Frame) -> tuple[list[int], list[str]]:
        """Return the ids of the objects on the frame, and what happened."""
        self.stream.begin_frame(one)
        results = self.stream.finish_frame(one, self.tracker.track({"cam": one})["cam"])
        message = self.stream.message(one, results, 3000, dropped=0, slot=-1)
        return [obj.obj_id for obj in message.objects], [event.kind for event in self.stream.take_events()]


def test_prompts_apply_to_the_first_frame():
    follower = Follower()
    assert follower.feed(frame(0)) == ([7], ["object_added"])
    assert follower.feed(frame(1)) == ([7], [])


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("keep", ([7], [])),
        ("reset", ([], ["tracker_reset"])),
        ("reprompt", ([7], ["tracker_reset", "object_added"])),
    ],
)
def test_a_new_epoch_follows_the_policy(policy: str, expected: tuple[list[int], list[str]]):
    follower = Follower(policy)
    follower.feed(frame(0))
    assert follower.feed(frame(1, epoch=1)) == expected


def test_a_rejected_prompt_is_tried_again_when_the_size_changes():
    follower = Follower()
    assert follower.feed(frame(0, size=(20, 20))) == ([], ["prompt_rejected"])
    assert follower.feed(frame(1, size=(20, 20))) == ([], [])
    assert follower.feed(frame(2, epoch=1)) == ([7], ["object_added"])


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("keep", ([7], ["tracker_reset", "object_added"])),
        ("reset", ([], ["tracker_reset"])),
        ("reprompt", ([7], ["tracker_reset", "object_added"])),
    ],
)
def test_a_worker_that_follows_another_says_that_memory_is_lost(policy: str, expected: tuple[list[int], list[str]]):
    assert Follower(policy, memory_lost=True).feed(frame(500)) == expected
