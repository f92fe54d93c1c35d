"""Processes are really killed, and their objects continue: the same id on the same object, or lost."""

from __future__ import annotations

import itertools
import random
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bench.scene_identity import boxes, iou, mean_iou, on_another, touching
from streamseg.client import Controller, MaskFrame, Subscriber
from streamseg.sources.scene.source import Scene
from tests.e2e.daemon_process import DaemonProcess, wait_for
from tests.e2e.test_nano import marks

FRAMES = 120
SIZE = "size=480x270&fps=15"
NANO = {"name": "nano", "engine": "torch"}
"""One engine all the time, so that two runs give the same masks."""


def followed(running: DaemonProcess, scene: Scene, kill_at: tuple[int, ...] = ()) -> dict[int, float]:
    """Kill the worker after each of these frames; return frame -> mean IoU of the objects that it shows."""
    found: dict[int, float] = {}
    left = list(kill_at)
    with Subscriber(running.endpoint, kinds=("masks",), mode="all") as subscriber:
        while len(found) < FRAMES:
            message = subscriber.receive(timeout_s=120)
            assert isinstance(message, MaskFrame)
            found[message.pts] = mean_iou(message, scene)
            if left and message.pts >= left[0]:
                running.child("worker").kill()
                left.pop(0)
    return found


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_killed_workers_cost_a_file_next_to_nothing(daemon):
    scene = Scene(f"scene:default?{SIZE}&live=0")
    config = {"model": NANO, "streams": {"cam": {"source": scene.spec.address, "prompts": marks(scene, "box")}}}
    running = daemon(config)
    undisturbed = followed(running, scene)
    assert running.end() == 0
    running = daemon(config)
    kill_at = tuple(random.Random(seed).randrange(first, first + 10) for seed, first in enumerate((15, 45, 75)))
    disturbed = followed(running, scene, kill_at)
    assert running.log.count("tracked on from memory") == len(kill_at)
    assert running.end() == 0
    for killed, until in itertools.pairwise((*kill_at, FRAMES)):
        after = [number for number in disturbed if killed < number <= until and number in undisturbed]
        assert len(after) > 15
        difference = np.mean([undisturbed[number] - disturbed[number] for number in after])
        assert difference < 0.05, (kill_at, killed, difference)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_after_a_gap_an_id_is_on_its_object_or_lost(daemon, tmp_path):
    """Only what nano tracks well counts, until it touches another: the rest is not the fault of the restart.

    Three kills may leave nothing to judge: then more follow.
    """
    scene = Scene(f"scene:default?{SIZE}&live=1")
    running = daemon(
        {
            "model": NANO,
            "streams": {"cam": {"source": scene.spec.address}},
            "state": {"path": str(tmp_path / "kept")},
        }
    )
    running.wait_log("ready: masks at")
    with (
        Controller(running.control, timeout_s=60) as control,
        Subscriber(running.endpoint, kinds=("masks",)) as subscriber,
    ):
        wrong: list[bool] = []
        kills = 0
        for seed in range(8):
            if kills >= 3 and wrong:
                break
            message = subscriber.receive(timeout_s=120)
            control.set_prompts("cam", boxes(scene, message.pts), frame=message.frame, on_expired="newest")
            marked_at = time.time()
            frames = random.Random(seed).randrange(5, 25)
            while len(message.objects) < 3 or frames:
                message = subscriber.receive(timeout_s=120)
                frames = max(0, frames - 1)
            wait_for_snapshot(tmp_path / "kept", marked_at)
            truth = scene.truth(message.pts)
            right = {obj.id for obj in message.objects if iou(obj.mask, truth[obj.id]) > 0.6}
            assert right
            worker = running.child("worker")
            worker.kill()
            kills += 1
            worker.wait(20)
            for _ in range(15):
                before, message = message, subscriber.receive(timeout_s=120)
                right -= touching(scene, before.pts, message.pts)
                found = on_another(message, scene)
                wrong += [other for obj_id, other in found.items() if obj_id in right]
    assert wrong
    assert np.mean(wrong) <= 0.1, wrong
    assert running.log.count("tracked on from memory") == kills
    assert running.end() == 0


def wait_for_snapshot(folder: Path, since: float) -> None:
    wait_for(lambda: any(one.stat().st_mtime > since for one in folder.glob("*.stream")), 60, "a snapshot")


