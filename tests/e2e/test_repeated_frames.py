"""The whole daemon on a static source: repeated frames are marked, and the counts add up."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from streamseg.client import Controller, MaskFrame, StatusMessage, Subscriber
from streamseg.worker.static_frames import SETTLED
from tests.e2e.daemon_process import DaemonProcess
from tests.e2e.video_reader import write_film

WIDTH, HEIGHT, RADIUS = 320, 240, 20
STILL, MOVING = 45, 30
"""Frames until the disc moves, and for how long it does: 30 are a second."""

FRAMES = 2 * STILL + MOVING


def center(frame: int) -> tuple[int, int]:
    moved = min(max(frame - STILL + 1, 0), MOVING)
    return 60 + 5 * moved, 120


def draw(frame: int) -> np.ndarray:
    """A red disc on a gray wall, with a sensor's noise."""
    picture = np.full((HEIGHT, WIDTH, 3), (90, 95, 100), np.uint8)
    cv2.circle(picture, center(frame), RADIUS, (220, 40, 40), -1)
    noise = np.random.default_rng(frame).normal(0, 3, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The disc stands for 1.5 s, moves for one, and stands again."""
    return write_film(tmp_path_factory.mktemp("film") / "disc.mp4", map(draw, range(FRAMES)))


@pytest.fixture(scope="module")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one picture, which is looped as a video."""
    folder = tmp_path_factory.mktemp("photograph")
    assert cv2.imwrite(str(folder / "0.png"), draw(0)[..., ::-1])
    return folder


def watch(running: DaemonProcess) -> tuple[list[MaskFrame], StatusMessage]:
    """Return all frames of the film, and the status after the last."""
    frames: list[MaskFrame] = []
    with Subscriber(running.endpoint, kinds=("masks", "status"), mode="all") as subscriber:
        while True:
            message = subscriber.receive(timeout_s=60)
            if isinstance(message, MaskFrame):
                frames.append(message)
            elif isinstance(message, StatusMessage) and message.tracked + message.repeated == FRAMES:
                return frames, message


def rest(first: int, count: int = STILL) -> list[int | None]:
    """Which frame each one repeats while nothing moves."""
    settled = first + SETTLED
    later = settled + 31
    wanted = [None] * (1 + SETTLED) + [settled] * 30 + [None] + [later] * count
    return wanted[:count]


def settings(film: Path, **more: object) -> dict[str, object]:
    x, y = center(0)
    disc = {"object": 1, "box": [x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS]}
    return {
        "model": {"name": "colour"},
        "publish": {"wait_for_subscriber": True},
        "streams": {"cam": {"source": str(film), "prompts": [disc], "pace": "fast", **more}, "other": ENDLESS},
    }


ENDLESS = {"source": "scene:simple?size=96x64&fps=1"}
"""Keeps the daemon up when the film is over."""


def test_a_still_stretch_is_repeated_and_what_moves_is_tracked_at_once(daemon, film):
    frames, status = watch(daemon(settings(film, repeat_static=True)))
    frames = [frame for frame in frames if frame.stream == "cam"]
    assert [frame.frame for frame in frames] == list(range(FRAMES))
    repeats = [frame.repeats for frame in frames]
    # A static picture is tracked until masks have settled, then once a second; from the first frame on which the disc
    # has moved, every frame is tracked.
    assert repeats[:STILL] == rest(0)
    assert repeats[STILL : STILL + MOVING - 1] == [None] * (MOVING - 1)
    assert repeats[STILL + MOVING - 1 :] == rest(STILL + MOVING - 1, STILL + 1)
    for frame in frames:
        (disc,) = frame.objects
        x, y = center(frame.frame)
        assert np.hypot(disc.centroid[0] - x, disc.centroid[1] - y) < 2, frame.frame
        if frame.repeats is not None:
            assert disc.data == frames[frame.repeats].objects[0].data
    assert (status.frames, status.drops) == (FRAMES, {})
    assert status.repeated == sum(number is not None for number in repeats)
    assert status.tracked == FRAMES - status.repeated


def test_off_by_default_no_message_repeats(daemon, film):
    frames, status = watch(daemon(settings(film)))
    assert Counter(frame.repeats for frame in frames if frame.stream == "cam") == {None: FRAMES}
    assert (status.tracked, status.repeated) == (FRAMES, 0)


def test_a_click_on_a_repeated_frame_and_what_follows_it(daemon, photograph):
    """A picture that never changes: only prompts and reset make a difference."""
    running = daemon(
        {
            "model": {"name": "colour"},
            "streams": {"cam": {"source": str(photograph), "loop": True, "repeat_static": True}},
        }
    )
    running.wait_log("ready: masks at")
    with (
        Controller(running.control) as control,
        Subscriber(running.endpoint, kinds=("masks", "status"), mode="all") as subscriber,
    ):

        def next_where(condition) -> MaskFrame:
            return next(frame for frame in subscriber if isinstance(frame, MaskFrame) and condition(frame))

        seen = next_where(lambda frame: frame.repeats is not None)
        click = {"points": [center(0)], "coords": "pixels", "frame": seen.frame}
        looked = control.add_prompt("cam", preview=True, **click)
        made = control.add_prompt("cam", label="disc", **click)
        assert looked.frame == made.frame == seen.repeats
        assert looked.area == made.area > 0
        followed = next_where(lambda frame: frame.objects and frame.repeats is not None)
        assert [(obj.id, obj.area) for obj in followed.objects] == [(made.object_id, made.area)]
        assert control.snapshot("cam").objects[0].area == made.area
        control.reset("cam")
        cleared = next_where(lambda frame: not frame.objects)
        assert cleared.repeats is None
        settled = cleared.frame + SETTLED
        assert next_where(lambda frame: frame.repeats is not None).repeats == settled
        status = next(one for one in subscriber if isinstance(one, StatusMessage) and one.repeated)
        assert status.tracked + status.repeated + sum(status.drops.values()) <= status.frames
    assert running.end() == 0
