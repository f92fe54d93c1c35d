"""Reports of a capture process, sent by a separate thread.

The capture loop may be inside FFmpeg for seconds. Meanwhile this thread sends reports and heartbeats, and ends the
process when the supervisor asks to stop.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Final

from streamseg.common.logs import flush_logs
from streamseg.ipc.messages import CaptureReport, StreamEvent
from streamseg.ipc.publisher_socket import PublisherSocket
from streamseg.ipc.supervisor_link import ChildLink
from streamseg.ipc.supervisor_messages import Report
from streamseg.protocol.published import EventKind, StreamState
from streamseg.ring.frame_ring import FrameRing
from streamseg.sources.address import SourceAddress

log = logging.getLogger("streamseg.capture")

_POLL_S: Final = 0.25
_REPORT_S: Final = 1.0
_STOP_GRACE_S: Final = 0.4
"""Poll interval and grace together are less than the 0.8 s after which the supervisor sends SIGTERM."""


class CaptureReporter:
    """Sends the reports of one stream. The capture loop may call all methods except :meth:`close` at any time.

    Args:
        stream: Id of the stream.
        source: Address of the source; redacted here.
        ring: Ring of the stream; it counts the frames.
        link: Link to the supervisor.
        internal_endpoint: Address of the publisher.

    Attributes:
        stop: Set when the supervisor asks to stop or has died.
    """

    def __init__(self, stream: str, source: str, ring: FrameRing, link: ChildLink, internal_endpoint: str) -> None:
        self.stop = threading.Event()
        self._stream = stream
        self._address = SourceAddress.of(source)
        self._ring = ring
        self._link = link
        # A socket is for one thread at a time: guarded by the lock.
        self._lock = threading.Lock()
        self._publisher = PublisherSocket(internal_endpoint)
        self._state: StreamState = "starting"
        self._size = (0, 0)
        self._reconnects = 0
        self._last_error = ""
        self._drops: dict[str, int] = {}
        self._fps = 0.0
        self._reported = True
        self._counted = (time.monotonic(), ring.counters().frames)
        self._alive_until = time.monotonic()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)
        self._thread.start()

    def alive_for(self, seconds: float) -> None:
        """Send heartbeats for the next ``seconds``.

        A capture loop that does not call again in time is hung in foreign code; without heartbeats the supervisor
        ends this process.
        """
        self._alive_until = time.monotonic() + seconds

    def state(self, state: StreamState, *, error: str | None = None, size: tuple[int, int] | None = None) -> None:
        """Change the stream's state and report it at once.

        Args:
            state: The new state.
            error: What went wrong; "": no error; None: unchanged.
            size: (width, height) of the frames in pixels; None: unchanged.
        """
        with self._lock:
            self._state = state
            self._last_error = self._last_error if error is None else self._address.without_secrets(error)
            self._size = self._size if size is None else size
            self._send_report()

    def reconnected(self) -> None:
        """Count a connection after the first."""
        self._reconnects += 1

    def lost(self, reason: str, total: int) -> None:
        """Set the total number of frames lost for a ``stage/reason``."""
        if self._drops.get(reason) != total:
            self._drops = {**self._drops, reason: total}  # a new dict: the thread may be reading the old one

    def event(self, kind: EventKind, detail: str = "", frame_id: int | None = None) -> None:
        """Send an event to subscribers.

        Events wait while the publisher is away; reports do not, since the next one replaces them.
        """
        event = StreamEvent(
            stream=self._stream,
            kind=kind,
            t_wall_ns=time.time_ns(),
            epoch=self._ring.counters().epoch,
            frame_id=frame_id,
            detail=self._address.without_secrets(detail),
        )
        with self._lock:
            self._publisher.send_reliable(event)
            if lost := self._publisher.lost_events[self._stream]:
                self.lost("event/publisher_away", lost)

    def close(self) -> None:
        """End the thread and close the socket.

        Blocks: under half a second.
        """
        self._closed.set()
        self._thread.join(timeout=2 * _POLL_S)
        with self._lock:
            self._publisher.close()

    def _run(self) -> None:
        next_report = time.monotonic()
        while not self._closed.is_set():
            if self._link.stop_requested(_POLL_S):
                self._stop()
                return
            with self._lock:
                self._publisher.flush()
                if not self._reported:  # the publisher was away: a new state must not wait for the next second
                    self._send_report()
            now = time.monotonic()
            if now < next_report:
                continue
            next_report = now + _REPORT_S
            if now < self._alive_until:
                self._link.send(Report("progress"))
            with self._lock:
                self._count_rate(now)
                self._send_report()

    def _stop(self) -> None:
        self.stop.set()
        if not self._closed.wait(_STOP_GRACE_S):
            # The capture loop is inside FFmpeg and cannot be interrupted. The kernel frees all that this process
            # holds, and the ring tolerates the death of its writer at any instant.
            flush_logs(_POLL_S)
            os._exit(0)

    def _count_rate(self, now: float) -> None:
        then, before = self._counted
        frames = self._ring.counters().frames
        self._fps = (frames - before) / max(now - then, 1e-6)
        self._counted = (now, frames)

    def _send_report(self) -> None:
        counters = self._ring.counters()
        report = CaptureReport(
            stream=self._stream,
            state=self._state,
            source=self._address.shown,
            size=self._size,
            fps=self._fps,
            frames=counters.frames,
            reconnects=self._reconnects,
            epoch=counters.epoch,
            drops=self._drops,
            last_error=self._last_error,
        )
        self._reported = self._publisher.try_send(report)
