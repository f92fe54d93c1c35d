"""Processes are really stopped (SIGSTOP): the daemon notices within seconds, names and replaces them; others go on."""

from __future__ import annotations

import itertools
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import psutil
import pytest

from streamseg.client import Controller, EventMessage, ObjectsFrame, StatusMessage, Subscriber
from streamseg.protocol.topics import DAEMON
from tests.e2e.daemon_process import DaemonProcess, wait_for

BOX = {"object": 1, "box": [40, 20, 200, 150]}
LIMIT = r"it made no progress for \d+ s"
"""A process that had worked just before has a second limit; that of the worker is 20 times its slowest step."""


class Watcher:
    """Receives everything of one daemon: a subscriber that pauses would lose messages by its own fault."""

    def __init__(self, running: DaemonProcess) -> None:
        self.frames: list[int] = []
        self.events: dict[str, str] = {}
        self.late: list[float] = []
        self._subscriber = Subscriber(
            running.endpoint, kinds=("objects", "events", "status"), mode="all", timeout_s=60
        ).__enter__()

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 120
        while not condition():
            assert time.monotonic() < deadline, self.events
            message = self._subscriber.receive()
            match message:
                case ObjectsFrame(stream="b"):
                    self.frames.append(message.frame)
                    assert [(obj.id, obj.state) for obj in message.objects] == [(1, "tracked")]
                case StatusMessage() if message.no_masks_s:
                    self.late.append(message.no_masks_s)
                case EventMessage():
                    self.events[message.event] = f"{message.stream}: {message.detail}"

    def more_frames(self) -> None:
        count = len(self.frames)
        self.until(lambda: len(self.frames) > count + 10)

    def lost(self) -> int:
        return sum(later - earlier - 1 for earlier, later in itertools.pairwise(self.frames))

    def close(self) -> None:
        self._subscriber.close()


@pytest.fixture
def frozen_daemon(daemon) -> Iterator[tuple[DaemonProcess, Watcher]]:
    running = daemon(
        {
            "model": {"name": "fixed"},
            "http": {"listen": "127.0.0.1:0"},
            "streams": {
                "a": {"source": "scene:simple?size=320x180", "prompts": [BOX]},
                # It waits like a file: a busy machine costs it no frame.
                "b": {"source": "scene:simple?size=320x180&live=0&fps=20", "prompts": [BOX]},
            },
        }
    )
    running.wait_log("web is ready")
    watcher = Watcher(running)
    watcher.more_frames()
    yield running, watcher
    watcher.close()


def freeze(running: DaemonProcess, *names: str) -> list[psutil.Process]:
    frozen = [running.child(name) for name in names]
    for process in frozen:
        process.suspend()
    return frozen


@pytest.mark.slow
def test_processes_that_frames_do_not_need_are_replaced_while_frames_flow(frozen_daemon):
    running, watcher = frozen_daemon
    frozen = freeze(running, "control", "web", "capture:a")
    watcher.until(lambda: {"control_restarted", "web_restarted", "capture_restarted"} <= watcher.events.keys())
    assert not any(process.is_running() for process in frozen)
    assert re.fullmatch(f"a: {LIMIT}: killed by SIGKILL", watcher.events["capture_restarted"])
    assert re.match(f"{DAEMON}: {LIMIT}", watcher.events["control_restarted"])
    watcher.until(lambda: running.log.count("control is ready") == 2)
    with Controller(running.control) as control:
        assert control.hello().streams == ("a", "b")
    assert watcher.lost() == 0
    assert watcher.late == []
    assert running.end() == 0


@pytest.mark.slow
def test_a_frozen_worker_is_reported_and_costs_no_object(frozen_daemon):
    running, watcher = frozen_daemon
    address = re.search(r"(http://127\.0\.0\.1:\d+)", running.log)
    assert address is not None
    readyz: set[str] = set()
    done = threading.Event()

    def ask() -> None:
        while not done.wait(0.2):
            try:
                with urllib.request.urlopen(f"{address[1]}/readyz", timeout=2) as response:
                    readyz.add(response.read().decode())
            except urllib.error.HTTPError as error:
                readyz.add(error.read().decode())

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        wait_for(lambda: any('"ok":true' in one for one in readyz), 30, "a daemon that is ready")
        freeze(running, "worker")
        watcher.until(lambda: "worker_restarted" in watcher.events)
        watcher.more_frames()
    finally:
        done.set()
        asking.join(10)
    assert re.fullmatch(f"{DAEMON}: {LIMIT}: killed by SIGKILL", watcher.events["worker_restarted"])
    assert any(re.search(r"stream [ab]: no masks for \d+ s although frames come", one) for one in readyz), readyz
    assert watcher.late  # in status, too
    assert watcher.lost() <= 1  # what the worker held
    count = len(watcher.late)
    freeze(running, "publisher")
    watcher.until(lambda: "publisher_restarted" in watcher.events)
    assert re.search(LIMIT, watcher.events["publisher_restarted"])
    watcher.more_frames()
    assert len(watcher.late) == count
    assert running.end() == 0
