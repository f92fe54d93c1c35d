"""What happens to objects when the worker does not keep up."""

from __future__ import annotations

import msgspec
import pytest

from streamseg.config.schema import PromptConfig, StreamConfig
from streamseg.errors import DeviceError
from streamseg.ipc.commands import Command
from streamseg.protocol.published import Overload
from streamseg.tracker.simple.echo import EchoTracker
from streamseg.worker import tracked_stream
from streamseg.worker.command_handlers import handle_command
from streamseg.worker.inheritance import Inheritance
from streamseg.worker.overload import OverloadMeter
from streamseg.worker.track_frames import track_frames
from streamseg.worker.tracked_stream import TrackedStream
from tests.worker.test_tracked_stream import frame

PROMPTS = tuple(PromptConfig(object=obj_id, box=(20 * obj_id, 20, 20 * obj_id + 15, 60)) for obj_id in (1, 2, 3))


class Meter:
    def __init__(self) -> None:
        self.meter = OverloadMeter()
        self.now = self.frames = self.dropped = 0
        self.tracked, self.suspended = 3, 0

    def run(self, seconds: int, share: float, rate: int = 30) -> list[str]:
        """Let time pass; return what is to be done, and do it."""
        done: list[str] = []
        for _ in range(seconds):
            self.now, self.frames, self.dropped = self.now + 1, self.frames + rate, self.dropped + int(rate * share)
            relief = self.meter.update(
                self.now,
                frames=self.frames,
                dropped=self.dropped,
                can_do_less=self.tracked > 1,
                can_do_more=self.suspended > 0,
            )
            if relief is not None:
                done.append(relief)
                step = 1 if relief == "less" else -1
                self.tracked, self.suspended = self.tracked - step, self.suspended + step
        return done


def test_objects_are_suspended_until_one_is_left() -> None:
    rig = Meter()
    assert rig.run(40, share=0.6) == ["less", "less"]
    assert (rig.tracked, rig.meter.overloaded) == (1, True)


def test_a_short_burst_of_drops_is_not_an_overload() -> None:
    rig = Meter()
    assert rig.run(4, share=0.0) == rig.run(1, share=0.9) == rig.run(60, share=0.0) == []


def test_a_camera_that_is_away_does_not_end_an_overload() -> None:
    rig = Meter()
    assert "less" in rig.run(40, share=0.6)
    assert rig.run(60, share=0.0, rate=0) == []
    assert "more" in rig.run(20, share=0.0)


def test_resuming_too_early_doubles_the_wait() -> None:
    rig = Meter()
    rig.run(40, share=0.6)
    waits = []
    for _ in range(3):
        seconds = 0
        while not rig.run(1, share=0.0):
            seconds += 1
            assert seconds < 300
        waits.append(seconds)
        assert "less" in rig.run(10, share=0.6)
    assert waits[1] > 1.4 * waits[0]
    assert waits[2] > 1.4 * waits[1]


class Rig:
    def __init__(self, policy: str = "oldest_objects", tracker: EchoTracker | None = None) -> None:
        self.tracker = EchoTracker(max_objects=3) if tracker is None else tracker
        config = StreamConfig(source="scene:simple", prompts=PROMPTS, overload=policy)
        self.stream = TrackedStream("cam", config, self.tracker, max_objects=3)
        self.number = self.frames = self.dropped = 0
        self.now = 0.0

    def show(self) -> dict[int, tuple[str, int]]:
        self.number += 1
        (result,) = track_frames(self.tracker, {"cam": self.stream}, {"cam": frame(self.number)})
        return {obj.obj_id: (obj.state, obj.area) for obj in result.objects}

    def run(self, seconds: int, share: float) -> None:
        for _ in range(seconds):
            self.now, self.frames, self.dropped = self.now + 1, self.frames + 30, self.dropped + int(30 * share)
            self.stream.overload.measure(self.frames, self.dropped, tracking=self.stream.tracking)
            self.show()

    def ask(self, op: str, **args: object):
        outcome = handle_command(Command(1, op, "cam", msgspec.json.encode(args)), {"cam": self.stream})
        return outcome.error or msgspec.json.decode(outcome.result)

    def events(self) -> list[tuple[str, int | None]]:
        return [(event.kind, event.obj_id) for event in self.stream.take_events()]


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    made = Rig()
    monkeypatch.setattr(tracked_stream.time, "monotonic", lambda: made.now)
    made.show()
    made.events()
    return made


