"""Commands against a real daemon."""

import json
import re
import signal
import subprocess
import time

import av
import cv2
import numpy as np
import pytest

from streamseg.sources.scene.source import Scene
from tests.cli.executable import read_until


def frames_of(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_subscribe_prints_a_line_for_each_message(streamseg, endpoint):
    done = streamseg("subscribe", endpoint, "--kinds", "objects", "--count", 3, "--timeout", 60)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    for line in lines:
        assert re.search(r"scene    objects frame \d+, .* 1 disc tracked at .*; 2 square tracked .*; 3 triangle", line)


def test_subscribe_prints_json(streamseg, endpoint):
    done = streamseg("subscribe", endpoint, "--stream", "scene", "--kinds", "masks", "--json", "--count", 2)
    assert done.returncode == 0, done.stderr
    headers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [header["type"] for header in headers] == ["masks", "masks"]
    assert headers[1]["frame"] > headers[0]["frame"]
    assert [each["label"] for each in headers[0]["objects"]] == ["disc", "square", "triangle"]
    assert headers[0]["objects"][0]["part"] == 2


def test_subscribe_ends_quietly_when_its_reader_does(streamseg, endpoint):
    process = streamseg.start("subscribe", endpoint, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    read_until(process, process.stdout, "scene")
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == ""
    process.stderr.close()


def test_ctrl_c_ends_subscribe(streamseg, endpoint):
    process = streamseg.start("subscribe", endpoint, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    read_until(process, process.stdout, "scene")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors


def test_subscribe_without_a_daemon_fails_with_a_hint(streamseg, tmp_path):
    done = streamseg("subscribe", f"ipc://{tmp_path}/none", "--timeout", 0.5)
    assert done.returncode == 1
    assert "is streamseg running" in done.stderr


def test_view_writes_a_video_without_a_window(streamseg, endpoint):
    streamseg.environment.pop("DISPLAY", None)
    streamseg.environment.pop("WAYLAND_DISPLAY", None)
    done = streamseg("view", endpoint, "--frames", 5)
    assert done.returncode == 0, done.stderr
    assert "no window: there is no display; writing streamseg-view.mp4" in done.stdout
    assert "5 frames of stream scene" in done.stdout
    frames = frames_of(streamseg.folder / "streamseg-view.mp4")
    assert [frame.shape for frame in frames] == [(360, 640, 3)] * 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_view_that_is_stopped_completes_its_video(streamseg, endpoint, number):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = streamseg.start("view", endpoint, "--out", "masks.mp4", "--frames", 100000, **pipes)
    while not [part for part in streamseg.folder.glob("*.part") if part.stat().st_size]:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "of stream scene" in output
    assert frames_of(streamseg.folder / "masks.mp4")


def test_view_draws_masks_over_their_own_frame(streamseg, endpoint):
    done = streamseg("view", endpoint, "--stream", "scene", "--out", "still.png")
    assert done.returncode == 0, done.stderr
    drawn = cv2.imread(str(streamseg.folder / "still.png"))[:, :, ::-1].astype(int)
    # The disc is seen tinted: its plain color is nowhere in the picture, its tint is.
    scene = Scene("scene:simple")
    x, y = scene.click_point(0, 1)
    plain = scene.render(0)[y, x].astype(int)
    tinted = (0.6 * plain + 0.4 * np.array((86, 180, 233))).astype(int)
    distance = np.abs(drawn - tinted).max(axis=2)
    assert np.count_nonzero(distance < 12) > 1000
    assert np.count_nonzero(np.abs(drawn - plain).max(axis=2) < 12) == 0


def test_view_of_an_unknown_stream_names_the_streams(streamseg, endpoint):
    done = streamseg("view", endpoint, "--stream", "nope", "--out", "still.png", "--timeout", 1.5)
    assert done.returncode == 1
    assert "the daemon has no stream 'nope'; streams: scene" in done.stderr
    assert list(streamseg.folder.iterdir()) == []


def test_probe_reports_the_format(streamseg):
    done = streamseg("probe", "scene:default?size=320x240", "--seconds", 0.5)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^kind +scene, live$", done.stdout, re.MULTILINE)
    assert re.search(r"^size +320 x 240, rgb24$", done.stdout, re.MULTILINE)


def test_probe_prints_json(streamseg):
    done = streamseg("probe", "lavfi:testsrc2=size=64x48:rate=5", "--seconds", 0.1, "--json")
    report = json.loads(done.stdout)
    assert (report["kind"], report["format"]["width"], report["format"]["height"]) == ("lavfi", 64, 48)


def test_run_on_one_source_ends_with_its_file(streamseg, tmp_path):
    address = f"ipc://{tmp_path}/pub"
    daemon = streamseg.start(
        *("run", "--source", "scene:simple?frames=40&live=0", "--model", "colour", "--point", "26%,30%"),
        *("--endpoint", address, "--wait-for-subscriber", "--pace", "fast", "--log-format", "json"),
        stderr=subprocess.PIPE,
    )
    try:
        log = read_until(daemon, daemon.stderr, "ready: masks at")
        done = streamseg("subscribe", address, "--kinds", "objects", "--json", "--count", 10, "--timeout", 60)
        headers = [json.loads(line) for line in done.stdout.splitlines()]
        assert len(headers) == 10, done.stderr
        assert [each["state"] for each in headers[0]["objects"]] == ["tracked"]
        assert headers[0]["stream"] == "cam"
        rest = daemon.communicate(timeout=60)[1]
        assert daemon.returncode == 0, log + rest
        assert {json.loads(line)["level"] for line in (log + rest).splitlines()} == {"info"}
    finally:
        if daemon.poll() is None:
            daemon.kill()
            daemon.communicate(timeout=10)


def test_ctrl_c_ends_run(streamseg, tmp_path):
    daemon = streamseg.start(
        *("run", "--source", "scene:simple", "--model", "fixed", "--endpoint", f"ipc://{tmp_path}/pub"),
        stderr=subprocess.PIPE,
    )
    log = read_until(daemon, daemon.stderr, "ready: masks at")
    assert "stream cam has no prompts" in log
    daemon.send_signal(signal.SIGINT)
    daemon.communicate(timeout=30)
    assert daemon.returncode == 0


def test_demo_measures_and_draws(streamseg):
    done = streamseg("demo", "--model", "colour", "--frames", 15, "--size", "320x240", "--out", "demo.mp4")
    assert done.returncode == 0, done.stderr
    assert re.search(r"frames +\W +15 of 320x240", done.stdout)
    assert float(re.search(r"IoU of all +\W +([0-9.]+)", done.stdout)[1]) > 0.9
    assert len(frames_of(streamseg.folder / "demo.mp4")) == 15
    assert done.stdout.count("runs for 15 frames") == 1
    assert re.search(r"1 [a-z ]+\W+[0-9.]+ +\W +0.0 %", done.stdout)


def test_demo_without_an_end_stops_at_ctrl_c(streamseg):
    process = streamseg.start(
        *("demo", "--model", "colour", "--seconds", "0", "--no-page", "--out", "demo.mp4"), stdout=subprocess.PIPE
    )
    begun = read_until(process, process.stdout, " IoU ")
    assert "runs until Ctrl-C; the video keeps the last 60 s" in begun
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "IoU of all" in out
    assert frames_of(streamseg.folder / "demo.mp4")


@pytest.fixture
def clip(tmp_path):
    scene = Scene("scene:simple?size=320x240")
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for n in range(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(scene.render(n), format="rgb24")))
        container.mux(stream.encode(None))
    x, y, w, h = scene.truth_box(0, 1)
    return path, f"{x},{y},{x + w},{y + h}"


def test_demo_on_a_clip_ends_with_it(streamseg, clip):
    path, box = clip
    done = streamseg("demo", "--model", "colour", "--source", path, "--box", box, "--out", "demo.png")
    assert done.returncode == 0, done.stderr
    assert "IoU" not in done.stdout
    assert int(re.search(r"frames +\W +(\d+) of 320x240", done.stdout)[1]) >= 1  # late frames are dropped
    assert (streamseg.folder / "demo.png").exists()
