"""The whole daemon with nano: masks compared with the scene's exact truth.

The scenes are read like files: every frame is tracked, so the result does not depend on the machine.
Their seed was never trained on (``training/scene_clips.py``).
"""

from __future__ import annotations

import numpy as np
import pytest

from streamseg.sources.scene.source import Scene
from tests.e2e.test_run import Collected, collect, iou

WIDTH, HEIGHT = 640, 360
FRAMES = 60


def address(preset: str, fps: int) -> str:
    return f"scene:{preset}?size={WIDTH}x{HEIGHT}&fps={fps}&live=0"


def scores(got: Collected, scene: Scene) -> dict[int, list[float]]:
    """IoU of each object on each frame that shows it."""
    found: dict[int, list[float]] = {}
    for index, line in enumerate(got.lines):
        for obj_id, truth in scene.truth(line["pts"]).items():
            if truth.sum() > 400:
                found.setdefault(obj_id, []).append(iou(got.mask(index, obj_id), truth))
    return found


def marks(scene: Scene, kind: str) -> list[dict[str, object]]:
    """A box around, or a click on, each object of frame 0."""
    found: list[dict[str, object]] = []
    for obj_id in scene.names:
        x, y, w, h = scene.truth_box(0, obj_id)
        if w and kind == "box":
            found.append({"object": obj_id, "box": [x, y, x + w, y + h]})
        elif w:
            found.append({"object": obj_id, "points": [list(scene.click_point(0, obj_id))]})
    return found


@pytest.mark.parametrize("kind", ["box", "click"])
def test_nano_follows_plain_shapes(daemon, tmp_path, kind):
    scene = Scene(address("simple", 15))
    running = daemon({"streams": {"cam": {"source": scene.spec.address, "prompts": marks(scene, kind)}}})
    found = scores(collect(running.endpoint, tmp_path, FRAMES), scene)
    assert len(found) == 3
    for obj_id, values in found.items():
        assert np.mean(values) > 0.85, (obj_id, values)


def test_nano_follows_the_pond(daemon, tmp_path):
    scene = Scene(address("default", 15))
    running = daemon({"streams": {"cam": {"source": scene.spec.address, "prompts": marks(scene, "box")}}})
    found = scores(collect(running.endpoint, tmp_path, FRAMES), scene)
    assert np.mean([value for values in found.values() for value in values]) > 0.75, found


def test_nano_sees_that_an_object_left_and_came_back(daemon, tmp_path):
    scene = Scene(address("leave", 8))
    running = daemon({"streams": {"cam": {"source": scene.spec.address, "prompts": marks(scene, "box")}}})
    got = collect(running.endpoint, tmp_path, 80)  # ten seconds: it is away once
    right, hidden = [], 0
    for line in got.lines:
        states = {each["id"]: each["state"] for each in line["objects"]}
        in_sight = scene.visible(line["pts"])
        for obj_id, state in states.items():
            hidden += obj_id not in in_sight
            right.append((state == "tracked") == (obj_id in in_sight))
    assert hidden > 5
    assert np.mean(right) > 0.9