def test_the_newest_objects_are_suspended_and_come_back(rig: Rig) -> None:
    whole = rig.show()
    rig.run(40, share=0.6)
    assert rig.events() == [("object_suspended", 3), ("object_suspended", 2)]
    assert rig.show() == {1: whole[1], 2: ("suspended", 0), 3: ("suspended", 0)}
    assert rig.stream.overload.published() == Overload("oldest_objects", 0.6, [2, 3])
    states = [entry["state"] for entry in rig.ask("list")["streams"][0]["objects"]]
    assert states == ["tracked", "suspended", "suspended"]
    rig.run(60, share=0.0)
    assert rig.events() == [("object_resumed", 2), ("object_resumed", 3)]
    assert rig.show() == whole
    assert rig.stream.overload.published() is None


def test_a_lower_rate_suspends_nothing_and_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig("lower_rate")
    monkeypatch.setattr(tracked_stream.time, "monotonic", lambda: rig.now)
    whole = rig.show()
    rig.run(40, share=0.6)
    assert rig.show() == whole
    assert rig.stream.overload.published() == Overload("lower_rate", 0.6, [])


def test_requests_about_suspended_objects(rig: Rig) -> None:
    rig.run(40, share=0.6)
    full = rig.ask("add_prompt", points=[[0.5, 0.5]])
    assert full.code == "BAD_PROMPT"
    assert "2 of them suspended" in full.message
    rig.events()
    assert rig.ask("remove_object", object_id=3) == {}
    assert rig.events() == [("object_removed", 3)]
    assert rig.ask("undo")["object_ids"] == [3]
    assert rig.show()[3][0] == "tracked"
    assert rig.ask("add_prompt", object_id=2, points=[[0.5, 0.5]])["new"] is False
    assert rig.show()[2][0] == "tracked"
    rig.run(40, share=0.6)
    rig.events()
    rig.ask("reset")
    assert "object_resumed" not in [kind for kind, _ in rig.events()]
    assert rig.show() == {}
    assert rig.ask("undo")["object_ids"] == [1, 2, 3]
    assert {state for state, _ in rig.show().values()} == {"tracked"}


def test_another_policy_resumes_all(rig: Rig) -> None:
    rig.run(40, share=0.6)
    rig.stream.change(msgspec.structs.replace(rig.stream.config, overload="lower_rate"), (), ())
    assert {state for state, _ in rig.show().values()} == {"tracked"}


def test_suspended_objects_come_back_with_another_model(rig: Rig) -> None:
    whole = rig.show()
    rig.run(40, share=0.6)
    rig.events()
    saved = rig.stream.save_for_planned_restart()
    assert saved.unseen == ()
    assert rig.events() == [("object_resumed", 2), ("object_resumed", 3)]
    tracker = EchoTracker(max_objects=3)
    successor = TrackedStream("cam", rig.stream.config, tracker, left=Inheritance(saved, memory_lost=True))
    (result,) = track_frames(tracker, {"cam": successor}, {"cam": frame(0)})
    assert {obj.obj_id: (obj.state, obj.area) for obj in result.objects} == whole


def test_a_tracker_that_failed_forgets_what_was_suspended(rig: Rig) -> None:
    rig.run(40, share=0.6)
    rig.stream.fail(frame(999), "broken", RuntimeError("broken"))
    rig.now += 5
    shown = rig.show()
    assert shown[1][0] == "tracked"
    assert shown[2][0] == shown[3][0] == "lost"


class TwoSizes(EchoTracker):
    """Notes which input was chosen: what that does is tested with a model."""

    side = 256
    calls = 0
    error: Exception | None = None

    def choose_input(self, stream: str, *, smaller: bool) -> int | None:
        self.calls += 1
        if self.error is not None:
            raise self.error
        self.side = 192 if smaller else 256
        return self.side


