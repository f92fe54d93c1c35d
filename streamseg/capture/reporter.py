"""What a capture process says, and the supervisor's word to it, in a thread of its own.

The capture loop may be inside FFmpeg for seconds. Meanwhile this thread reports, shows that the process is alive,
and ends it when the supervisor says stop.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Final

from streamseg.common.redact import redact
from streamseg.ipc.messages import CaptureReport, StreamEvent
from streamseg.ipc.publisher_socket import PublisherSocket
from streamseg.ipc.supervisor_link import ChildLink
from streamseg.ipc.supervisor_messages import Report
from streamseg.protocol.published import EventKind, StreamState
from streamseg.ring.frame_ring import FrameRing

log = logging.getLogger("streamseg.capture")

_TURN_S: Final = 0.25
_REPORT_S: Final = 1.0
_STOP_GRACE_S: Final = 0.4
"""The supervisor sends SIGTERM 0.8 s after its word; turn and grace together stay below that."""


class CaptureReporter:
    """Reports for one stream. All methods but :meth:`close` may be called by the capture loop at any time.

    Args:
        stream: Id of the stream.
        source: Its address; redacted here.
        ring: Where the frames are counted.
        link: To the supervisor.
        internal_endpoint: Of the publisher.

    Attributes:
        stop: Set when the supervisor said stop or died.
    """

    def __init__(self, stream: str, source: str, ring: FrameRing, link: ChildLink, internal_endpoint: str) -> None:
        self.stop = threading.Event()
        self._stream = stream
        self._source = redact(source)
        self._ring = ring
        self._link = link
        # The publisher_socket is for one thread at a time: only used under the lock.
        self._lock = threading.Lock()
        self._publisher_socket = PublisherSocket(internal_endpoint)
        self._state: StreamState = "starting"
        self._size = (0, 0)
        self._reconnects = 0
        self._last_error = ""
        self._drops: dict[str, int] = {}
        self._fps = 0.0
        self._counted = (time.monotonic(), ring.counters().frames)
        self._alive_until = time.monotonic()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)
        self._thread.start()

    def alive_for(self, seconds: float) -> None:
        """Vouch for the capture loop for so long.

        The supervisor hears of progress until then. A loop that does not come back in time hangs in foreign code,
        and the supervisor ends this process.
        """
        self._alive_until = time.monotonic() + seconds

    def state(self, state: StreamState, *, error: str | None = None, size: tuple[int, int] | None = None) -> None:
        """Change the stream's state and report it at once.

        Args:
            state: The new one.
            error: What went wrong, "" if all is well now; None leaves it.
            size: Of the pictures in pixels; None leaves it.
        """
        with self._lock:
            self._state = state
            self._last_error = self._last_error if error is None else redact(error)
            self._size = self._size if size is None else size
            self._send_report()

    def reconnected(self) -> None:
        """Count a connection after the first."""
        self._reconnects += 1

    def lost(self, reason: str, total: int) -> None:
        """Say how many were lost so far for a ``stage/reason``."""
        if self._drops.get(reason) != total:
            self._drops = {**self._drops, reason: total}  # a new dict: the thread may be reading the old one

    def event(self, kind: EventKind, detail: str = "", frame_id: int | None = None) -> None:
        """Tell subscribers that something happened.

        An event waits while the publisher is away; a report never does, since the next one says it all.
        """
        event = StreamEvent(
            stream=self._stream,
            kind=kind,
            t_wall_ns=time.time_ns(),
            epoch=self._ring.counters().epoch,
            frame_id=frame_id,
            detail=redact(detail),
        )
        with self._lock:
            self._publisher_socket.send_reliable(event)
            if lost := self._publisher_socket.lost_events[self._stream]:
                self.lost("event/publisher_away", lost)

    def close(self) -> None:
        """End the thread and close the socket.

        Blocks: under half a second.
        """
        self._closed.set()
        self._thread.join(timeout=2 * _TURN_S)
        with self._lock:
            self._publisher_socket.close()

    def _run(self) -> None:
        next_report = time.monotonic()
        while not self._closed.is_set():
            if self._link.stop_requested(_TURN_S):
                self._stop()
                return
            with self._lock:
                self._publisher_socket.flush()
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
            # The capture loop waits inside FFmpeg and cannot be called back. Everything that this process holds
            # is the kernel's to free, and the ring stands its writer's death at any instant.
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
            source=self._source,
            size=self._size,
            fps=self._fps,
            frames=counters.frames,
            reconnects=self._reconnects,
            epoch=counters.epoch,
            drops=self._drops,
            last_error=self._last_error,
        )
        self._publisher_socket.try_send(report)
