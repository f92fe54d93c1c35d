"""A daemon is recorded by the command line, the recorder is killed, and the recording is played to a subscriber."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from streamseg.client import Subscriber
from streamseg.ipc.endpoints import bind
from streamseg.record.folder import read_recording
from streamseg.record.segment import Recorded
from tests.e2e.daemon_process import DISC, DaemonProcess, wait_for

CHANGED = ("session", "publisher", "t_published_ns")


def streamseg(*args: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "streamseg", *map(str, args)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ)


def of_kind(recording: Path, kind: str) -> list[Recorded]:
    return [recorded for recorded in read_recording(recording) if recorded.kind == kind]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Of a recorder that was killed, then of one that ended properly."""
    folder = tmp_path_factory.mktemp("recording")
    daemon = DaemonProcess(DISC, tmp_path_factory.mktemp("daemon"))
    try:
        daemon.wait_log("ready: masks at")
        with streamseg("record", folder, "--endpoint", daemon.endpoint, "--pictures", "--keep-free-mb", "1") as first:
            wait_for(lambda: list(folder.glob("*.mcap")) and len(of_kind(folder, "image")) > 3, 60, "pictures")
            first.send_signal(signal.SIGKILL)
        killed = len(of_kind(folder, "masks"))
        with streamseg("record", daemon.endpoint, folder, "--keep-free-mb", "1") as second:
            wait_for(lambda: len(of_kind(folder, "masks")) > killed + 5, 60, "masks of the second recorder")
            second.send_signal(signal.SIGTERM)
            assert second.wait(20) == 0, second.stderr.read() if second.stderr else ""
    finally:
        daemon.close()
    return folder


def test_a_killed_recorder_leaves_no_gap(recording: Path) -> None:
    first = sorted(recording.glob("*.mcap"))[0]
    headers = [json.loads(recorded.parts[0]) for recorded in of_kind(first, "masks")]
    numbers = [header["seq"] for header in headers]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert {obj["label"] for header in headers for obj in header["objects"]} == {"cup"}


def test_a_replay_is_the_recording_byte_for_byte(recording: Path, tmp_path: Path) -> None:
    endpoint, expected = f"ipc://{tmp_path}/pub", of_kind(recording, "masks")
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.rcvhwm = 0
        socket.subscribe(b"v1/cam/masks/")
        socket.connect(endpoint)
        with streamseg("replay", recording, "--endpoint", endpoint, "--wait", "--speed", "0") as player:
            got = []
            while len(got) < len(expected) and socket.poll(30_000):
                got.append(socket.recv_multipart())
            assert player.wait(30) == 0
    assert len(got) == len(expected)
    for (topic, header, *masks), recorded in zip(got, expected, strict=True):
        assert topic == recorded.topic
        assert tuple(masks) == recorded.parts[1:]
        now, before = json.loads(header), json.loads(recorded.parts[0])
        restored = header
        for name in CHANGED:
            assert now[name] != before[name]
            restored = restored.replace(json.dumps(now[name]).encode(), json.dumps(before[name]).encode(), 1)
        assert restored == recorded.parts[0]


def test_a_subscriber_sees_a_daemon_with_its_streams(recording: Path, tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/pub"
    command = ("replay", recording, "--endpoint", endpoint, "--wait", "--speed", "3", "--loop")
    with streamseg(*command) as player, Subscriber(endpoint, kinds=["masks", "status"], timeout_s=30) as subscriber:
        sessions, seen = set(), set()
        for message in subscriber:
            seen.add((message.stream, message.kind))
            sessions.add(message.session)
            if len(sessions) > 1 and len(seen) == 3:  # it has begun again
                break
        player.send_signal(signal.SIGTERM)
        assert player.wait(20) == 0
    assert seen == {("cam", "masks"), ("cam", "status"), ("_daemon", "status")}


def test_replay_from_a_later_start(recording: Path, tmp_path: Path) -> None:
    command = ("replay", recording, "--endpoint", f"ipc://{tmp_path}/pub", "--start", "100000")
    with streamseg(*command) as player:
        assert player.stderr is not None
        assert "the recording ends before 100000 s" in player.stderr.read()
        assert player.wait(20) == 1


def test_a_recording_without_messages_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.mcap").touch()
    with streamseg("replay", tmp_path / "empty.mcap", "--endpoint", f"ipc://{tmp_path}/pub") as player:
        assert player.stderr is not None
        assert "empty.mcap: the recording has no messages" in player.stderr.read()
        assert player.wait(20) == 1


def test_a_replay_takes_no_address_from_a_running_daemon(tmp_path: Path) -> None:
    """A second bind of an ipc address would cut off the first one's subscribers."""
    endpoint = f"ipc://{tmp_path}/pub"
    with zmq.Context() as context, context.socket(zmq.XPUB) as publisher:
        _, claim = bind(publisher, endpoint, "publish.endpoints")
        assert claim is not None
        with streamseg("replay", tmp_path / "some.mcap", "--endpoint", endpoint) as player:
            assert "another program listens there" in player.communicate(timeout=60)[1]
            assert player.returncode == 2
        claim.release()
