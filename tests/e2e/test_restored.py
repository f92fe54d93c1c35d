"""Processes are killed for real, and the objects that they followed go on: the same id on the same object, or lost."""

from __future__ import annotations

import random

import numpy as np
import pytest

from streamseg.client import MaskFrame, Subscriber
from streamseg.sources.scene.source import Scene
from tests.e2e.daemon_process import DaemonProcess
from tests.e2e.test_nano import marks
from tests.e2e.test_run import iou

FRAMES = 120
SIZE = "size=480x270&fps=15"


def followed(running: DaemonProcess, scene: Scene, kill_at: int | None = None) -> dict[int, float]:
    """Kill the worker after a frame; return frame -> mean IoU of the objects that it shows."""
    found: dict[int, float] = {}
    with Subscriber(running.endpoint, kinds=("masks",), mode="all") as subscriber:
        while len(found) < FRAMES:
            message = subscriber.receive(timeout_s=120)
            assert isinstance(message, MaskFrame)
            masks = {obj.id: obj.mask for obj in message.objects}
            nothing = np.zeros((message.size[1], message.size[0]), np.bool_)
            shown = {obj_id: truth for obj_id, truth in scene.truth(message.pts).items() if truth.sum() > 300}
            found[message.pts] = float(
                np.mean([iou(masks.get(obj_id, nothing), truth) for obj_id, truth in shown.items()])
            )
            if kill_at is not None and message.pts >= kill_at:
                running.child("worker").kill()
                kill_at = None
    return found


@pytest.mark.slow
def test_a_killed_worker_costs_a_file_next_to_nothing(daemon):
    scene = Scene(f"scene:default?{SIZE}&live=0")
    config = {"streams": {"cam": {"source": scene.spec.address, "prompts": marks(scene, "box")}}}
    running = daemon(config)
    undisturbed = followed(running, scene)
    assert running.end() == 0
    for seed in range(3):
        running = daemon(config)
        kill_at = random.Random(seed).randrange(20, 80)
        disturbed = followed(running, scene, kill_at)
        assert "tracked on from memory" in running.log
        assert running.end() == 0
        after = [number for number in disturbed if number > kill_at and number in undisturbed]
        assert len(after) > 20
        difference = np.mean([undisturbed[number] - disturbed[number] for number in after])
        assert difference < 0.05, (seed, kill_at, difference)


def on_another(message: MaskFrame, scene: Scene) -> dict[int, bool]:
    """Return for each object with a mask whether most of that lies on another object."""
    truth = scene.truth(message.pts)
    found = {}
    for obj in message.objects:
        if obj.area:
            on = max(truth, key=lambda obj_id: int((truth[obj_id] & obj.mask).sum()))
            found[obj.id] = on != obj.id and int((truth[on] & obj.mask).sum()) > obj.area / 2
    return found


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_after_a_gap_an_id_is_on_its_object_or_lost(daemon, seed):
    """Only objects that nano follows well before the gap count: what it loses by itself is not the restart's."""
    scene = Scene(f"scene:default?{SIZE}&live=1")
    running = daemon({"streams": {"cam": {"source": scene.spec.address, "prompts": marks(scene, "box")}}})
    kill_at = random.Random(seed).randrange(20, 80)
    wrong: list[bool] = []
    with Subscriber(running.endpoint, kinds=("masks",)) as subscriber:
        while (message := subscriber.receive(timeout_s=120)).frame < kill_at:
            pass
        truth = scene.truth(message.pts)
        right = {obj.id for obj in message.objects if iou(obj.mask, truth[obj.id]) > 0.6}
        worker = running.child("worker")
        worker.kill()
        worker.wait(20)
        for _ in range(15):
            found = on_another(subscriber.receive(timeout_s=120), scene)
            wrong += [other for obj_id, other in found.items() if obj_id in right]
    assert "tracked on from memory" in running.log
    assert right
    assert wrong
    assert np.mean(wrong) <= 0.1, wrong
    assert running.end() == 0
