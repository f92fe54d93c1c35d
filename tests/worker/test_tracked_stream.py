"""Prompts, new epochs and lost memory of one stream, with a real tracker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from streamseg.config.schema import LineConfig, PromptConfig, StreamConfig
from streamseg.errors import PromptError
from streamseg.frame import Frame, FrameFormat, FrameStamps
from streamseg.ipc.commands import Command
from streamseg.ipc.saved_prompts import configured
from streamseg.tracker.measure import unseen
from streamseg.tracker.simple.echo import EchoTracker
from streamseg.tracker.types import ObjectResult
from streamseg.worker import stream_objects
from streamseg.worker.command_handlers import handle_command
from streamseg.worker.inheritance import Inheritance
from streamseg.worker.track_frames import track_frames
from streamseg.worker.tracked_stream import TrackedStream

BOX = PromptConfig(object=7, label="cup", box=(100, 100, 140, 150))


STILL, OTHER = 60, 200
"""Two pictures, as the level of all their pixels."""


def frame(number: int, size: tuple[int, int] = (320, 180), epoch: int = 0) -> Frame:
    stamps = FrameStamps(1_700_000_000_000_000_000 + number, "arrival", 1000 + number, 2000 + number, number, (1, 30))
    planes = (np.zeros((size[1], 3 * size[0]), np.uint8),)
    return Frame(number, epoch, FrameFormat(*size, "rgb24"), planes, stamps)


def shown(number: int, level: int = STILL, *, epoch: int = 0, size: tuple[int, int] = (320, 180)) -> Frame:
    """A frame of a file at 10 frames a second."""
    stamps = FrameStamps(1_700_000_000_000_000_000 + number, "file", 1000 + number, 2000 + number, number, (1, 10))
    planes = (np.full((size[1], 3 * size[0]), level, np.uint8),)
    return Frame(number, epoch, FrameFormat(*size, "rgb24"), planes, stamps)


class Follower:
    """What the worker does with one stream."""

    def __init__(self, policy: str = "keep", *, memory_lost: bool = False) -> None:
        config = StreamConfig(source="scene:simple", prompts=(BOX,), on_discontinuity=policy)
        self.tracker = EchoTracker()
        left = Inheritance(configured((BOX,)), memory_lost)
        self.stream = TrackedStream("cam", config, self.tracker, left=left)

    def feed(self, one: Frame) -> tuple[list[int], list[str]]:
        """Return the ids of the objects on the frame, and what happened."""
        (result,) = track_frames(self.tracker, {"cam": self.stream}, {"cam": one})
        return [obj.obj_id for obj in result.objects], [event.kind for event in self.stream.take_events()]


def test_prompts_apply_to_the_first_frame():
    follower = Follower()
    assert follower.feed(frame(0)) == ([7], ["object_added"])
    assert follower.feed(frame(1)) == ([7], [])


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("keep", ([7], [])),
        ("reset", ([], ["tracker_reset", "object_removed"])),
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
        ("keep", ([7], ["tracker_reset", "object_lost"])),
        ("reset", ([], ["tracker_reset", "object_removed"])),
        ("reprompt", ([7], ["tracker_reset", "object_added"])),
    ],
)
def test_a_worker_that_follows_another_says_that_memory_is_lost(policy: str, expected: tuple[list[int], list[str]]):
    assert Follower(policy, memory_lost=True).feed(frame(500)) == expected


def test_a_frame_is_finished_once_and_only_while_it_is_the_newest():
    stream, tracker = Follower().stream, EchoTracker()
    tracker.open_stream("cam")
    older, newer = stream.begin_frame(frame(0)), stream.begin_frame(frame(1))
    results = tracker.track({"cam": frame(1)})["cam"]
    with pytest.raises(RuntimeError, match="frame 0 of 'cam' is finished, or a later one was begun"):
        older.finish(results)
    with pytest.raises(RuntimeError, match="frame 1 of 'cam' was finished without results"):
        newer.finish()
    newer.finish(results)
    with pytest.raises(RuntimeError, match="is finished"):
        newer.finish(results)


def test_prompts_that_wait_while_paused_survive_a_new_epoch():
    follower = Follower()
    follower.stream.pause(True)
    assert follower.feed(frame(0)) == ([], [])
    assert follower.feed(frame(1, epoch=1)) == ([], [])
    follower.stream.pause(False)
    assert follower.feed(frame(2, epoch=1)) == ([7], ["object_added"])


@pytest.mark.parametrize(("policy", "gone"), [("reprompt", []), ("reset", [7])])
def test_a_reset_lists_its_objects_and_says_which_are_gone(policy: str, gone: list[int]):
    follower = Follower(policy)
    follower.feed(frame(0))
    (result,) = track_frames(follower.tracker, {"cam": follower.stream}, {"cam": frame(1, epoch=1)})
    assert [obj.obj_id for obj in result.objects] == [obj_id for obj_id in (7,) if obj_id not in gone]
    events = follower.stream.take_events()
    assert (events[0].kind, events[0].objects) == ("tracker_reset", [7])
    assert [event.obj_id for event in events if event.kind == "object_removed"] == gone
    stamps = [event.t_mono_ns for event in events]
    assert stamps == sorted(stamps)


@pytest.mark.parametrize(("policy", "gone"), [("keep", []), ("reset", [7])])
def test_a_new_worker_lists_the_objects_of_the_one_before(policy: str, gone: list[int]):
    follower = Follower(policy, memory_lost=True)
    list(track_frames(follower.tracker, {"cam": follower.stream}, {"cam": frame(0)}))
    events = follower.stream.take_events()
    assert (events[0].kind, events[0].objects) == ("tracker_reset", [7])
    assert [event.obj_id for event in events if event.kind == "object_removed"] == gone


def test_exclusive_masks_share_no_pixel_and_others_may():
    other = PromptConfig(object=8, label="lid", box=(120, 110, 170, 160))
    areas = {}
    for overlap in ("allowed", "exclusive"):
        config = StreamConfig(source="scene:simple", prompts=(BOX, other), overlap=overlap)
        tracker = EchoTracker()
        stream = TrackedStream("cam", config, tracker)
        for number in range(2):  # the prompted frame, and one that is tracked
            (result,) = track_frames(tracker, {"cam": stream}, {"cam": frame(number)})
            areas[overlap, number] = sum(obj.area for obj in result.objects)
    assert areas["allowed", 0] == areas["allowed", 1] == 40 * 50 + 50 * 50
    assert areas["exclusive", 0] == areas["exclusive", 1] == 40 * 50 + 50 * 50 - 20 * 40


class _Doubting(EchoTracker):
    """Is unsure of every mask from frame 10 on."""

    def track(self, frames: dict[str, Frame]) -> dict[str, list[ObjectResult]]:
        found = super().track(frames)
        sure = all(one.frame_id < 10 for one in frames.values())
        return {
            stream: [replace(one, confidence=0.9 if sure else 0.1) for one in held] for stream, held in found.items()
        }


def test_an_object_becomes_uncertain_and_its_mask_is_still_sent():
    config = StreamConfig(source="scene:simple", prompts=(BOX,), uncertain_below=0.5, uncertain_after_s=0.5)
    tracker = _Doubting()
    stream = TrackedStream("cam", config, tracker)
    states, events = [], []
    for number in range(20):  # 10 a second
        (result,) = track_frames(tracker, {"cam": stream}, {"cam": shown(number)})
        states.append(result.objects[0].state)
        events += [event.kind for event in stream.take_events()]
        assert result.objects[0].area == 40 * 50
    assert states == ["tracked"] * 14 + ["uncertain"] * 6
    assert events == ["object_added", "object_uncertain"]
    assert result.objects[0].confidence == 0.1


class _Vanishing(EchoTracker):
    """Sees object 7 on the first frame only; the other objects always."""

    def track(self, frames: dict[str, Frame]) -> dict[str, list[ObjectResult]]:
        found = super().track(frames)
        return {
            stream: [unseen(one.obj_id, one.size) if one.obj_id == 7 else one for one in held]
            for stream, held in found.items()
        }


def _with_a_lost_object() -> tuple[_Vanishing, TrackedStream]:
    other = PromptConfig(object=8, label="lid", box=(120, 110, 170, 160))
    config = StreamConfig(source="scene:simple", prompts=(BOX, other), lost_after_s=0.2)
    tracker = _Vanishing()
    stream = TrackedStream("cam", config, tracker)
    for number in range(6):
        (result,) = track_frames(tracker, {"cam": stream}, {"cam": shown(number)})
    assert [obj.state for obj in result.objects] == ["lost", "tracked"]
    stream.take_events()
    return tracker, stream


def test_a_lost_object_stays_lost_after_an_error_of_the_tracker():
    tracker, stream = _with_a_lost_object()
    stream.fail(shown(6), "broken", RuntimeError("broken"))
    stream._retry_at = 0.0
    for number in (7, 8):
        (result,) = track_frames(tracker, {"cam": stream}, {"cam": shown(number)})
        assert {obj.obj_id: obj.state for obj in result.objects} == {7: "lost", 8: "tracked"}
    assert [event.kind for event in stream.take_events()] == ["tracking_failed", "object_added"]
    outcome = handle_command(
        Command(number=1, op="add_prompt", stream="cam", args=b'{"object_id": 7, "points": [[0.5, 0.5]]}'),
        {"cam": stream},
    )
    assert outcome.error is None
    assert stream.objects.missing == set()


def test_a_lost_object_stays_lost_after_a_planned_restart_without_its_memory():
    _, stream = _with_a_lost_object()
    saved = stream.save_for_planned_restart()
    assert (saved.planned, saved.unseen) == (True, (7,))
    tracker = EchoTracker()
    successor = TrackedStream("cam", stream.config, tracker, left=Inheritance(saved, memory_lost=True))
    (result,) = track_frames(tracker, {"cam": successor}, {"cam": shown(0)})
    assert {obj.obj_id: obj.state for obj in result.objects} == {7: "lost", 8: "tracked"}
    after = successor.take_saved()
    assert after is not None
    assert not after.planned


def test_a_reset_says_that_missing_objects_are_removed():
    follower = Follower(memory_lost=True)
    follower.feed(frame(0))
    follower.stream.reset("requested")
    assert follower.feed(frame(1)) == ([], ["tracker_reset", "object_removed"])


def test_what_is_removed_before_the_first_frame_is_reported_once():
    follower = Follower(memory_lost=True)
    follower.stream.objects.remove(7)
    assert follower.feed(frame(0)) == ([], ["object_removed"])


def test_an_object_that_others_cover_stays_tracked_and_keeps_its_mask_for_the_tracker():
    inner = PromptConfig(object=8, label="lid", box=(110, 110, 120, 120))
    config = StreamConfig(source="scene:simple", prompts=(BOX, inner), overlap="exclusive", lost_after_s=0.2)
    tracker = EchoTracker()
    stream = TrackedStream("cam", config, tracker)
    for number in range(6):
        (result,) = track_frames(tracker, {"cam": stream}, {"cam": shown(number)})
    assert {obj.obj_id: (obj.state, obj.area) for obj in result.objects} == {7: ("tracked", 2000), 8: ("tracked", 0)}
    assert [event.kind for event in stream.take_events()] == ["object_added", "object_added"]
    saved = stream.save_for_planned_restart()
    assert saved.unseen == ()
    assert all(obj.last_mask is not None for obj in saved.objects)


def test_slivers_that_a_cut_leaves_are_cleaned_up():
    across = PromptConfig(object=8, label="lid", box=(98, 110, 170, 130))  # 2 columns are left of the cup
    config = StreamConfig(source="scene:simple", prompts=(BOX, across), overlap="exclusive", mask_cleanup=100)
    tracker = EchoTracker()
    (result,) = track_frames(tracker, {"cam": TrackedStream("cam", config, tracker)}, {"cam": shown(0)})
    assert [obj.area for obj in result.objects] == [2000, 30 * 20]


def test_masks_are_refined_once_for_many_changes(monkeypatch: pytest.MonkeyPatch):
    refined: list[list[int]] = []

    def exclusive(results: Mapping[int, ObjectResult]) -> dict[int, ObjectResult]:
        refined.append([*results])
        return dict(results)

    monkeypatch.setattr(stream_objects, "exclusive", exclusive)
    prompts = tuple(PromptConfig(object=n, box=(100, 100, 140, 150)) for n in (1, 2, 3, 4))
    config = StreamConfig(source="scene:simple", prompts=prompts, overlap="exclusive")
    tracker = EchoTracker()
    stream = TrackedStream("cam", config, tracker)
    list(track_frames(tracker, {"cam": stream}, {"cam": shown(0)}))
    stream.objects.replace((1, 2, 3), ())
    assert stream.latest is not None
    assert [*stream.latest.results] == [4]
    assert refined == [[1, 2, 3, 4], [4]]


def test_set_prompts_that_find_nothing_are_refused_before_anything_is_removed():
    stage = Follower()
    stage.feed(frame(0))
    tracker = stage.tracker

    def ask(**args: object):
        command = Command(1, "set_prompts", "cam", msgspec.json.encode(args))
        return handle_command(command, {"cam": stage.stream})

    def refuse(*args: object, **more: object) -> None:
        raise PromptError("object 9: nothing is there")

    tracker.preview = refuse  # type: ignore[method-assign, assignment]
    refused = ask(prompts=[{"object_id": 9, "points": [[0.5, 0.5]]}])
    assert refused.error is not None
    assert refused.error.code == "BAD_PROMPT"
    assert stage.feed(frame(1)) == ([7], [])


def test_an_object_whose_new_prompt_is_refused_late_goes_on_as_before(monkeypatch: pytest.MonkeyPatch):
    tracker = EchoTracker()
    stream = TrackedStream("cam", StreamConfig(source="scene:simple", prompts=(BOX,)), tracker, max_objects=4)
    track_frames_once(tracker, stream, 0)
    before = stream.objects.table.objects[7]
    args = msgspec.json.encode({"prompts": [{"object_id": 7, "label": "new", "points": [[0.1, 0.1]]}]})
    assert handle_command(Command(1, "set_prompts", "cam", args), {"cam": stream}).error is None

    def refuse(*args: object, **more: object) -> None:
        raise PromptError("object 7: nothing is there")

    with monkeypatch.context() as refusing:
        refusing.setattr(tracker, "add_prompt", refuse)
        stream.take_events()
        assert track_frames_once(tracker, stream, 1) == {7: (100, 100, 40, 50)}
    (rejected, *_) = stream.take_events()
    assert (rejected.kind, rejected.detail) == (
        "prompt_rejected",
        "object 7: nothing is there; the object goes on as before",
    )
    assert stream.objects.table.objects == {7: before}
    assert track_frames_once(tracker, stream, 2) == {7: (100, 100, 40, 50)}


def track_frames_once(tracker: EchoTracker, stream: TrackedStream, number: int) -> dict[int, tuple[int, ...]]:
    (result,) = track_frames(tracker, {"cam": stream}, {"cam": frame(number)})
    return {obj.obj_id: obj.roi for obj in result.objects}


@pytest.mark.parametrize(("shown", "from_mask"), [(0, True), (200, False)])
def test_after_a_reconnect_reprompt_prefers_masks_where_the_picture_agrees(shown: int, from_mask: bool):
    follower = Follower("reprompt")
    follower.feed(frame(0))
    args = msgspec.json.encode({"object_id": 7, "box": [20, 20, 60, 60], "coords": "pixels"})
    assert handle_command(Command(1, "add_prompt", "cam", args), {"cam": follower.stream}).error is None
    follower.stream.objects.table.save(configured((BOX,)).objects[0])  # the marks are old, the object has moved
    follower.feed(frame(1))
    changed = frame(2, epoch=1)
    changed.planes[0][:] = shown
    (result,) = track_frames(follower.tracker, {"cam": follower.stream}, {"cam": changed})
    assert [obj.roi for obj in result.objects] == [(20, 20, 40, 40) if from_mask else (100, 100, 40, 50)]
    reset = follower.stream.take_events()[-2]
    assert reset.kind == "tracker_reset"
    assert reset.detail.endswith("objects 7 start from their last masks: the picture agrees there") == from_mask


@pytest.mark.parametrize("policy", ["keep", "reprompt"])
@pytest.mark.parametrize(("epoch", "crossed"), [(0, True), (1, False)], ids=["same epoch", "new epoch"])
def test_an_object_that_jumps_at_a_new_epoch_crosses_no_line(policy: str, epoch: int, crossed: bool):
    follower = Follower(policy)
    gate = LineConfig(start=(200, 180), end=(200, 0))
    follower.stream.change(msgspec.structs.replace(follower.stream.config, lines={"gate": gate}), (), ())
    follower.feed(frame(0))
    args = b'{"object_id": 7, "box": [0.8, 0.5, 0.9, 0.7]}'  # the echo tracker's object is where its box is
    assert handle_command(Command(1, "add_prompt", "cam", args), {"cam": follower.stream}).error is None
    _, events = follower.feed(frame(1, epoch=epoch))
    assert ("line_crossed" in events) == crossed
