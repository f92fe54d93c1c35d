"""Control of a running daemon: prompts on the frame that was seen, streams added and removed, processes killed."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml

from streamseg.client import AsyncController, ControlError, Controller, PairedSubscriber, Subscriber
from streamseg.client.results import EventMessage
from streamseg.sources.scene.source import Scene
from tests.e2e.daemon_process import DaemonProcess, wait_for
from tests.e2e.video_reader import write_film

WIDTH, HEIGHT = 320, 240
SIMPLE = "scene:simple?size=320x180"
FILE_LIKE = f"{SIMPLE}&live=0"
"""As a file does it waits rather than drops, so that a busy machine cannot cost it a frame."""


def refused(code: str, ask: Callable[[], object]) -> ControlError:
    with pytest.raises(ControlError) as caught:
        ask()
    assert caught.value.code == code, caught.value
    return caught.value


def controller(running: DaemonProcess) -> Controller:
    running.wait_log("ready: masks at")
    return Controller(running.control)


def first_frame(control: Controller, stream: str = "cam") -> int:
    wait_for(lambda: control.list(stream)[0].frame is not None, 30, f"a frame of {stream}")
    frame = control.list(stream)[0].frame
    assert frame is not None
    return frame


# --- a click belongs to the frame that was seen ---------------------------------------------------------------------

_TURN = 60
_LATE = 9
"""Frames in 300 ms."""


def disc_at(frame: int, follower: bool) -> tuple[float, float]:
    """Center of the first disc; the second one is where the first was 300 ms ago."""
    angle = 2 * math.pi * (frame - _LATE * follower) / _TURN
    return WIDTH / 2 + 80 * math.cos(angle), HEIGHT / 2 + 80 * math.sin(angle)


def draw(frame: int) -> np.ndarray:
    picture = np.full((HEIGHT, WIDTH, 3), (90, 95, 100), np.uint8)
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    for follower, color in ((False, (220, 40, 40)), (True, (40, 80, 230))):
        x, y = disc_at(frame, follower)
        picture[(columns - x) ** 2 + (rows - y) ** 2 <= 15**2] = color
    return picture


@pytest.fixture(scope="module")
def two_discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    turn = [draw(frame) for frame in range(_TURN)]
    pictures = (turn[frame % _TURN] for frame in range(30 * 60))
    return write_film(tmp_path_factory.mktemp("film") / "discs.mp4", pictures, crf=12, gop_size=None)


def distance(bbox: tuple[int, int, int, int], point: tuple[float, float]) -> float:
    x, y, w, h = bbox
    return math.hypot(x + w / 2 - point[0], y + h / 2 - point[1])


def test_a_click_that_is_300_ms_late_follows_what_was_clicked(daemon, two_discs):
    running = daemon({"model": {"name": "colour"}, "streams": {"cam": {"source": str(two_discs)}}})
    with controller(running) as control, PairedSubscriber(running.endpoint) as subscriber:
        seen = next(pair for pair in subscriber if pair.masks.frame > 30)
        click = disc_at(seen.frame, follower=False)
        assert seen.image.rgb[int(click[1]), int(click[0])][0] > 180  # it is the red one that the user sees there
        late = next(pair for pair in subscriber if pair.masks.frame >= seen.frame + _LATE)
        assert late.frame < seen.frame + _LATE + 5, "this machine is too busy for the test"
        red = control.add_prompt("cam", points=[click], coords="pixels", label="red", frame=seen.frame)
        assert red.frame == seen.frame
        assert red.newest >= late.frame
        assert red.size == (WIDTH, HEIGHT)
        assert distance(red.bbox, click) < 4
        # By then the other disc was there: the same click on that frame takes the other one.
        blue = control.add_prompt("cam", points=[click], coords="pixels", label="blue", frame=seen.frame + _LATE)
        for _ in range(20):
            pair = subscriber.receive(timeout_s=30)
            for obj in pair.masks.objects:
                follower = {red.object_id: False, blue.object_id: True}[obj.id]
                assert distance(obj.bbox, disc_at(pair.frame, follower)) < 4, (pair.frame, obj.label)
        assert {obj.label for obj in pair.masks.objects} == {"red", "blue"}
    assert running.end() == 0


def test_a_frame_that_is_gone(daemon):
    running = daemon({"model": {"name": "fixed"}, "streams": {"cam": {"source": SIMPLE}}})
    with controller(running) as control:
        wait_for(lambda: first_frame(control) > 60, 30, "frame 60")
        error = refused("FRAME_EXPIRED", lambda: control.add_prompt("cam", points=[(0.5, 0.5)], frame=0))
        assert not error.retryable
        assert "frame 0 of stream 'cam' is not held" in error.message
        assert control.list()[0].objects == ()
        result = control.add_prompt("cam", points=[(0.5, 0.5)], frame=0, on_expired="newest")
        assert result.frame == result.newest > 60
        later = result.newest + 1_000_000
        assert (
            "was not tracked yet"
            in refused("BAD_PROMPT", lambda: control.add_prompt("cam", points=[(0.5, 0.5)], frame=later)).message
        )
    assert running.end() == 0


# --- objects --------------------------------------------------------------------------------------------------------


def test_objects_from_their_first_click_to_their_end(daemon):
    prompts = [{"object": 7, "label": "old", "box": [10, 20, 40, 60]}]
    running = daemon({"model": {"name": "fixed"}, "streams": {"cam": {"source": SIMPLE, "prompts": prompts}}})
    with (
        controller(running) as control,
        Subscriber(running.endpoint, streams=["cam"], kinds=("objects", "events"), mode="all") as subscriber,
    ):
        subscriber.receive(timeout_s=30)
        first_frame(control)
        hello = control.hello()
        assert hello.streams == ("cam",)
        assert hello.publish == (running.endpoint,)
        added = control.add_prompt("cam", box=(0.5, 0.5, 0.75, 0.75), label="cup")
        assert (added.object_id, added.new, added.label) == (8, True, "cup")  # an id that was not used before
        assert added.bbox == (160, 90, 80, 45)
        assert added.area == 80 * 45
        corrected = control.add_prompt("cam", object_id=8, points=[(0.9, 0.9)])
        assert (corrected.new, corrected.label) == (False, "cup")
        assert corrected.area > added.area
        assert [(obj.id, obj.label, obj.prompts) for obj in control.list("cam")[0].objects] == [
            (7, "old", 1),
            (8, "cup", 2),
        ]
        preview = control.add_prompt("cam", box=(0, 0, 0.5, 0.5), preview=True)
        assert preview.object_id == 0
        assert preview.mask is not None
        assert preview.mask[:90, :160].all()
        assert preview.mask.sum() == 90 * 160
        assert len(control.list("cam")[0].objects) == 2
        control.label_object("cam", 8, "mug")
        snapshot = control.snapshot("cam")
        assert snapshot.image_topic == "v1/cam/image/"
        assert [obj.label for obj in snapshot.objects] == ["old", "mug"]
        assert snapshot.objects[0].mask.sum() == 30 * 40
        assert control.undo_prompt("cam", 8).prompts == 1
        assert control.list("cam")[0].objects[1].area == added.area
        assert control.undo_prompt("cam", 8).prompts == 0
        refused("OBJECT_NOT_FOUND", lambda: control.undo_prompt("cam", 8))
        mask = np.zeros((180, 320), bool)
        mask[5:25, 5:35] = True
        masked = control.add_prompt("cam", mask=mask)
        assert (masked.object_id, masked.area) == (9, 600)
        control.remove_object("cam", 7)
        refused("OBJECT_NOT_FOUND", lambda: control.remove_object("cam", 7))
        refused("OBJECT_NOT_FOUND", lambda: control.label_object("cam", 7, "x"))
        refused("BAD_PROMPT", lambda: control.add_prompt("cam", mask=mask[:90]))
        refused("BAD_PROMPT", lambda: control.add_prompt("cam"))
        refused("BAD_PROMPT", lambda: control.add_prompt("cam", points=[(2, 2)]))
        refused("BAD_PROMPT", lambda: control.add_prompt("cam", points=[(0.5, 0.5, 0)]))
        refused("BAD_REQUEST", lambda: control.add_prompt("cam", points=[(0.5,)]))
        refused("STREAM_NOT_FOUND", lambda: control.reset("cam9"))
        control.reset("cam")
        assert control.list("cam")[0].objects == ()
        control.add_prompt("cam", points=[(0.5, 0.5)], label="last")
        seen = []
        while ("object_added", "last") not in seen:
            message = subscriber.receive(timeout_s=30)
            if isinstance(message, EventMessage) and (message.event.startswith("object_") or "reset" in message.event):
                seen.append((message.event, message.label))
        assert [entry for entry in seen if entry != ("object_added", "old")] == [
            ("object_added", "cup"),
            ("object_removed", "mug"),
            ("object_added", ""),
            ("object_removed", "old"),
            ("tracker_reset", ""),
            ("object_removed", ""),
            ("object_added", "last"),
        ]
    assert running.end() == 0


def test_ids_are_not_used_up_and_not_assigned_twice(daemon):
    running = daemon({"model": {"name": "color"}, "streams": {"cam": {"source": FILE_LIKE}}})
    with controller(running) as control:
        first_frame(control)

        def added(**fields: object) -> int:
            return control.add_prompt("cam", box=(0.1, 0.1, 0.4, 0.4), **fields).object_id

        assert added() == 1
        assert added(object_id=2**31 - 1) == 2**31 - 1
        assert added() == 2
        control.remove_object("cam", 2)
        control.remove_object("cam", 2**31 - 1)
        assert added() == 3
        control.reset("cam")
        assert added() == 4
        control.remove_stream("cam")
        control.add_stream("cam", {"source": FILE_LIKE})
        first_frame(control)
        assert added() == 5
        running.child("worker").kill()
        running.wait_log("worker ended .killed by SIGKILL.: restart")
        control.remove_stream("cam")
        control.add_stream("cam", {"source": FILE_LIKE})
        wait_for(lambda: _has_frame(control), 60, "a frame of the new stream")
        assert added() == 6
    assert running.end() == 0


def _has_frame(control: Controller) -> bool:
    with contextlib.suppress(ControlError):
        return control.list("cam")[0].frame is not None
    return False


def test_changes_are_undone_with_both_controllers(daemon):
    running = daemon({"model": {"name": "color"}, "streams": {"cam": {"source": FILE_LIKE}}})
    with controller(running) as control:
        seen = first_frame(control)
        assert {"undo", "prompts_on_frame"} <= {*control.hello().features}
        prompts = [{"object_id": 1, "label": "cup", "box": (0.2, 0.2, 0.6, 0.6)}]
        started = control.set_prompts("cam", prompts, frame=seen, on_expired="newest")
        assert started.prompted == (1,)
        assert started.frame is not None
        assert started.marks[0].box_px == (64, 36, 192, 108)
        control.remove_object("cam", 1)
        undone = control.undo("cam")
        assert (undone.op, undone.object_ids, undone.left) == ("remove_object", (1,), 1)
        assert [obj.label for obj in control.list("cam")[0].objects] == ["cup"]

    async def again() -> str:
        async with AsyncController(running.control) as controller:
            await controller.reset("cam")
            await controller.undo("cam")
            assert [obj.id for obj in (await controller.list("cam"))[0].objects] == [1]
            return (await controller.undo("cam")).op

    assert asyncio.run(again()) == "set_prompts"
    with controller(running) as control:
        assert control.list("cam")[0].objects == ()
        refused("NOTHING_TO_UNDO", lambda: control.undo("cam"))
    assert running.end() == 0


def test_set_prompts_touches_only_what_differs(daemon):
    running = daemon({"model": {"name": "fixed"}, "streams": {"cam": {"source": SIMPLE}}})
    with controller(running) as control:
        first_frame(control)
        one = {"object_id": 1, "box": (0, 0, 0.5, 0.5)}
        two = {"object_id": 2, "points": [(0.5, 0.5)]}
        assert control.set_prompts("cam", [one, two]).prompted == (1, 2)
        wait_for(lambda: all(obj.area for obj in control.list()[0].objects), 20, "both objects")
        result = control.set_prompts("cam", [{**one, "label": "renamed"}, {"object_id": 3, "points": [(0.2, 0.2)]}])
        assert (result.kept, result.prompted, result.removed) == ((1,), (3,), (2,))
        wait_for(lambda: all(obj.area for obj in control.list()[0].objects), 20, "both objects")
        assert [(obj.id, obj.label) for obj in control.list()[0].objects] == [(1, "renamed"), (3, "")]
        refused("BAD_PROMPT", lambda: control.set_prompts("cam", [one, one]))
        refused("BAD_PROMPT", lambda: control.set_prompts("cam", [{"object_id": 4}]))
        assert len(control.list()[0].objects) == 2
    assert running.end() == 0


def test_a_paused_stream_is_seen_but_not_tracked(daemon):
    prompts = [{"object": 1, "box": [10, 20, 40, 60]}]
    running = daemon({"model": {"name": "fixed"}, "streams": {"cam": {"source": SIMPLE, "prompts": prompts}}})
    with controller(running) as control, PairedSubscriber(running.endpoint) as subscriber:
        next(pair for pair in subscriber if pair.masks.objects)
        control.pause("cam")
        assert control.list()[0].paused
        pair = next(pair for pair in subscriber if not pair.masks.objects)
        assert pair.image.rgb.shape == (180, 320, 3)
        wait_for(lambda: [one.paused for one in control.get_status("cam").streams] == [True], 10, "the status")
        tracked = control.get_status("cam").streams[0].tracked
        assert "paused" in refused("BAD_REQUEST", lambda: control.add_prompt("cam", points=[(0.5, 0.5)])).message
        before = pair.frame
        assert next(pair for pair in subscriber if pair.frame > before + 20).masks.objects == ()
        assert control.get_status("cam").streams[0].tracked <= tracked + 30
        control.resume("cam")
        assert next(pair for pair in subscriber if pair.masks.objects).masks.objects[0].id == 1
        wait_for(lambda: not control.get_status("cam").streams[0].paused, 10, "the status")
    assert running.end() == 0


# --- deaths ---------------------------------------------------------------------------------------------------------


def test_prompts_and_pauses_survive_a_worker_that_dies_over_a_command(daemon):
    prompts = [{"object": 1, "box": [10, 20, 40, 60]}, {"object": 2, "box": [50, 20, 80, 60]}]
    running = daemon(
        {
            "model": {"name": "fixed"},
            # The worker may die before the newest prompts are in a snapshot: then they are applied again.
            "streams": {
                "cam": {"source": SIMPLE, "prompts": prompts, "on_discontinuity": "reprompt"},
                "other": {"source": SIMPLE},
            },
        }
    )
    with controller(running) as control:
        first_frame(control)
        control.remove_object("cam", 1)
        control.add_prompt("cam", points=[(0.5, 0.5)], label="cup")
        control.add_prompt("cam", object_id=3, points=[(0.7, 0.7)])
        control.pause("other")
        worker = running.child("worker")
        worker.suspend()
        errors: list[ControlError] = []

        def click() -> None:
            with Controller(running.control) as another:
                errors.append(refused("WORKER_RESTARTING", lambda: another.add_prompt("cam", points=[(0.1, 0.1)])))

        thread = threading.Thread(target=click)
        thread.start()
        wait_for(lambda: control.hello(), 5, "an answer that needs no worker")
        worker.kill()
        thread.join(timeout=15)
        assert [error.retryable for error in errors] == [True]

        def objects() -> list[tuple[int, str, int]]:
            with contextlib.suppress(ControlError):  # until the new worker is there
                return [(obj.id, obj.label, obj.prompts) for obj in control.list("cam")[0].objects if obj.area]
            return []

        wait_for(lambda: objects() == [(2, "", 1), (3, "cup", 2)], 60, "the objects in the new worker")
        assert control.list("other")[0].paused
        assert control.add_prompt("cam", points=[(0.1, 0.1)]).object_id == 4  # the failed one left nothing behind
    assert running.end() == 0


def test_a_request_to_a_frozen_worker_ends_when_that_is_replaced(daemon):
    running = daemon({"model": {"name": "fixed"}, "streams": {"cam": {"source": SIMPLE}}})
    with controller(running) as control:
        first_frame(control)
        running.child("worker").suspend()
        error = refused("WORKER_RESTARTING", lambda: control.add_prompt("cam", points=[(0.5, 0.5)]))
        assert error.retryable
        assert control.get_status().daemon is not None

        def clicked() -> bool:
            with contextlib.suppress(ControlError):  # until the next worker is there
                return control.add_prompt("cam", points=[(0.5, 0.5)]).area > 0
            return False

        wait_for(clicked, 60, "the next worker")
        assert len(control.list("cam")[0].objects) == 1
    assert running.end() == 0


def test_a_control_process_that_is_killed_is_replaced_at_the_same_address(daemon):
    running = daemon({"model": {"name": "fixed"}, "streams": {"cam": {"source": FILE_LIKE}}})
    with (
        controller(running) as control,
        Subscriber(running.endpoint, kinds=("objects", "events"), mode="all") as subscriber,
    ):
        first_frame(control)
        process = running.child("control")
        clicked: list[int] = []

        def click() -> None:
            with Controller(running.control) as another:
                clicked.append(another.add_prompt("cam", points=[(0.5, 0.5)]).object_id)

        # The click reaches the worker and its reply is lost: the client sends it again, and it is executed once.
        worker = running.child("worker")
        worker.suspend()
        thread = threading.Thread(target=click)
        thread.start()
        running.wait_log("add_prompt cam: sent to the worker")
        process.kill()
        worker.resume()
        event = next(m for m in subscriber if isinstance(m, EventMessage) and m.event == "control_restarted")
        assert "SIGKILL" in event.detail
        assert control.list("cam")[0].frame is not None  # sent again until the new one answers
        thread.join(timeout=30)
        assert clicked == [1]
        assert [obj.id for obj in control.list("cam")[0].objects] == [1]
        frames = [next(m for m in subscriber if m.kind == "objects") for _ in range(30)]
        assert sum(message.gap + message.skipped for message in frames) == 0
    assert running.end() == 0


def test_a_missing_daemon_is_reported(tmp_path):
    with Controller(f"ipc://{tmp_path}/none", connect_timeout_s=0.2) as control:
        error = refused("UNREACHABLE", control.hello)
        assert error.retryable
        assert "is `streamseg run` running there" in error.message


# --- streams --------------------------------------------------------------------------------------------------------


class FrameCounter:
    """Reads all frames of a stream in the background; tells whether one was lost."""

    def __init__(self, endpoint: str, stream: str) -> None:
        self.frames: list[int] = []
        self.lost = 0
        self._stop = threading.Event()
        self._subscriber = Subscriber(endpoint, streams=[stream], kinds=("objects",), mode="all")
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with self._subscriber as subscriber:
            while not self._stop.is_set():
                message = subscriber.receive(timeout_s=30)
                if self.frames:
                    self.lost += message.gap + message.skipped
                self.frames.append(message.frame)

    def more(self, count: int = 10) -> None:
        """Wait for some more frames."""
        until = len(self.frames) + count
        wait_for(lambda: len(self.frames) >= until, 30, f"{count} more frames")

    def finish(self) -> int:
        """Return how many frames were lost."""
        self._stop.set()
        self._thread.join(timeout=30)
        assert not self._thread.is_alive()
        return self.lost


def test_streams_come_and_go_and_cost_the_others_no_frame(daemon):
    running = daemon({"model": {"name": "fixed"}, "streams": {"cam": {"source": FILE_LIKE}}})
    with controller(running) as control:
        counter = FrameCounter(running.endpoint, "cam")
        counter.more()
        with Subscriber(running.endpoint, streams=["door"], kinds=("objects",), mode="all") as early:
            control.add_stream("door", {"source": SIMPLE, "prompts": [{"object": 1, "box": [10, 20, 40, 60]}]})
            assert control.hello().streams == ("cam", "door")
            first = early.receive(timeout_s=30)  # subscribed to before the stream was there
            assert [obj.id for obj in first.objects] == [1]
            assert control.add_prompt("door", points=[(0.5, 0.5)]).object_id == 2
            refused("STREAM_EXISTS", lambda: control.add_stream("door", {"source": SIMPLE}))
            error = refused("BAD_CONFIG", lambda: control.add_stream("x", {"source": "ftp://x", "lop": True}))
            assert "streams.x.lop: true: there is no such setting; did you mean loop?" in error.message
            refused("BAD_CONFIG", lambda: control.add_stream("X Y", {"source": SIMPLE}))
            capture = running.child("capture:door")
            control.remove_stream("door")
            assert control.hello().streams == ("cam",)
            refused("STREAM_NOT_FOUND", lambda: control.add_prompt("door", points=[(0.5, 0.5)]))
            refused("STREAM_NOT_FOUND", lambda: control.remove_stream("door"))
            wait_for(lambda: not capture.is_running(), 20, "the end of the capture process")
            control.add_stream("door", {"source": SIMPLE})
            last = first
            while (again := early.receive(timeout_s=30)).objects:
                last = again
            # Within a session, a stream's numbers only rise, even if it is removed and added again.
            assert again.frame > last.frame
            assert again.seq == last.seq + 1 + again.gap
        counter.more()
        assert counter.finish() == 0
        for name in ("worker", "publisher"):  # a restarted process knows the current streams
            running.child(name).kill()
            running.wait_log(f"{name} ended .killed by SIGKILL.: restart")
        with Subscriber(running.endpoint, streams=["door"], kinds=("objects",)) as subscriber:
            assert subscriber.receive(timeout_s=60).frame > again.frame
    assert running.end() == 0
    assert "Traceback" not in running.log


def open_files(process: psutil.Process) -> list[str]:
    """Descriptors of a process, sorted."""
    found = []
    for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            found.append(str(descriptor.readlink()))
    return sorted(found)


def settled(value: Callable[[], list[list[str]]]) -> list[list[str]]:
    """Return a value once it has stayed the same for a second."""
    newest, since = value(), time.monotonic()

    def stayed() -> bool:
        nonlocal newest, since
        if (now := value()) != newest:
            newest, since = now, time.monotonic()
        return time.monotonic() - since > 1

    wait_for(stayed, 30, "a value that stays")
    return newest


def test_streams_are_opened_and_closed_many_times_without_a_trace(daemon):
    running = daemon({"model": {"name": "fixed"}, "streams": {"cam": {"source": SIMPLE}}})
    with controller(running) as control:
        first_frame(control)  # it is mapped from then on
        processes = [running.child(name) for name in ("worker", "publisher")]

        def open_and_close() -> None:
            control.add_stream("door", {"source": SIMPLE})
            control.list("door")
            control.remove_stream("door")
            control.list("cam")

        open_and_close()
        wait_for(lambda: len(running.children("capture:door")) == 0, 20, "the end of the capture process")
        before = settled(lambda: [open_files(process) for process in processes])
        for _ in range(10):
            open_and_close()
        wait_for(lambda: len(running.children("capture:door")) == 0, 20, "the end of all capture processes")
        after = settled(lambda: [open_files(process) for process in processes])
        # A process may open something by itself meanwhile; a leak of ten streams would be ten.
        for now, then in zip(after, before, strict=True):
            assert len(now) < len(then) + 5, (then, now)
        wait_for(lambda: len(running.family()) <= 7, 20, "the end of what was about to start")
    assert running.end() == 0


def test_a_reload_changes_what_differs_and_costs_the_others_no_frame(daemon):
    box = {"object": 1, "box": [10, 20, 40, 60]}
    config = {
        "model": {"name": "fixed"},
        "log": {"level": "debug"},
        "streams": {
            "keep": {"source": FILE_LIKE, "prompts": [box]},
            "prompts": {"source": FILE_LIKE, "prompts": [box, {"object": 2, "box": [50, 20, 80, 60]}]},
            "source": {"source": SIMPLE},
            "gone": {"source": SIMPLE},
        },
    }
    running = daemon(config)
    config["publish"] = {"endpoints": [running.endpoint]}
    with controller(running) as control:
        counters = [FrameCounter(running.endpoint, stream) for stream in ("keep", "prompts")]
        for counter in counters:
            counter.more()
        for stream in config["streams"]:
            first_frame(control, stream)
        control.add_prompt("prompts", points=[(0.9, 0.9)], label="clicked")
        control.add_stream("asked", {"source": SIMPLE})
        streams = {
            "keep": config["streams"]["keep"],
            "prompts": {"source": FILE_LIKE, "prompts": [box, {"object": 4, "box": [90, 20, 120, 60]}]},
            "source": {"source": "scene:simple?size=640x360"},
            "new": {"source": SIMPLE},
        }
        publish = {**config["publish"], "jpeg_quality": 71}
        running.file.write_text(yaml.safe_dump({**config, "streams": streams, "publish": publish}))
        result = control.reload()
        assert result.added == ("new",)
        assert result.removed == ("gone",)
        assert result.restarted == ("source",)
        assert result.changed == ("prompts",)
        assert set(result.unchanged) == {"keep", "asked"}
        assert result.needs_restart == ("publish.jpeg_quality",)
        assert control.hello().streams == ("keep", "prompts", "source", "asked", "new")
        wait_for(lambda: control.list("source")[0].size == (640, 360), 30, "the new source")
        objects = control.list("prompts")[0].objects
        assert [(obj.id, obj.label) for obj in objects] == [(1, ""), (3, "clicked"), (4, "")]
        for counter in counters:
            counter.more()
            assert counter.finish() == 0
        assert set(control.reload().unchanged) == {"keep", "prompts", "source", "new", "asked"}
        running.file.write_text("streams: {keep: {source: 'ftp://x'}}\n")
        assert "streams.keep.source" in refused("BAD_CONFIG", control.reload).message
        os.kill(running.process.pid, signal.SIGHUP)
        running.wait_log("the configuration stays as it is: .*streams.keep.source")
        assert len(control.hello().streams) == 5
        running.file.write_text(yaml.safe_dump({**config, "streams": {"keep": streams["keep"]}}))
        os.kill(running.process.pid, signal.SIGHUP)
        running.wait_log("configuration reloaded: removed prompts, source, new")
        assert control.hello().streams == ("keep", "asked")
    assert running.end() == 0
    assert "restart the daemon to change: publish.jpeg_quality" in running.log
    assert "Traceback" not in running.log


def test_an_asyncio_client_may_ask_many_things_at_once(daemon):
    scene = Scene(SIMPLE)
    running = daemon({"model": {"name": "colour"}, "streams": {"cam": {"source": SIMPLE}}})
    running.wait_log("ready: masks at")

    async def ask() -> None:
        async with AsyncController(running.control) as control:
            while (await control.list("cam"))[0].frame is None:
                await asyncio.sleep(0.02)
            boxes = [scene.truth_box(0, obj_id) for obj_id in (1, 2, 3)]
            added = await asyncio.gather(
                *(control.add_prompt("cam", box=(x, y, x + w, y + h), coords="pixels") for x, y, w, h in boxes)
            )
            assert [one.object_id for one in added] == [1, 2, 3]
            answers = await asyncio.gather(*(control.list("cam") for _ in range(20)), control.hello())
            assert all(len(answer[0].objects) == 3 for answer in answers[:-1])
            with pytest.raises(ControlError, match="no object 9"):
                await control.remove_object("cam", 9)
        async with AsyncController(f"{running.control}-none", connect_timeout_s=0.2) as lonely:
            with pytest.raises(ControlError, match="no daemon listens"):
                await lonely.hello()

    asyncio.run(asyncio.wait_for(ask(), 60))
    assert running.end() == 0


def test_hostile_requests_cost_the_stream_no_frame(daemon):
    import zmq

    running = daemon({"model": {"name": "fixed"}, "streams": {"cam": {"source": FILE_LIKE}}})
    with controller(running) as control, zmq.Context() as context, context.socket(zmq.DEALER) as bad:
        bad.setsockopt(zmq.LINGER, 0)
        bad.connect(running.control)
        counter = FrameCounter(running.endpoint, "cam")
        counter.more()
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            for data in (b"", os.urandom(300), b"[" * 5000, b'{"v":1,"id":"x","op":"list","stream":"cam"}'):
                try:
                    bad.send_multipart([b"", data], zmq.NOBLOCK)
                except zmq.Again:
                    bad.poll(10)
            while bad.poll(0):
                bad.recv_multipart()
        counter.more()
        assert counter.finish() == 0
        assert control.hello().streams == ("cam",)
    assert running.end() == 0
