"""A single mistake must not end the daemon."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from streamseg.client import Controller, Subscriber
from streamseg.errors import ControlError
from tests.e2e.daemon_process import DaemonProcess, wait_for
from tests.e2e.video_reader import write_film

SIMPLE = "scene:simple?size=320x180&fps=10"
BOX = {"object": 1, "label": "cup", "box": [40, 20, 200, 150]}


def first_masks(endpoint: str, stream: str, ids: list[int], timeout_s: float = 60) -> None:
    with Subscriber(endpoint, streams=[stream], timeout_s=timeout_s) as subscriber:
        deadline = time.monotonic() + timeout_s
        while [obj.id for obj in subscriber.receive().objects] != ids:
            assert time.monotonic() < deadline


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """A daemon for tests after which it runs as before."""
    config = {"model": {"name": "fixed"}, "streams": {"cam": {"source": SIMPLE, "prompts": [BOX]}}}
    running = DaemonProcess(config, tmp_path_factory.mktemp("steady"))
    try:
        running.wait_log("ready: masks")
        yield running
        assert running.end() == 0
    finally:
        running.close()


@pytest.mark.parametrize("extra", ["x-since: 2026-02-30\n", f"x-number: {'1' * 5000}\n", "x-bytes: \x00\n"])
def test_a_file_that_cannot_be_read_changes_nothing(steady, extra):
    running, before = steady, len(steady.lines)

    def wait_new(words: str) -> None:
        wait_for(lambda: words in "".join(running.lines[before:]), 180, f"{words}\n{running.log}", running.alive)

    good = running.file.read_text()
    running.file.write_text(good + extra)
    os.kill(running.process.pid, signal.SIGHUP)
    wait_new("the configuration stays as it is")
    with Controller(running.control) as control, pytest.raises(ControlError):
        control.reload()
    running.file.write_text(good)
    os.kill(running.process.pid, signal.SIGHUP)
    wait_new("configuration reloaded: no differences")
    first_masks(running.endpoint, "cam", [1])


def test_a_configuration_that_never_ends_holds_nothing_up(steady):
    running = steady
    good = running.file.read_text()
    running.file.unlink()
    os.mkfifo(running.file)
    writer = os.open(running.file, os.O_RDWR)
    with Controller(running.control) as control, pytest.raises(ControlError, match="its end did not come"):
        control.reload()
    os.close(writer)
    running.file.unlink()
    running.file.write_text(good)
    first_masks(running.endpoint, "cam", [1])
    assert "no progress" not in running.log


@pytest.mark.parametrize("source", ["~nouser/clip.mp4", f"webcam:{'1' * 5000}", "x" * 300_000])
def test_a_source_that_cannot_be_read_is_an_error(steady, source):
    with Controller(steady.control) as control:
        with pytest.raises(ControlError):
            control.add_stream("bad", {"source": source})
        with pytest.raises(ControlError):
            control.add_stream("bad", {"source": SIMPLE, "prompts": [{"object": 1, "mask": source}]})
        assert control.hello().streams == ("cam",)
    first_masks(steady.endpoint, "cam", [1])


def test_sighup_while_it_starts_reloads(daemon):
    running = daemon({"model": {"name": "fixed"}, "streams": {"cam": {"source": SIMPLE}}})
    status = Path(f"/proc/{running.process.pid}/status")

    def held_back() -> bool:  # blocked or handled: from then on it is ours
        masks = dict(line.split(":\t") for line in status.read_text().splitlines() if line.startswith("Sig"))
        return bool((int(masks["SigBlk"], 16) | int(masks["SigCgt"], 16)) & 1 << (signal.SIGHUP - 1))

    wait_for(held_back, 30, "SIGHUP held back")
    os.kill(running.process.pid, signal.SIGHUP)
    running.wait_log("SIGHUP: reloading the configuration")
    running.wait_log("ready: masks")
    assert running.end() == 0


def test_an_unread_log_stops_nothing(tmp_path):
    file = tmp_path / "c.yaml"
    endpoint = f"ipc://{tmp_path}/pub"
    streams = {"cam": {"source": SIMPLE, "prompts": [BOX]}}
    config = {"model": {"name": "fixed"}, "publish": {"endpoints": [endpoint]}, "streams": streams}
    file.write_text(yaml.safe_dump(config))
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    try:
        while os.write(write_end, b"x" * 4096):  # full before the daemon writes its first line
            pass
    except BlockingIOError:
        os.set_blocking(write_end, True)
    process = subprocess.Popen(
        [sys.executable, "-m", "streamseg", "run", str(file)],
        stderr=write_end,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    try:
        first_masks(endpoint, "cam", [1])
        for _ in range(20):  # each is a line, from a signal handler
            process.send_signal(signal.SIGHUP)
            time.sleep(0.02)
        first_masks(endpoint, "cam", [1])
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait(10)
        os.close(read_end)
        os.close(write_end)


def test_a_path_that_is_not_utf_8_harms_no_stream(tmp_path):
    folder = os.path.join(os.fsencode(tmp_path), b"caf\xe9")  # noqa: PTH118
    os.mkdir(folder)  # noqa: PTH102
    clip = write_film(tmp_path / "clip.mp4", (np.full((180, 320, 3), 4 * number, np.uint8) for number in range(30)))
    os.rename(clip, os.path.join(folder, b"clip.mp4"))  # noqa: PTH104, PTH118
    endpoint = f"ipc://{tmp_path}/pub"
    clip_settings = {"source": "clip.mp4", "loop": True, "prompts": [BOX]}
    config = {
        "model": {"name": "fixed"},
        "streams": {"clip": clip_settings, "cam": {"source": SIMPLE}},
        "publish": {"endpoints": [endpoint]},
    }
    file = os.path.join(folder, b"c.yaml")  # noqa: PTH118
    with open(file, "w") as out:  # noqa: PTH123
        yaml.safe_dump(config, out)
    runtime = tmp_path / "rt"
    runtime.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "streamseg", "run", file],
        stderr=subprocess.PIPE,
        env={**os.environ, "XDG_RUNTIME_DIR": str(runtime)},
    )
    try:
        first_masks(endpoint, "cam", [])
        first_masks(endpoint, "clip", [1])
        with Subscriber(endpoint, streams=["clip"], kinds=["status"], timeout_s=30) as subscriber:
            assert "caf\\xe9/clip.mp4" in subscriber.receive().source
    finally:
        process.terminate()
        log = process.communicate(timeout=30)[1].decode()  # valid UTF-8, too
    assert "restart in" not in log


def test_a_daemon_without_streams_waits_and_its_model_changes_under_way(daemon):
    config: dict[str, object] = {"model": {"name": "fixed"}, "streams": {}}
    running = daemon(config)
    running.wait_log("ready: masks")
    with Controller(running.control) as control:
        assert control.hello().streams == ()
        control.add_stream("cam", {"source": SIMPLE, "on_discontinuity": "reset"})
        first_masks(running.endpoint, "cam", [])
        control.add_prompt("cam", points=[(0.5, 0.5)], label="clicked")
        with Subscriber(running.endpoint, streams=["cam"], mode="all", timeout_s=60) as masks:
            before = next(one for one in masks if one.objects)
            running.file.write_text(yaml.safe_dump({**config, "model": {"name": "echo", "max_objects": 3}}))
            result = control.reload()
            assert result.needs_restart == ("publish.endpoints", "log.level")  # which the test gave by itself
            after = next(one for one in masks if one.model == "echo" and one.objects)
        assert (control.hello().model, control.hello().max_objects) == ("echo", 3)
    (old,), (new,) = before.objects, after.objects
    assert (new.id, new.label) == (1, "clicked")
    assert (new.bbox, new.area) == (old.bbox, old.area)  # from its mask: a disc around the click
    assert "restart in" not in running.log
    assert running.end() == 0


def test_a_model_that_cannot_be_used_is_taken_back(steady, tmp_path):
    running, good = steady, steady.file.read_text()
    first_masks(running.endpoint, "cam", [1])
    checkpoint = tmp_path / "broken.pt"
    checkpoint.write_bytes(b"no checkpoint")
    model = {"name": str(checkpoint), "config": "sam2.1_hiera_t.yaml"}
    running.file.write_text(yaml.safe_dump({**yaml.safe_load(good), "model": model}))
    os.kill(running.process.pid, signal.SIGHUP)
    running.wait_log("back to the model fixed", 120)
    first_masks(running.endpoint, "cam", [1])
    with Controller(running.control) as control:
        assert control.hello().model == "fixed"
        running.file.write_text(good)
        control.reload()
    first_masks(running.endpoint, "cam", [1])


@pytest.mark.parametrize(("address", "code"), [("tcp://192.0.2.1:5555", 6), ("tcp://127.0.0.1:{}", 2)])
def test_an_address_that_is_not_here_yet_has_a_code_of_its_own(daemon, address, code):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = address.format(taken.getsockname()[1])
        publish = {"endpoints": [address], "allow_unauthenticated": True}
        running = daemon({"model": {"name": "fixed"}, "publish": publish, "streams": {"cam": {"source": SIMPLE}}})
        assert running.process.wait(60) == code
    running.end()
    assert "cannot be bound" in running.log


def test_leftovers_of_a_killed_daemon_are_removed_and_those_of_a_living_one_are_not(daemon):
    config = {"model": {"name": "fixed"}, "streams": {"cam": {"source": SIMPLE, "prompts": [BOX]}}}
    running = daemon(config)
    running.wait_log("ready: masks")
    (folder,) = running.runtime.glob("streamseg-run-*")
    other = running.runtime / "other.yaml"  # of the same user, in the same place, with sockets of its own
    sockets = {
        "control": {"endpoint": f"ipc://{running.runtime}/c"},
        "publish": {"endpoints": [f"ipc://{running.runtime}/b"]},
    }
    other.write_text(yaml.safe_dump(config | sockets))
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(running.runtime)}
    run = [sys.executable, "-m", "streamseg", "run"]
    living = subprocess.Popen([*run, str(other)], env=environment, stderr=subprocess.DEVNULL)
    try:
        first_masks(f"ipc://{running.runtime}/b", "cam", [1])
        for process in reversed(running.family()):
            process.kill()
        running.process.wait(20)
        assert folder.exists()
        with subprocess.Popen([*run, str(running.file)], env=environment, stderr=subprocess.PIPE, text=True) as again:
            assert again.stderr is not None
            first_masks(running.endpoint, "cam", [1])
            assert not folder.exists()
            assert len(list(running.runtime.glob("streamseg-run-*"))) == 2
            again.terminate()
            assert f"removed {folder}" in again.stderr.read()
        first_masks(f"ipc://{running.runtime}/b", "cam", [1])
    finally:
        living.terminate()
        living.wait(20)
    assert not list(running.runtime.glob("streamseg-*"))
