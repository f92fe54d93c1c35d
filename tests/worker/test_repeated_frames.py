"""Frames that show what the last tracked one did: their masks are repeated, with a real tracker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from streamseg.config.schema import PromptConfig, StreamConfig
from streamseg.errors import FrameExpiredError
from streamseg.frame import Frame
from streamseg.ipc.commands import Command
from streamseg.ipc.messages import TrackedFrame
from streamseg.ipc.saved_prompts import normalize_prompt
from streamseg.tracker.simple.echo import EchoTracker
from streamseg.tracker.types import ObjectResult
from streamseg.worker.command_handlers import handle_command
from streamseg.worker.static_frames import SETTLED
from streamseg.worker.track_frames import track_frames
from streamseg.worker.tracked_stream import TrackedStream
from tests.worker.test_tracked_stream import BOX, OTHER, STILL, shown

CLICKED = PromptConfig(object=1, points=((0.5, 0.5),), coords="normalized")


class Repeater:
    """What the worker does with one stream whose static frames are not tracked; the tracker holds 4 frames."""

    def __init__(self, *, repeat_static: bool = True, **settings: object) -> None:
        self.config = StreamConfig(source="scene:simple", prompts=(BOX,), repeat_static=repeat_static, **settings)
        self.tracker = EchoTracker(history_frames=4)
        self.stream = TrackedStream("cam", self.config, self.tracker)

    def feed(self, one: Frame) -> TrackedFrame:
        (result,) = track_frames(self.tracker, {"cam": self.stream}, {"cam": one})
        return result.message(dropped=0, slot=-1)

    def feed_all(self, *numbers: int) -> list[int | None]:
        """Show the still picture; return which frame each repeats."""
        return [self.feed(shown(number)).repeats for number in numbers]

    def settle(self, first: int = 0, level: int = STILL, **fields: object) -> int:
        """Show a picture until it would be repeated; return the last number, of the frame that would be."""
        frames = [self.feed(shown(number, level, **fields)) for number in range(first, first + SETTLED + 1)]
        assert [frame.repeats for frame in frames] == [None] * len(frames)
        return frames[-1].frame_id

    def ask(self, op: str, args: str = "{}") -> dict[str, object]:
        outcome = handle_command(Command(number=1, op=op, stream="cam", args=args.encode()), {"cam": self.stream})
        assert outcome.error is None, outcome.error
        return msgspec.json.decode(outcome.result)


def test_nothing_is_repeated_unless_that_is_asked_for():
    repeater = Repeater(repeat_static=False)
    assert repeater.feed_all(*range(20)) == [None] * 20
    assert (repeater.stream.tracked, repeater.stream.repeated) == (20, 0)


def test_a_static_frame_repeats_the_last_tracked_one():
    repeater = Repeater()
    first = repeater.feed(shown(0, OTHER))
    rested = repeater.settle(1)
    assert rested == 1 + SETTLED
    repeated = repeater.feed(shown(rested + 2))
    assert (first.repeats, repeated.repeats, repeated.frame_id) == (None, rested, rested + 2)
    assert [(obj.obj_id, obj.label, obj.roi, obj.bits) for obj in repeated.objects] == [
        (obj.obj_id, obj.label, obj.roi, obj.bits) for obj in first.objects
    ]
    other = repeater.settle(rested + 3, OTHER)
    assert repeater.feed(shown(other + 1, OTHER)).repeats == other
    assert (repeater.stream.tracked, repeater.stream.repeated) == (3 + 2 * SETTLED, 2)


def test_a_frame_a_second_is_tracked_whatever_it_shows():
    repeater = Repeater()
    last = repeater.settle()
    second = last + 11
    wanted = [*[last] * 10, None, *[second] * 10, None, second + 11]
    assert repeater.feed_all(*range(last + 1, last + 24)) == wanted


@pytest.mark.parametrize("change", [{"epoch": 1}, {"size": (300, 180)}])
def test_another_epoch_or_size_is_tracked(change: dict[str, object]):
    repeater = Repeater()
    last = repeater.settle()
    assert repeater.feed(shown(last + 1)).repeats == last
    last = repeater.settle(last + 2, **change)
    assert repeater.feed(shown(last + 1, **change)).repeats == last


def test_the_first_frame_after_a_pause_is_tracked():
    repeater = Repeater()
    last = repeater.settle()
    repeater.stream.pause(True)
    paused = repeater.feed(shown(last + 1))
    assert (paused.paused, paused.repeats, paused.objects) == (True, None, [])
    repeater.stream.pause(False)
    last = repeater.settle(last + 2)
    assert repeater.feed(shown(last + 1)).repeats == last
    assert (repeater.stream.tracked, repeater.stream.repeated) == (2 + 2 * SETTLED, 1)


def test_the_first_frame_after_a_reset_is_tracked():
    repeater = Repeater()
    last = repeater.settle()
    repeater.ask("reset")
    last = repeater.settle(last + 1)
    assert repeater.feed(shown(last + 1)).repeats == last


def test_the_setting_changes_while_the_stream_runs():
    repeater = Repeater(repeat_static=False)
    repeater.feed_all(*range(10))
    repeater.stream.change(msgspec.structs.replace(repeater.config, repeat_static=True), (), ())
    last = repeater.settle(10)
    assert repeater.feed_all(last + 1) == [last]
    repeater.stream.change(repeater.config, (), ())
    assert repeater.feed_all(last + 2, last + 3) == [None, None]


def test_prompts_that_wait_are_applied_to_a_frame_that_is_tracked():
    repeater = Repeater()
    next_id = 1 + repeater.settle()
    answer = repeater.ask("set_prompts", '{"prompts": [{"object_id": 9, "points": [[0.5, 0.5]]}]}')
    assert {name: answer[name] for name in ("kept", "prompted", "removed")} == {
        "kept": [],
        "prompted": [9],
        "removed": [7],
    }
    assert answer["frame"] is None  # of the next one
    assert answer["marks"] == [{"object_id": 9, "points_px": [[160.0, 90.0, 1.0]], "box_px": None}]
    prompted = repeater.feed(shown(next_id))
    assert (prompted.repeats, [obj.obj_id for obj in prompted.objects]) == (None, [9])
    last = next_id + SETTLED
    assert repeater.feed_all(*range(next_id + 1, last + 1)) == [None] * SETTLED
    repeated = repeater.feed(shown(last + 1))
    assert (repeated.repeats, [obj.obj_id for obj in repeated.objects]) == (last, [9])


def test_masks_settle_again_after_a_prompt():
    repeater = Repeater()
    number = 1 + repeater.settle()
    changes: list[Callable[[], object]] = [
        lambda: repeater.stream.objects.add_prompt(8, "new", normalize_prompt(CLICKED), None),
        lambda: repeater.stream.objects.add_prompt(7, "", normalize_prompt(CLICKED), number - 1),
        lambda: repeater.stream.objects.undo_prompt(7),
    ]
    for change in changes:
        assert repeater.feed(shown(number)).repeats is not None
        change()
        tracked = [repeater.feed(shown(number + step)).repeats for step in range(1, 1 + SETTLED)]
        assert tracked == [None] * SETTLED
        number += 1 + SETTLED


def test_repeated_frames_show_removals_and_names():
    repeater = Repeater()
    last = repeater.settle()
    repeater.stream.objects.label(7, "mug")
    repeated = repeater.feed(shown(last + 1))
    assert (repeated.repeats, [obj.label for obj in repeated.objects]) == (last, ["mug"])
    repeater.stream.objects.remove(7)
    repeated = repeater.feed(shown(last + 2))
    assert (repeated.repeats, repeated.objects) == (last, [])


def test_a_prompt_on_a_repeated_frame_names_the_frame_that_was_prompted():
    repeater = Repeater()
    last = repeater.settle()
    assert repeater.feed_all(last + 1, last + 2) == [last, last]
    newest = last + 3
    repeater.feed(shown(newest, OTHER))
    click = '{"points": [[0.5, 0.5]], "frame": %d, "preview": %s}'
    for frame_id, meant in [(last - 1, last - 1), *[(last + step, last) for step in range(3)], (newest, newest)]:
        for preview in ("true", "false"):
            answer = repeater.ask("add_prompt", click % (frame_id, preview))
            assert (answer["frame"], answer["newest"]) == (meant, newest)
    answer = repeater.ask("add_prompt", '{"points": [[0.5, 0.5]], "preview": true}')
    assert answer["frame"] == newest


def test_a_snapshot_is_of_the_frame_that_was_tracked():
    repeater = Repeater()
    last = repeater.settle()
    repeater.feed_all(last + 1, last + 2)
    snapshot = repeater.ask("snapshot")
    assert (snapshot["frame"], snapshot["t_wall_ns"]) == (last, str(shown(last).stamps.t_wall_ns))
    assert repeater.ask("list")["streams"][0]["frame"] == last


def test_a_repeated_frame_expires_with_the_one_that_it_repeats():
    repeater = Repeater()
    last = repeater.settle()
    gone = last + 1
    assert repeater.feed(shown(gone)).repeats == last
    for step in range(1, 5):
        repeater.feed(shown(gone + step, OTHER if step % 2 else STILL))
    held = f"frame {gone} of stream 'cam' is not held: frames {gone + 1} to {gone + 4} are"
    with pytest.raises(FrameExpiredError, match=held):
        repeater.stream.objects.add_prompt(8, "", normalize_prompt(CLICKED), gone)


class SeenNever(EchoTracker):
    """Its objects are hidden."""

    def _locate(self, *args: Any) -> ObjectResult:
        return replace(super()._locate(*args), object_score_logits=-5.0)


def test_an_object_that_is_not_seen_is_lost_in_time_while_its_frame_is_repeated():
    lost_at = SETTLED + 6
    repeater = Repeater(lost_after_s=lost_at / 10)
    repeater.tracker = SeenNever()
    repeater.stream = TrackedStream("cam", repeater.config, repeater.tracker)
    states = [repeater.feed(shown(number)).objects[0].state for number in range(lost_at + 2)]
    assert states == ["occluded"] * lost_at + ["lost"] * 2
    assert repeater.stream.tracked == 1 + SETTLED
    lost = [event for event in repeater.stream.take_events() if event.kind == "object_lost"]
    assert [event.frame_id for event in lost] == [lost_at]
