"""Prompts on the frame that was seen, and objects from their first click to their end."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from streamseg.client import AsyncController, ControlError, Controller, PairedSubscriber, Subscriber
from streamseg.client.results import EventMessage
from streamseg.protocol.published import Status
from tests.e2e.control_calls import FILE_LIKE, SIMPLE, controller, first_frame, refused
from tests.e2e.daemon_process import DaemonProcess, wait_for
from tests.e2e.video_reader import write_film

WIDTH, HEIGHT = 320, 240

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
    # However busy this machine is: what the user saw is held for ten seconds.
    model = {"name": "colour", "history_frames": 300}
    running = daemon({"model": model, "streams": {"cam": {"source": str(two_discs)}}})
    with controller(running) as control, PairedSubscriber(running.endpoint) as subscriber:
        seen = next(pair for pair in subscriber if pair.masks.frame > 30)
        click = disc_at(seen.frame, follower=False)
        assert seen.image.rgb[int(click[1]), int(click[0])][0] > 180  # it is the red one that the user sees there
        late = next(pair for pair in subscriber if pair.masks.frame >= seen.frame + _LATE)
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


def test_a_prompt_on_an_expired_frame_follows_on_expired(daemon):
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """A daemon with a frame, for tests that begin with a reset."""
    config = {"model": {"name": "fixed"}, "streams": {"cam": {"source": SIMPLE}}}
    running = DaemonProcess(config, tmp_path_factory.mktemp("shared"))
    try:
        with controller(running) as control:
            first_frame(control)
        yield running
        assert running.end() == 0
    finally:
        running.close()


def test_set_prompts_touches_only_what_differs(shared):
    with controller(shared) as control:
        control.reset("cam")
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


def test_a_paused_stream_is_seen_but_not_tracked(shared):
    with controller(shared) as control, PairedSubscriber(shared.endpoint) as subscriber:
        control.reset("cam")
        control.add_prompt("cam", object_id=1, box=(10, 20, 40, 60), coords="pixels")
        next(pair for pair in subscriber if pair.masks.objects)
        control.pause("cam")
        assert control.list()[0].paused
        pair = next(pair for pair in subscriber if not pair.masks.objects)
        assert pair.image.rgb.shape == (180, 320, 3)

        def status() -> Status:
            return control.get_status("cam").streams[0]

        assert status().paused
        first = status().seq
        wait_for(lambda: status().seq > first + 2, 20, "a status of after the pause")
        tracked, pair = status().tracked, next(iter(subscriber))
        assert "paused" in refused("BAD_REQUEST", lambda: control.add_prompt("cam", points=[(0.5, 0.5)])).message
        before = pair.frame
        assert next(pair for pair in subscriber if pair.frame > before + 20).masks.objects == ()
        newest = status().seq
        wait_for(lambda: status().seq > newest, 20, "the next status")
        assert status().tracked == tracked
        control.resume("cam")
        assert next(pair for pair in subscriber if pair.masks.objects).masks.objects[0].id == 1
        wait_for(lambda: not control.get_status("cam").streams[0].paused, 10, "the status")
