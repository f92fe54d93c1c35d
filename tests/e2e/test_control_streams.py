"""Streams that are added, removed and reloaded under way, and many or hostile requests at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import yaml

from streamseg.client import AsyncController, ControlError, Subscriber
from streamseg.sources.scene.source import Scene
from tests.e2e.control_calls import FILE_LIKE, SIMPLE, controller, first_frame, refused
from tests.e2e.daemon_process import wait_for


class FrameCounter:
    """Reads all frames of a stream in the background; tells whether one was lost."""

    def __init__(self, endpoint: str, stream: str) -> None:
        self.frames: list[int] = []
        self.lost = 0
        self._stop = threading.Event()
        self._subscriber = Subscriber(endpoint, streams=[stream], kinds=("objects",), mode="all")
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with self._subscriber as subscriber:
            while not self._stop.is_set():
                message = subscriber.receive(timeout_s=30)
                if self.frames:
                    self.lost += message.gap + message.skipped
                self.frames.append(message.frame)

    def more(self, count: int = 10) -> None:
        """Wait for some more frames."""
        until = len(self.frames) + count
        wait_for(lambda: len(self.frames) >= until, 30, f"{count} more frames")

    def finish(self) -> int:
        """Return how many frames were lost."""
        self._stop.set()
        self._thread.join(timeout=30)
        assert not self._thread.is_alive()
        return self.lost


def test_streams_come_and_go_and_cost_the_others_no_frame(daemon):
    running = daemon({"model": {"name": "fixed"}, "streams": {"cam": {"source": FILE_LIKE}}})
    with controller(running) as control:
        counter = FrameCounter(running.endpoint, "cam")
        counter.more()
        with Subscriber(running.endpoint, streams=["door"], kinds=("objects",), mode="all") as early:
            control.add_stream("door", {"source": SIMPLE, "prompts": [{"object": 1, "box": [10, 20, 40, 60]}]})
            assert control.hello().streams == ("cam", "door")
            first = early.receive(timeout_s=30)  # subscribed to before the stream was there
            assert [obj.id for obj in first.objects] == [1]
            assert control.add_prompt("door", points=[(0.5, 0.5)]).object_id == 2
            refused("STREAM_EXISTS", lambda: control.add_stream("door", {"source": SIMPLE}))
            error = refused("BAD_CONFIG", lambda: control.add_stream("x", {"source": "ftp://x", "lop": True}))
            assert "streams.x.lop: true: there is no such setting; did you mean loop?" in error.message
            refused("BAD_CONFIG", lambda: control.add_stream("X Y", {"source": SIMPLE}))
            capture = running.child("capture:door")
            control.remove_stream("door")
            assert control.hello().streams == ("cam",)
            refused("STREAM_NOT_FOUND", lambda: control.add_prompt("door", points=[(0.5, 0.5)]))
            refused("STREAM_NOT_FOUND", lambda: control.remove_stream("door"))
            wait_for(lambda: not capture.is_running(), 20, "the end of the capture process")
            control.add_stream("door", {"source": SIMPLE})
            last = first
            while (again := early.receive(timeout_s=30)).objects:
                last = again
            # Within a session, a stream's numbers only rise, even if it is removed and added again.
            assert again.frame > last.frame
            assert again.seq == last.seq + 1 + again.gap
        counter.more()
        assert counter.finish() == 0
        for name in ("worker", "publisher"):  # a restarted process knows the current streams
            running.child(name).kill()
            running.wait_log(f"{name} ended .killed by SIGKILL.: restart")
        with Subscriber(running.endpoint, streams=["door"], kinds=("objects",)) as subscriber:
            assert subscriber.receive(timeout_s=60).frame > again.frame
    assert running.end() == 0
    assert "Traceback" not in running.log


def open_files(process: psutil.Process) -> list[str]:
    """Descriptors of a process, sorted."""
    found = []
    for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            found.append(str(descriptor.readlink()))
    return sorted(found)


def settled(value: Callable[[], list[list[str]]]) -> list[list[str]]:
    """Return a value once it has stayed the same for a second."""
    newest, since = value(), time.monotonic()

    def stayed() -> bool:
        nonlocal newest, since
        if (now := value()) != newest:
            newest, since = now, time.monotonic()
        return time.monotonic() - since > 1

    wait_for(stayed, 30, "a value that stays")
    return newest


def test_streams_are_opened_and_closed_many_times_without_a_trace(daemon):
    running = daemon({"model": {"name": "fixed"}, "streams": {"cam": {"source": SIMPLE}}})
    with controller(running) as control:
        first_frame(control)  # it is mapped from then on
        processes = [running.child(name) for name in ("worker", "publisher")]

        def open_and_close() -> None:
            control.add_stream("door", {"source": SIMPLE})
            control.list("door")
            control.remove_stream("door")
            control.list("cam")

        open_and_close()
        wait_for(lambda: len(running.children("capture:door")) == 0, 20, "the end of the capture process")
        before = settled(lambda: [open_files(process) for process in processes])
        for _ in range(6):
            open_and_close()
        wait_for(lambda: len(running.children("capture:door")) == 0, 20, "the end of all capture processes")
        after = settled(lambda: [open_files(process) for process in processes])
        # A process may open something by itself meanwhile; a leak of six streams would be six.
        for now, then in zip(after, before, strict=True):
            assert len(now) < len(then) + 5, (then, now)
        wait_for(lambda: len(running.family()) <= 7, 20, "the end of what was about to start")
    assert running.end() == 0


@pytest.mark.slow
def test_a_reload_changes_what_differs_and_costs_the_others_no_frame(daemon):
    box = {"object": 1, "box": [10, 20, 40, 60]}
    config = {
        "model": {"name": "fixed"},
        "log": {"level": "debug"},
        "streams": {
            "keep": {"source": FILE_LIKE, "prompts": [box]},
            "prompts": {"source": FILE_LIKE, "prompts": [box, {"object": 2, "box": [50, 20, 80, 60]}]},
            "source": {"source": SIMPLE},
            "gone": {"source": SIMPLE},
        },
    }
    running = daemon(config)
    config["publish"] = {"endpoints": [running.endpoint]}
    with controller(running) as control:
        counters = [FrameCounter(running.endpoint, stream) for stream in ("keep", "prompts")]
        for counter in counters:
            counter.more()
        for stream in config["streams"]:
            first_frame(control, stream)
        control.add_prompt("prompts", points=[(0.9, 0.9)], label="clicked")
        control.add_stream("asked", {"source": SIMPLE})
        streams = {
            "keep": config["streams"]["keep"],
            "prompts": {"source": FILE_LIKE, "prompts": [box, {"object": 4, "box": [90, 20, 120, 60]}]},
            "source": {"source": "scene:simple?size=640x360"},
            "new": {"source": SIMPLE},
        }
        publish = {**config["publish"], "jpeg_quality": 71}
        running.file.write_text(yaml.safe_dump({**config, "streams": streams, "publish": publish}))
        result = control.reload()
        assert result.added == ("new",)
        assert result.removed == ("gone",)
        assert result.restarted == ("source",)
        assert result.changed == ("prompts",)
        assert set(result.unchanged) == {"keep", "asked"}
        assert result.needs_restart == ("publish.jpeg_quality",)
        assert control.hello().streams == ("keep", "prompts", "source", "asked", "new")
        wait_for(lambda: control.list("source")[0].size == (640, 360), 30, "the new source")
        objects = control.list("prompts")[0].objects
        assert [(obj.id, obj.label) for obj in objects] == [(1, ""), (3, "clicked"), (4, "")]
        for counter in counters:
            counter.more()
            assert counter.finish() == 0
        assert set(control.reload().unchanged) == {"keep", "prompts", "source", "new", "asked"}
        running.file.write_text("streams: {keep: {source: 'ftp://x'}}\n")
        assert "streams.keep.source" in refused("BAD_CONFIG", control.reload).message
        os.kill(running.process.pid, signal.SIGHUP)
        running.wait_log("the configuration stays as it is: .*streams.keep.source")
        assert len(control.hello().streams) == 5
        running.file.write_text(yaml.safe_dump({**config, "streams": {"keep": streams["keep"]}}))
        os.kill(running.process.pid, signal.SIGHUP)
        running.wait_log("configuration reloaded: removed prompts, source, new")
        assert control.hello().streams == ("keep", "asked")
    assert running.end() == 0
    assert "restart the daemon to change: publish.jpeg_quality" in running.log
    assert "Traceback" not in running.log


def test_an_asyncio_client_may_ask_many_things_at_once(daemon):
    scene = Scene(SIMPLE)
    running = daemon({"model": {"name": "colour"}, "streams": {"cam": {"source": SIMPLE}}})
    running.wait_log("ready: masks at")

    async def ask() -> None:
        async with AsyncController(running.control) as control:
            while (await control.list("cam"))[0].frame is None:
                await asyncio.sleep(0.02)
            boxes = [scene.truth_box(0, obj_id) for obj_id in (1, 2, 3)]
            added = await asyncio.gather(
                *(control.add_prompt("cam", box=(x, y, x + w, y + h), coords="pixels") for x, y, w, h in boxes)
            )
            assert [one.object_id for one in added] == [1, 2, 3]
            answers = await asyncio.gather(*(control.list("cam") for _ in range(20)), control.hello())
            assert all(len(answer[0].objects) == 3 for answer in answers[:-1])
            with pytest.raises(ControlError, match="no object 9"):
                await control.remove_object("cam", 9)
        async with AsyncController(f"{running.control}-none", connect_timeout_s=0.2) as lonely:
            with pytest.raises(ControlError, match="no daemon listens"):
                await lonely.hello()

    asyncio.run(asyncio.wait_for(ask(), 60))
    assert running.end() == 0


def test_hostile_requests_cost_the_stream_no_frame(daemon):
    import zmq

    running = daemon({"model": {"name": "fixed"}, "streams": {"cam": {"source": FILE_LIKE}}})
    with controller(running) as control, zmq.Context() as context, context.socket(zmq.DEALER) as bad:
        bad.setsockopt(zmq.LINGER, 0)
        bad.connect(running.control)
        counter = FrameCounter(running.endpoint, "cam")
        counter.more()
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            for data in (b"", os.urandom(300), b"[" * 5000, b'{"v":1,"id":"x","op":"list","stream":"cam"}'):
                try:
                    bad.send_multipart([b"", data], zmq.NOBLOCK)
                except zmq.Again:
                    bad.poll(10)
            while bad.poll(0):
                bad.recv_multipart()
        counter.more()
        assert counter.finish() == 0
        assert control.hello().streams == ("cam",)
    assert running.end() == 0