def listed(control: Controller, stream: str) -> dict[int, tuple[str, str]]:
    return {obj.id: (obj.label, obj.state) for obj in control.list(stream)[0].objects}


def test_damage_on_disk_costs_the_damaged_object_alone(daemon, tmp_path):
    kept = tmp_path / "kept"
    config = {
        "model": {"name": "echo"},
        "streams": {"cam": {"source": "scene:simple?size=320x180"}},
        "state": {"path": str(kept)},
    }
    running = daemon(config)
    running.wait_log("ready: masks at")
    with Controller(running.control, timeout_s=60) as control:
        wait_for(lambda: control.list("cam")[0].frame is not None, 60, "a frame")
        for number in (1, 2, 3):
            control.add_prompt("cam", box=(0.1 * number, 0.1, 0.1 * number + 0.2, 0.5), label=f"cup {number}")
    for process in reversed(running.family()):
        process.kill()
    running.process.wait(20)
    (file,) = kept.glob("*.stream")
    changed = bytearray(file.read_bytes())
    with zipfile.ZipFile(file) as archive:
        member = next(member for member in archive.infolist() if member.filename.startswith("2/"))
        changed[member.header_offset + member.file_size] ^= 0x01  # within the array: its headers are smaller than it
    file.write_bytes(changed)

    again = daemon(config)
    again.wait_log("ready: masks at")
    with Controller(again.control, timeout_s=60) as control:
        wait_for(lambda: len(listed(control, "cam")) == 3, 60, "the objects")
        wait_for(lambda: control.list("cam")[0].frame is not None, 60, "a frame")
        assert listed(control, "cam") == {1: ("cup 1", "tracked"), 2: ("cup 2", "lost"), 3: ("cup 3", "tracked")}
    again.wait_log("the snapshot's memory of object 2 is not used: it is damaged")
    again.wait_log(r"objects \[1, 3\]: tracked on from memory")
    assert again.end() == 0


@pytest.mark.slow
def test_a_killed_daemon_comes_back_with_streams_objects_and_ids(daemon, tmp_path):
    scene = Scene(f"scene:default?{SIZE}&live=1")
    config = {
        "model": NANO,
        "streams": {"cam": {"source": scene.spec.address}},
        "state": {"path": str(tmp_path / "kept"), "every_s": 0.5},
    }
    running = daemon(config)
    session = set()
    with Controller(running.control, timeout_s=60) as control, Subscriber(running.endpoint) as subscriber:
        session.add(subscriber.receive(timeout_s=60).session)
        control.add_stream("other", {"source": scene.spec.address})
        for stream in ("cam", "other"):
            wait_for(lambda stream=stream: control.list(stream)[0].frame is not None, 60, "a frame")
            # Number 0 of a live scene is long gone: where the lily pad is now is on the newest frame.
            for message in subscriber:
                if message.stream == stream:
                    break
            x, y = scene.click_point(message.pts, 2) or (0, 0)
            added = control.add_prompt(
                stream, points=[(x, y)], coords="pixels", label="pad", frame=message.frame, on_expired="newest"
            )
            assert added.area > 0
        wait_for(lambda: len(list((tmp_path / "kept").glob("*.stream"))) == 2, 60, "snapshots of both streams")
        seen = listed(control, "cam")
    for process in reversed(running.family()):
        process.kill()
    running.process.wait(20)
    again = daemon(config)
    again.wait_log("ready: masks at")
    with Controller(again.control, timeout_s=60) as control, Subscriber(again.endpoint) as subscriber:
        streams = set()
        while streams != {"cam", "other"}:
            message = subscriber.receive(timeout_s=60)
            session.add(message.session)
            if message.stream in streams:
                continue
            streams.add(message.stream)
            (obj,) = message.objects
            assert (obj.id, obj.label) == (1, "pad")
            if obj.area:
                truth = scene.truth(message.pts)
                assert iou(obj.mask, truth[2]) > max(iou(obj.mask, truth[other]) for other in (1, 3))
            else:
                assert obj.state in ("occluded", "lost")
        assert len(session) == 2
        assert {obj_id: label for obj_id, (label, _) in listed(control, "cam").items()} == {
            obj_id: label for obj_id, (label, _) in seen.items()
        }
    assert "tracked on from memory" in again.log
    assert again.end() == 0