def test_the_input_shrinks_and_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig("smaller_input", TwoSizes(max_objects=3))
    monkeypatch.setattr(tracked_stream.time, "monotonic", lambda: rig.now)
    whole = rig.show()
    rig.events()
    rig.run(40, share=0.6)
    assert rig.events() == [("input_reduced", None)]
    assert (rig.tracker.side, rig.show()) == (192, whole)
    assert rig.stream.overload.published() == Overload("smaller_input", 0.6, [], 192)
    rig.stream.fail(frame(999), "broken", RuntimeError("broken"))
    rig.tracker.side = 256  # as of a stream that was opened again
    rig.run(5, share=0.6)
    assert rig.tracker.side == 192
    rig.events()
    rig.run(60, share=0.0)
    assert rig.events() == [("input_restored", None)]
    assert (rig.tracker.side, rig.stream.overload.published()) == (256, None)


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> Rig:
    made = Rig("smaller_input", TwoSizes(max_objects=3))
    monkeypatch.setattr(tracked_stream.time, "monotonic", lambda: made.now)
    made.show()
    made.events()
    return made


def test_a_change_that_fails_is_not_reported_and_is_tried_again(sizes: Rig) -> None:
    sizes.tracker.error = RuntimeError("out of memory")
    sizes.run(40, share=0.6)
    assert sizes.tracker.calls == 3  # after 10 and 20 s, not every 2 s
    assert sizes.events() == []
    assert sizes.stream.overload.published() == Overload("smaller_input", 0.6, [])
    sizes.tracker.error = None
    sizes.run(60, share=0.6)
    assert sizes.events() == [("input_reduced", None)]
    sizes.tracker.error = RuntimeError("out of memory")
    sizes.run(20, share=0.0)
    assert sizes.events() == []
    assert sizes.stream.overload.published() == Overload("smaller_input", 0.0, [], 192)
    sizes.tracker.error = None
    sizes.run(40, share=0.0)
    assert sizes.events() == [("input_restored", None)]


def test_another_policy_restores_the_input_when_it_can(sizes: Rig) -> None:
    sizes.run(40, share=0.6)
    sizes.events()
    sizes.tracker.error = RuntimeError("out of memory")
    sizes.stream.change(msgspec.structs.replace(sizes.stream.config, overload="lower_rate"), (), ())
    assert sizes.stream.overload.published() == Overload("lower_rate", 0.6, [], 192)
    sizes.tracker.error = None
    sizes.run(15, share=0.6)
    assert sizes.events() == [("input_restored", None)]


def test_a_stream_that_failed_may_have_to_go_on_with_the_full_input(sizes: Rig) -> None:
    sizes.run(40, share=0.6)
    sizes.stream.fail(frame(999), "broken", RuntimeError("broken"))
    sizes.tracker.side, sizes.tracker.error = 256, RuntimeError("out of memory")
    sizes.events()
    sizes.run(5, share=0.6)
    assert ("input_restored", None) in sizes.events()
    assert sizes.stream.overload.published() == Overload("smaller_input", 0.6, [])


def test_a_lost_device_ends_the_worker(sizes: Rig) -> None:
    sizes.tracker.error = RuntimeError("CUDA error: an illegal memory access was encountered")
    with pytest.raises(DeviceError):
        sizes.run(40, share=0.6)


def test_another_policy_restores_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig("smaller_input", TwoSizes(max_objects=3))
    monkeypatch.setattr(tracked_stream.time, "monotonic", lambda: rig.now)
    rig.show()
    rig.run(40, share=0.6)
    rig.stream.change(msgspec.structs.replace(rig.stream.config, overload="oldest_objects"), (), ())
    assert rig.tracker.side == 256
    assert ("input_restored", None) in rig.events()


def test_a_model_of_one_size_tracks_at_a_lower_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig("smaller_input")
    monkeypatch.setattr(tracked_stream.time, "monotonic", lambda: rig.now)
    rig.show()
    rig.events()
    rig.run(40, share=0.6)
    assert rig.events() == []
    assert rig.stream.overload.published() == Overload("smaller_input", 0.6, [])
