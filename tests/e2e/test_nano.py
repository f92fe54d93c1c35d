"""The whole daemon with nano: masks compared with the scene's exact truth.

The scenes are read like files: every frame is tracked, so the result does not depend on the machine.
Their seed was never trained on (``training/scene_clips.py``).
"""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from streamseg.client import Controller, Subscriber
from streamseg.sources.scene.source import Scene
from tests.e2e.daemon_process import wait_for
from tests.e2e.test_run import Collected, collect, iou

WIDTH, HEIGHT = 640, 360
FRAMES = 40
TORCH = {"name": "nano", "engine": "torch"}
"""Without a conversion in the background, of which these few frames would see nothing."""


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


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["box", "click"])
def test_nano_follows_plain_shapes(daemon, tmp_path, kind):
    scene = Scene(address("simple", 15))
    running = daemon(
        {"model": TORCH, "streams": {"cam": {"source": scene.spec.address, "prompts": marks(scene, kind)}}}
    )
    found = scores(collect(running.endpoint, tmp_path, FRAMES), scene)
    assert len(found) == 3
    for obj_id, values in found.items():
        assert np.mean(values) > 0.85, (obj_id, values)


@pytest.mark.slow
def test_nano_follows_the_pond(daemon, tmp_path):
    scene = Scene(address("default", 15))
    running = daemon({"streams": {"cam": {"source": scene.spec.address, "prompts": marks(scene, "box")}}})
    found = scores(collect(running.endpoint, tmp_path, FRAMES), scene)
    assert np.mean([value for values in found.values() for value in values]) > 0.75, found


@pytest.mark.slow
def test_nano_sees_that_an_object_left_and_came_back(daemon, tmp_path):
    scene = Scene(address("leave", 8))
    running = daemon(
        {"model": TORCH, "streams": {"cam": {"source": scene.spec.address, "prompts": marks(scene, "box")}}}
    )
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


@pytest.mark.slow
def test_nano_starts_without_streams_and_changes_its_size_by_a_reload(daemon):
    """The objects go on from their last masks: the new model cannot use the memory of the old one."""
    scene = Scene("scene:simple?size=320x180&fps=15&live=0")
    model = {"name": "nano", "engine": "torch", "image_size": 256}
    running = daemon({"model": model, "streams": {}})
    running.wait_log("ready: masks")
    with (
        Controller(running.control) as control,
        Subscriber(running.endpoint, streams=["cam"], mode="all", timeout_s=60) as masks,
    ):
        assert control.get_status().streams == ()
        control.add_stream("cam", {"source": scene.spec.address})
        (early,) = control.get_status().streams
        assert early.stream == "cam"
        seen = masks.receive()
        x, y, w, h = scene.truth_box(seen.pts, 2)
        control.add_prompt("cam", object_id=2, box=(x, y, x + w, y + h), coords="pixels", frame=seen.frame, label="b")
        assert {obj.id for obj in next(frame for frame in masks if frame.objects).objects} == {2}
        settings = yaml.safe_load(running.file.read_text())
        running.file.write_text(yaml.safe_dump({**settings, "model": {**model, "image_size": 192}}))
        result = control.reload()
        assert (result.model, result.needs_restart) == (("model.image_size",), ())
        wait_for(lambda: running.log.count("worker is ready") == 2, 60, "a second worker", running.alive)
        newest = next(frame for frame in iter(lambda: control.list("cam")[0].frame, None) if frame is not None)
        after = next(frame for frame in masks if frame.frame > newest and frame.objects)
    (obj,) = after.objects
    assert (obj.id, obj.label, obj.state) == (2, "b", "tracked")
    assert iou(obj.mask, scene.truth(after.pts)[2]) > 0.6
    assert "restart in" not in running.log
    assert running.end() == 0
