"""After an exception, only the stream that caused it is not tracked for a while."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from streamseg.config.schema import PromptConfig, StreamConfig
from streamseg.errors import DeviceError
from streamseg.frame import Frame, FrameFormat, FrameStamps
from streamseg.ipc.commands import Command
from streamseg.worker import tracked_stream
from streamseg.worker.command_handlers import handle_command
from streamseg.worker.track_frames import track_frames
from streamseg.worker.tracked_stream import TrackedStream
from tests.worker.poisoned_worker import Poisoned

BOX = PromptConfig(object=7, label="cup", box=(100, 100, 140, 150))
STREAMS = ("a", "b", "c")


def frame(number: int, level: int = 0) -> Frame:
    stamps = FrameStamps(1_700_000_000_000_000_000, "arrival", 1000 + number, 2000 + number, number, (1, 30))
    return Frame(number, 0, FrameFormat(320, 180, "rgb24"), (np.full((180, 960), level, np.uint8),), stamps)


class Rig:
    def __init__(self, tracker: Any = None, config: StreamConfig | None = None) -> None:
        self.tracker = tracker or Poisoned()
        config = config or StreamConfig(source="scene:simple", prompts=(BOX,))
        self.streams = {name: TrackedStream(name, config, self.tracker) for name in STREAMS}
        self.number = 0

    def feed(self, **levels: int) -> dict[str, list[int]]:
        """Track one frame of each stream; return the ids of its objects."""
        self.number += 1
        frames = {name: frame(self.number, levels.get(name, 0)) for name in STREAMS}
        results = list(track_frames(self.tracker, self.streams, frames))
        assert {result.stream for result in results} == set(STREAMS)
        return {result.stream: [obj.obj_id for obj in result.objects] for result in results}

    def events(self, name: str) -> list[tuple[str, str]]:
        return [(event.kind, event.detail) for event in self.streams[name].take_events()]


def test_the_others_are_tracked_and_the_culprit_is_tried_again(monkeypatch: pytest.MonkeyPatch):
    now = 1000.0
    monkeypatch.setattr(tracked_stream.time, "monotonic", lambda: now)
    rig = Rig()
    rig.feed()
    for name in STREAMS:
        rig.events(name)
    assert rig.feed(b=255) == {"a": [7], "b": [], "c": [7]}
    assert rig.events("a") == rig.events("c") == []
    assert rig.events("b") == [("tracking_failed", "ValueError: a poisoned frame; next try in 1.0 s")]
    assert rig.feed() == {"a": [7], "b": [], "c": [7]}
    assert rig.streams["b"].failed == 2
    now += 1.1
    assert rig.feed(b=255) == {"a": [7], "b": [], "c": [7]}
    assert "next try in 2.0 s" in rig.events("b")[0][1]
    now += 2.1
    assert rig.feed() == {"a": [7], "b": [7], "c": [7]}
    assert rig.events("b") == [("object_added", "")]
    assert rig.streams["b"].latest is not None
    assert rig.streams["b"].latest.results[7].roi == (100, 100, 40, 50)  # from its last mask


def test_an_error_of_the_device_is_not_one_of_a_stream():
    rig = Rig()
    rig.tracker.error = RuntimeError("CUDA error: an illegal memory access was encountered")
    with pytest.raises(DeviceError, match=r"the device failed .RuntimeError: CUDA error: an illegal memory access"):
        rig.feed(b=255)


class PanicError(BaseException):
    """As PyO3 raises after a panic in Rust."""


class UnreadableError(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    "error", [PanicError("rtsp://a:hunter2@h"), SystemExit(3), KeyboardInterrupt(), UnreadableError()]
)
def test_nothing_that_a_tracker_raises_ends_the_worker(error: BaseException, monkeypatch: pytest.MonkeyPatch):
    rig = Rig()
    rig.tracker.error = error
    rig.events("b")
    assert rig.feed(b=255) == {"a": [7], "b": [], "c": [7]}
    ((kind, detail),) = rig.events("b")
    assert (kind, detail.partition(":")[0].partition(";")[0]) == ("tracking_failed", type(error).__name__)
    assert "hunter2" not in detail

    def fail(*_args: object, **_more: object) -> None:
        raise error

    monkeypatch.setattr(Poisoned, "add_prompt", fail)
    args = msgspec.json.encode({"object_id": 9, "box": [100, 100, 140, 150], "coords": "pixels"})
    outcome = handle_command(Command(1, "add_prompt", "a", args), rig.streams)
    assert outcome.error is not None
    assert outcome.error.code == "INTERNAL"


def test_memory_that_is_short_once_costs_nothing():
    rig = Rig()
    rig.tracker.error, rig.tracker.failures = RuntimeError("CUDA out of memory. Tried to allocate 2 GiB."), 2
    assert rig.feed(b=255) == {"a": [7], "b": [7], "c": [7]}  # all at once, alone, alone again
    assert rig.tracker.failures == -1  # the last one was not refused
    assert [kind for kind, _ in rig.events("b")] == ["object_added"]


def test_memory_that_stays_short_is_named_and_costs_one_stream():
    rig = Rig()
    rig.tracker.error = RuntimeError("CUDA out of memory. Tried to allocate 2 GiB.")
    assert rig.feed(b=255) == {"a": [7], "b": [], "c": [7]}
    ((kind, detail),) = rig.events("b")
    assert kind == "tracking_failed"
    assert detail.startswith("out of memory (RuntimeError: CUDA out of memory. Tried to allocate 2 GiB.); next try in")


def test_an_object_whose_scores_are_nan_is_lost_until_it_is_marked():
    rig = Rig()
    rig.feed()
    for name in STREAMS:
        rig.events(name)
    for level in (200, 0, 0):
        assert rig.feed(b=level) == {"a": [7], "b": [7], "c": [7]}
        stream = rig.streams["b"]
        assert stream.latest is not None
        assert (stream.latest.states[7], stream.latest.results[7].area) == ("lost", 0)
        assert stream.latest.results[7].iou_prediction == 0.0
    kinds = [kind for kind, _ in rig.events("b")]
    assert kinds == ["tracking_failed", "object_lost"]
    assert rig.events("a") == []
    assert rig.tracker.export_memory("b").objects == {}  # a snapshot must not bring it back
    saved = stream.take_saved()
    assert saved is not None
    assert [obj.obj_id for obj in saved.objects] == [7]
    args = msgspec.json.encode({"object_id": 7, "box": [100, 100, 140, 150], "coords": "pixels"})
    outcome = handle_command(Command(1, "add_prompt", "b", args), rig.streams)
    assert outcome.error is None
    rig.feed()
    assert stream.latest is not None
    assert (stream.latest.states[7], stream.latest.results[7].area) == ("tracked", 40 * 50)


@pytest.mark.parametrize(
    ("text", "lost"), [("CUDA error: device-side assert triggered", True), ("CUDA out of memory.", False)]
)
def test_a_request_on_a_lost_device_ends_the_worker(monkeypatch: pytest.MonkeyPatch, text: str, lost: bool):
    rig = Rig()
    rig.feed()

    def fail(*args: object, **more: object) -> None:
        raise RuntimeError(text)

    monkeypatch.setattr(rig.tracker, "add_prompt", fail)
    command = Command(1, "add_prompt", "b", msgspec.json.encode({"points": [[0.5, 0.5]]}))
    if lost:
        with pytest.raises(DeviceError, match="device-side assert"):
            handle_command(command, rig.streams)
        return
    error = handle_command(command, rig.streams).error
    assert error is not None
    assert (error.code, error.retryable) == ("INTERNAL", True)
    assert "out of memory" in error.message


class Broken(Poisoned):
    """Raises in chosen calls about the stream ``b``."""

    def __init__(self) -> None:
        super().__init__()
        self.broken: set[str] = set()

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if name.startswith("_") or not callable(value) or name not in super().__getattribute__("broken"):
            return value

        def fail(stream: str, *args: Any, **more: Any) -> Any:
            if stream == "b":
                raise PanicError(f"in {name}")
            return value(stream, *args, **more)

        return fail


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(tracked_stream.time, "monotonic", lambda: now[0])
    return now


def broken_rig(*calls: str, config: StreamConfig | None = None) -> Rig:
    tracker = Broken()
    tracker.broken = set(calls)
    return Rig(tracker, config)


def test_a_stream_that_cannot_be_opened_is_tried_again(clock: list[float]):
    rig = broken_rig("open_stream", "close_stream")
    assert rig.events("b") == [("tracking_failed", "PanicError: in open_stream; next try in 1.0 s")]
    assert rig.feed() == {"a": [7], "b": [], "c": [7]}
    for wait_s in (2, 4, 8, 16, 32, 60, 60):
        clock[0] += wait_s
        assert rig.feed() == {"a": [7], "b": [], "c": [7]}
        assert rig.events("b") == [("tracking_failed", f"PanicError: in open_stream; next try in {wait_s:.1f} s")]
    rig.tracker.broken = set()
    clock[0] += 60
    assert rig.feed() == {"a": [7], "b": [7], "c": [7]}
    assert rig.events("b") == [("object_added", "")]


def test_a_stream_that_cannot_be_opened_again_is_tried_again(clock: list[float]):
    rig = broken_rig()
    rig.feed()
    rig.tracker.broken = {"open_stream", "close_stream", "hold_frame"}
    rig.feed(b=255)
    clock[0] += 1
    assert rig.feed() == {"a": [7], "b": [], "c": [7]}
    rig.tracker.broken = set()
    clock[0] += 2
    assert rig.feed() == {"a": [7], "b": [7], "c": [7]}


def test_a_stream_that_cannot_be_closed_is_closed():
    rig = broken_rig("close_stream")
    rig.feed()
    rig.streams["b"].close()


def test_an_error_between_two_frames_suspends_the_stream(clock: list[float]):
    rig = broken_rig()
    rig.feed()
    rig.events("b")
    rig.tracker.broken = {"set_aside"}
    with rig.streams["b"].isolated():
        rig.streams["b"].objects.suspend(7, "")
    assert rig.events("b") == [("tracking_failed", "PanicError: in set_aside; next try in 1.0 s")]
    assert rig.feed() == {"a": [7], "b": [], "c": [7]}
    clock[0] += 1
    assert rig.feed() == {"a": [7], "b": [7], "c": [7]}


def test_settings_take_effect_although_the_tracker_raises(clock: list[float]):
    rig = broken_rig()
    rig.feed()
    rig.tracker.broken = {"remove_object", "hold_frame"}
    other = PromptConfig(object=7, label="mug", box=(10, 10, 40, 50))
    config = StreamConfig(source="scene:simple", prompts=(other,), uncertain_after_s=9)
    rig.streams["b"].change(config, [], [other])
    clock[0] += 1
    assert rig.feed() == {"a": [7], "b": [7], "c": [7]}
    latest = rig.streams["b"].latest
    assert latest is not None
    assert latest.results[7].roi == (10, 10, 30, 40)
    assert rig.streams["b"].objects.table.objects[7].label == "mug"


def test_an_error_of_the_device_between_two_frames_ends_the_worker():
    rig = broken_rig()
    with pytest.raises(DeviceError), rig.streams["b"].isolated():
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
