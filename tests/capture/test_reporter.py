"""Reports of a capture process reach a publisher that starts later."""

import multiprocessing
from pathlib import Path

import pytest
import zmq

from streamseg.capture import reporter as module
from streamseg.capture.reporter import CaptureReporter
from streamseg.ipc.messages import CaptureReport, decode
from streamseg.ipc.supervisor_link import ChildLink
from streamseg.ring.frame_ring import FrameRing

TIMEOUT_MS = 60_000


def test_a_state_is_sent_as_soon_as_the_publisher_is_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REPORT_S", 3600.0)  # so that no periodic report comes to the rescue
    endpoint = f"ipc://{tmp_path}/publisher"
    ours, theirs = multiprocessing.Pipe()
    ring = FrameRing(policy="newest", slots=2, slot_bytes=4096)
    reporter = CaptureReporter("cam", "lavfi:x", ring, ChildLink(theirs), endpoint)
    context = zmq.Context()
    inbox = context.socket(zmq.PULL)
    try:
        reporter.alive_for(TIMEOUT_MS / 1000)
        assert ours.poll(TIMEOUT_MS / 1000), "no heartbeat: the periodic report was not tried yet"
        reporter.state("streaming", size=(4, 2))
        inbox.bind(endpoint)
        while inbox.poll(TIMEOUT_MS):
            message = decode(inbox.recv())
            if isinstance(message, CaptureReport) and message.state == "streaming":
                break
        else:
            pytest.fail("no report")
    finally:
        reporter.close()
        inbox.close(0)
        context.term()
        ring.close()
        ours.close()
