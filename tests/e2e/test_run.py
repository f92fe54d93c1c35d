"""The whole daemon: camera in, masks out. Real processes, real sockets, real RTSP, masks against exact truth."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from streamseg.client import Subscriber
from streamseg.client.results import EventMessage, StatusMessage
from streamseg.sources.scene.source import Scene
from tests.e2e.daemon_process import wait_for
from tests.e2e.video_reader import write_film
from tests.servers.live_servers import GstRtspServer, free_port, missing_gstreamer

HERE = Path(__file__).parent
WIDTH, HEIGHT = 640, 360
SCENE = f"scene:simple?size={WIDTH}x{HEIGHT}&fps=30&code=1"


def prompts(scene: Scene, count: int = 2) -> list[dict[str, object]]:
    """The box of each of the first objects on frame 0."""
    found = []
    for obj_id in range(1, count + 1):
        x, y, w, h = scene.truth_box(0, obj_id)
        found.append({"object": obj_id, "label": f"thing{obj_id}", "box": [x, y, x + w, y + h]})
    return found


class Collected:
    def __init__(self, out: Path) -> None:
        self.lines = [json.loads(line) for line in out.read_text().splitlines()]
        with np.load(out.with_suffix(".npz")) as arrays:
            self._arrays = dict(arrays)

    def mask(self, index: int, obj_id: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> np.ndarray:
        bits = self._arrays[f"{index}/{obj_id}"]
        return np.unpackbits(bits, count=size[0] * size[1]).reshape(size[1], size[0]).astype(bool)


def collect(endpoint: str, folder: Path, count: int, *kinds: str) -> Collected:
    out = folder / "collected.jsonl"
    command = [sys.executable, str(HERE / "collect.py"), endpoint, str(out), str(count), *kinds]
    done = subprocess.run(command, timeout=150, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Collected(out)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    union = (one | other).sum()
    return float((one & other).sum() / union) if union else 1.0


def check_order_and_stamps(lines: list[dict], *, paired: bool = False) -> None:
    assert len({line["session"] for line in lines}) == 1
    for before, after in itertools.pairwise(lines):
        assert after["frame"] > before["frame"]
        assert after["t_captured_ns"] > before["t_captured_ns"]
        if not paired:  # masks without their picture are left out of pairs
            assert after["seq"] == before["seq"] + 1 + after["gap"]
            assert after["frame"] == before["frame"] + 1 + after["skipped"]
    for line in lines:
        assert line["t_captured_ns"] <= line["t_decoded_ns"] <= line["t_tracked_ns"] <= line["t_published_ns"]
        assert abs(line["t_wall_ns"] / 1e9 - time.time()) < 300
        assert line["age_ms"] >= 0


def test_generated_scene_end_to_end(daemon, tmp_path):
    scene = Scene(SCENE)
    running = daemon({"model": {"name": "colour"}, "streams": {"cam": {"source": SCENE, "prompts": prompts(scene)}}})
    got = collect(running.endpoint, tmp_path, 60)
    check_order_and_stamps(got.lines)
    scores = {1: [], 2: []}
    for index, line in enumerate(got.lines):
        truth = scene.truth(line["pts"])  # pts of a scene is the number of its picture
        for obj_id in scores:
            if truth[obj_id].sum() > 400:
                scores[obj_id].append(iou(got.mask(index, obj_id), truth[obj_id]))
    for obj_id, values in scores.items():
        assert len(values) >= 30, f"object {obj_id} was hardly visible"
        assert np.median(values) > 0.85, (obj_id, values)
    assert got.lines[0]["t_source"] in ("arrival", "file")

    family = running.family()
    began = time.monotonic()
    assert running.end(signal.SIGTERM) == 0
    assert time.monotonic() - began < 10  # about 1 s on a quiet machine; systemd kills after 10
    # multiprocessing's own process ends by itself shortly after the others.
    left = psutil.wait_procs(family, timeout=5)[1]
    assert not [process for process in left if process.is_running() and process.status() != "zombie"]
    assert not list(running.runtime.iterdir())
    assert not Path(running.endpoint.removeprefix("ipc://")).exists()
    assert "Traceback" not in running.log


def check_rtsp_masks(got: Collected, scene: Scene) -> None:
    """Masks, picture and truth belong to one frame: the picture has its number, and masks fit no other frame."""
    check_order_and_stamps(got.lines, paired=True)
    right, wrong = [], []
    for index, line in enumerate(got.lines):
        assert line["code"] is not None, f"no frame number in picture {index}"
        truth = scene.truth(line["code"])[1]
        other = scene.truth(line["code"] + round(scene.spec.fps / 2))[1]
        if truth.sum() > 400:
            right.append(iou(got.mask(index, 1), truth))
            wrong.append(iou(got.mask(index, 1), other))
    codes = [line["code"] for line in got.lines]
    frames = [line["frame"] for line in got.lines]
    assert len({code - frame for code, frame in zip(codes, frames, strict=True)}) == 1, "frames were lost uncounted"
    assert len(right) >= 30
    assert np.median(right) > 0.85, right
    assert np.median(right) > np.median(wrong) + 0.05


def test_rtsp_stream_end_to_end(daemon, tmp_path):
    scene = Scene(SCENE)
    port = free_port()
    publisher = subprocess.Popen(
        [sys.executable, str(HERE / "scene_publisher.py"), SCENE, f"rtsp://127.0.0.1:{port}/live"]
    )
    try:
        running = daemon(
            {
                "model": {"name": "colour"},
                "streams": {"cam": {"source": f"rtsp+listen://127.0.0.1:{port}/live", "prompts": prompts(scene, 1)}},
            }
        )
        got = collect(running.endpoint, tmp_path, 60, "image")
        assert {tuple(line["size"]) for line in got.lines} == {(WIDTH, HEIGHT)}
        check_rtsp_masks(got, scene)
        assert running.end() == 0
    finally:
        publisher.kill()
        publisher.wait(timeout=10)


@pytest.mark.gstreamer
def test_rtsp_server_end_to_end(daemon, tmp_path):
    if (reason := missing_gstreamer()) is not None:
        assert os.environ.get("STREAMSEG_REQUIRE_GSTREAMER") != "1", f"GStreamer is required here: {reason}"
        pytest.skip(f"no GStreamer RTSP server: {reason}")
    rate = 15  # half the work of the other tests, in a film that has to be long: a busy machine starts slowly
    scene = Scene(SCENE.replace("fps=30", f"fps={rate}"))
    film = write_film(tmp_path / "scene.mp4", map(scene.render, range(rate * 40)), rate=rate)
    server = GstRtspServer(file=str(film))
    try:
        running = daemon(
            {
                "model": {"name": "colour"},
                "streams": {"cam": {"source": server.url(), "prompts": prompts(scene, 1)}},
            }
        )
        got = collect(running.endpoint, tmp_path, 60, "image")
        check_rtsp_masks(got, scene)
        # The server's RTCP reports give the camera's own clock after the first seconds.
        assert got.lines[-1]["t_source"] == "rtcp"
        assert running.end() == 0
    finally:
        server.kill()


def test_file_loses_no_frame_and_ends_by_itself(daemon, tmp_path):
    frames = 100
    running = daemon(
        {
            "model": {"name": "fixed"},
            "publish": {"wait_for_subscriber": True},
            "streams": {
                "cam": {
                    "source": f"scene:simple?size=320x180&frames={frames}&live=0",
                    "pace": "fast",
                    "prompts": [{"object": 1, "box": [10, 20, 40, 60]}],
                }
            },
        }
    )
    got = collect(running.endpoint, tmp_path, frames)
    assert [line["frame"] for line in got.lines] == list(range(frames))
    assert [line["pts"] for line in got.lines] == list(range(frames))
    assert all(line["gap"] == line["skipped"] == 0 for line in got.lines)
    assert got.mask(frames - 1, 1, (320, 180)).sum() == 30 * 40
    assert running.process.wait(timeout=30) == 0
    assert "all sources are at their end" in running.log


def test_killed_children_are_replaced_and_reported(daemon):
    running = daemon(
        {
            "model": {"name": "fixed"},
            "publish": {"endpoints": ["tcp://127.0.0.1:*"]},
            "streams": {
                "cam": {
                    "source": "scene:simple?size=320x180",
                    "prompts": [{"object": 1, "box": [10, 20, 40, 60]}],
                }
            },
        }
    )
    running.wait_log(r"ready: masks at tcp://127.0.0.1:\d+")
    port = re.search(r"ready: masks at (\S+)", running.log)[1]
    with Subscriber(port, kinds=("masks", "events"), mode="all") as subscriber:
        for victim in ("worker", "capture:cam", "publisher"):
            first = next(message for message in subscriber if message.kind == "masks")
            running.child(victim).kill()
            kind = f"{victim.partition(':')[0]}_restarted"
            event = next(m for m in subscriber if isinstance(m, EventMessage) and m.event == kind)
            assert "SIGKILL" in event.detail
            after = next(m for m in subscriber if m.kind == "masks" and m.t_captured_ns / 1e9 > time.monotonic() - 0.5)
            # The next publisher has the port that was assigned to the first.
            assert (after.publisher == first.publisher) == (victim != "publisher")
            assert after.session == first.session
            assert after.frame > first.frame
            assert [obj.id for obj in after.objects] == [1]
    assert running.end() == 0


def test_children_end_with_a_supervisor_that_is_killed(daemon):
    running = daemon({"model": {"name": "fixed"}, "streams": {"cam": {"source": "scene:simple?size=320x180"}}})
    running.wait_log("worker is ready")
    children = running.family()[1:]
    assert len(children) >= 3
    running.process.kill()
    running.process.wait(timeout=10)
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive


def test_dead_cameras_and_files_that_are_over_cost_the_others_no_frame(daemon):
    port = free_port()  # without a listener
    running = daemon(
        {
            "model": {"name": "fixed"},
            "streams": {
                "dead": {"source": f"rtsp://admin:hunter2@127.0.0.1:{port}/x"},
                "film": {"source": "scene:simple?size=320x180&frames=20&live=0", "pace": "fast"},
                # It waits like a file, so that it loses no frame on a busy machine.
                "good": {"source": "scene:simple?size=320x180&live=0"},
            },
        }
    )
    frames = []
    with Subscriber(running.endpoint, kinds=("objects", "status"), mode="all") as subscriber:

        def next_status(condition):
            while True:
                message = subscriber.receive(timeout_s=60)
                if isinstance(message, StatusMessage) and condition(message):
                    return message
                if message.kind == "objects" and message.stream == "good":
                    frames.append(message)

        status = next_status(lambda m: m.stream == "dead" and m.last_error)
        next_status(lambda m: m.state == "ended")
        running.child("capture:film").kill()
        wait_for(lambda: not running.children("capture:film"), 20, "the end of the child")
        later = [next_status(lambda m: m.stream == "film") for _ in range(4)]
        while len(frames) < 60:
            next_status(bool)
    assert status.state in ("connecting", "reconnecting")
    assert "hunter2" not in status.last_error + status.source
    # It is not played again.
    assert {(one.frames, one.epoch) for one in later} == {(20, 0)}
    assert not running.children("capture:film")
    assert sum(message.skipped + message.gap for message in frames[1:]) == 0
    assert running.end() == 0
    assert "hunter2" not in running.log


def test_unknown_model_is_one_clear_message(daemon):
    running = daemon({"model": {"name": "sam2.1_hiera_tny"}, "streams": {"cam": {"source": "scene:simple"}}})
    assert running.process.wait(timeout=60) == 2
    running.end()
    assert "sam2.1_hiera_tiny" in running.log  # the nearest right name
    assert "Traceback" not in running.log


def test_hangup_of_the_whole_group_during_start_is_a_reload_and_a_hung_child_leaves_no_socket(daemon):
    running = daemon({"model": {"name": "fixed"}, "streams": {"cam": {"source": "scene:simple?size=320x180"}}})
    wait_for(lambda: len(running.family()) > 2, 60, "children")
    os.killpg(running.process.pid, signal.SIGHUP)
    running.wait_log("configuration reloaded: no differences")
    running.wait_log("ready: masks at")
    assert "restart in" not in running.log
    assert (running.runtime / "streamseg-control").is_socket()
    running.child("control").suspend()  # like one that gets no CPU time: it has to be killed
    assert running.end() == 0
    assert "restart in" not in running.log
    assert not list(running.runtime.iterdir())


def test_interrupt_of_the_whole_group_during_start_ends_cleanly(daemon):
    running = daemon({"model": {"name": "nano"}, "streams": {"cam": {"source": "scene:simple?size=320x180"}}})
    wait_for(lambda: len(running.family()) > 2, 60, "children")
    os.killpg(running.process.pid, signal.SIGINT)  # as a terminal does
    assert running.process.wait(timeout=20) == 0
    running.end()
    assert "Traceback" not in running.log
    assert not list(running.runtime.iterdir())


def test_source_that_fails_is_the_exit_code_when_the_others_are_over(daemon, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"this is no video")
    running = daemon(
        {
            "model": {"name": "fixed"},
            "publish": {"wait_for_subscriber": True},
            "streams": {
                "broken": {"source": str(tmp_path / "broken.mp4")},
                "film": {"source": "scene:simple?size=320x180&frames=50&live=0", "pace": "fast"},
            },
        }
    )
    got = collect(running.endpoint, tmp_path, 50)
    assert [line["frame"] for line in got.lines] == list(range(50))
    assert running.process.wait(timeout=60) == 4
    running.end()
    assert "broken.mp4" in running.log
    assert "Traceback" not in running.log
