"""The daemon records itself, and a recording that stops changes nothing else."""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from pathlib import Path

import psutil
import zmq

from streamseg.client import Controller, DaemonStatusMessage, EventMessage, MaskFrame, Subscriber
from streamseg.config.schema import RecordConfig
from streamseg.ipc.messages import InternalMessage, RecorderReport, StreamEvent, decode
from streamseg.record.folder import read_recording
from streamseg.record.process import main
from streamseg.record.spec import RecorderSpec
from tests.client.conftest import Messages, Outlet
from tests.e2e.daemon_process import DISC, DaemonProcess, wait_for


def kinds(folder: Path) -> set[tuple[str, str]]:
    return {(recorded.stream, recorded.kind) for recorded in read_recording(folder)} if any(folder.iterdir()) else set()


def test_a_daemon_records_itself(tmp_path: Path) -> None:
    record = {"path": "recording", "pictures": True, "keep_free_mb": 1}  # beside the configuration file
    daemon = DaemonProcess(DISC | {"record": record}, tmp_path)
    folder = tmp_path / "recording"
    wanted = {("cam", kind) for kind in ("masks", "objects", "image", "events", "status")} | {("_daemon", "status")}
    try:
        wait_for(lambda: folder.exists() and list(folder.glob("*.mcap")), 60, "a file", daemon.alive)
        wait_for(lambda: ("cam", "objects") in kinds(folder), 60, "messages", daemon.alive)
        with Controller(daemon.control) as control:
            control.remove_object("cam", 1)  # an event: those before may have been published before it recorded
        wait_for(lambda: kinds(folder) >= wanted, 60, "messages of each kind", daemon.alive)
        daemon.child("recorder").kill()
        before = len(list(read_recording(folder)))
        daemon.wait_log("recorder ended")
        wait_for(lambda: len(list(folder.glob("*.mcap"))) > 1, 60, "a new file", daemon.alive)
        wait_for(lambda: len(list(read_recording(folder))) > before + 5, 60, "more messages", daemon.alive)
        assert daemon.end() == 0
    finally:
        daemon.close()


def test_a_write_that_fails_stops_the_recording_with_an_event_and_nothing_else(tmp_path: Path) -> None:
    record = {"path": "recording", "keep_free_mb": 1}
    daemon = DaemonProcess(DISC | {"record": record}, tmp_path)
    folder = tmp_path / "recording"
    try:
        wait_for(lambda: folder.exists() and list(folder.glob("*.mcap")), 60, "a file", daemon.alive)
        with Subscriber(daemon.endpoint, kinds=["masks", "events"], timeout_s=60) as subscriber:
            subscriber.receive()
            (file,) = folder.glob("*.mcap")
            limit = file.stat().st_size + 3000  # as a full disk: it takes a part of a write
            daemon.child("recorder").rlimit(psutil.RLIMIT_FSIZE, (limit, limit))
            stopped: EventMessage | None = None
            after = 0
            for message in subscriber:
                if isinstance(message, EventMessage) and message.event == "recording_stopped":
                    stopped = message
                after += stopped is not None and isinstance(message, MaskFrame)
                if after == 10:
                    break
        assert stopped is not None
        assert stopped.stream == "_daemon"
        assert stopped.detail == f"recording to {folder} stopped: File too large"
        with Subscriber(daemon.endpoint, kinds=["status"], timeout_s=60) as subscriber:
            reasons = (message.recording_stopped for message in subscriber if isinstance(message, DaemonStatusMessage))
            assert next(reason for reason in reasons if reason) == stopped.detail
        assert daemon.alive()
        assert "recorder ended" not in daemon.log
        assert len(list(read_recording(folder))) > 1
    finally:
        daemon.close()


def test_a_recording_that_stopped_begins_again(tmp_path: Path) -> None:
    folder = tmp_path / "recording"
    folder.touch()  # a file where the folder has to be
    outlet, golden = Outlet(tmp_path), Messages()
    ours, theirs = multiprocessing.Pipe()
    with contextlib.closing(outlet), zmq.Context() as context, context.socket(zmq.PULL) as internal:
        internal.bind(f"ipc://{tmp_path}/internal")

        def next_of(wanted: InternalMessage | type[InternalMessage]) -> InternalMessage:
            until_s = time.monotonic() + 60
            while internal.poll(max(0, int(1000 * (until_s - time.monotonic())))):
                message = decode(internal.recv())
                if message == wanted or (isinstance(wanted, type) and isinstance(message, wanted)):
                    return message
            raise AssertionError(f"{wanted} did not come")

        spec = RecorderSpec(
            record=RecordConfig(path=str(folder), keep_free_mb=0, streams=("cam1",)),
            publish_endpoint=outlet.endpoint,
            internal_endpoint=f"ipc://{tmp_path}/internal",
            retry_s=0.1,
        )
        recorder = multiprocessing.get_context("spawn").Process(target=main, args=(spec, theirs))
        recorder.start()
        theirs.close()
        try:
            event = next_of(StreamEvent)
            reason = f"{folder}: File exists; give a folder that this user can write to"
            assert isinstance(event, StreamEvent)
            assert (event.kind, event.detail) == ("recording_stopped", reason)
            next_of(RecorderReport(reason))
            folder.unlink()
            outlet.wait(b"\x01v1/cam1/masks/")
            outlet.send(golden.masks(1))
            next_of(RecorderReport(""))
            assert [recorded.kind for recorded in read_recording(folder)] == ["masks"]
        finally:
            ours.close()
            recorder.join(30)
        assert recorder.exitcode == 0
