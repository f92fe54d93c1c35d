"""The capture process, one per stream: opens the source, writes its frames to the ring and reconnects forever.

A live source is read at its own rate whatever happens downstream: only the ring drops frames, never this loop. A finite
source (a file) waits for its reader, so that no frame is lost.
"""

from __future__ import annotations

import logging
import time
from multiprocessing.connection import Connection
from typing import Final

from streamseg.capture.continuity import Continuity
from streamseg.capture.reporter import CaptureReporter
from streamseg.capture.spec import CaptureSpec
from streamseg.common.backoff import Backoff, BackoffPolicy
from streamseg.common.logs import setup_logging
from streamseg.errors import (
    EndOfStreamError,
    FrameTooLargeError,
    RingFullError,
    SourceAuthError,
    SourceError,
    SourceNotFoundError,
)
from streamseg.frame import SourceFrame
from streamseg.ipc.supervisor_link import ChildLink
from streamseg.ipc.supervisor_messages import Report
from streamseg.ring.frame_ring import FrameRing
from streamseg.sources.base import FrameSource, SourceInfo

log = logging.getLogger("streamseg.capture")

RECONNECT: Final = BackoffPolicy(first_s=1, max_s=60, healthy_s=10, quick_s=0.25, slow_first_s=15, jitter=0.25)

_WRITE_TIMEOUT_S: Final = 0.2
_NO_PICTURE_S: Final = 30.0
"""A read gives up after this time without a picture although packets arrive, or after the stall timeout if longer."""
_DUE_S: Final = 10.0
"""Longest single wait until a frame is due."""

_PROGRESS_S: Final = 5.0
"""How often the progress of a file is logged."""

_RESOLVE_S: Final = 20.0
"""Timeout of a host name lookup, on top of the open timeout: two name servers, twice 5 s each."""


def main(spec: CaptureSpec, ring: FrameRing, connection: Connection) -> None:
    """Capture until the supervisor asks to stop. Entry point of the child process.

    Raises:
        ConfigError: the source's address is invalid; a restart would not help.
    """
    link = ChildLink(connection)
    link.attach()
    setup_logging(spec.log, f"capture:{spec.stream}")
    from streamseg.sources.address import describe
    from streamseg.sources.open import open_source

    live = describe(spec.config.source).live is not False
    source = open_source(spec.config)
    reporter = CaptureReporter(spec.stream, spec.config.source, ring, link, spec.internal_endpoint)
    link.send(Report("ready"))
    try:
        Capture(spec, source, ring, reporter, link, live=live).run()
    finally:
        source.close()
        reporter.close()


class Capture:
    """The capture loop.

    Args:
        spec: What to capture.
        source: The source, not opened yet.
        ring: Ring of the stream.
        reporter: Sends reports; its ``stop`` ends the loop.
        link: Link to the supervisor.
        live: Reconnect when the source fails. A finite source is read once. Corrected when the source is open.
    """

    def __init__(
        self,
        spec: CaptureSpec,
        source: FrameSource,
        ring: FrameRing,
        reporter: CaptureReporter,
        link: ChildLink,
        *,
        live: bool,
    ) -> None:
        self._config = spec.config
        self._source = source
        self._ring = ring
        self._writer = ring.writer()
        self._reporter = reporter
        self._link = link
        self._live = live
        self._backoff = Backoff(RECONNECT)
        self._connections = 0
        self._too_large = 0
        self._first_frame = 0
        self._progress_at = 0.0
        self._last_error = ""

    def run(self) -> None:
        """Connect, stream and reconnect until the supervisor asks to stop."""
        self._reporter.state("connecting")
        while not self._reporter.stop.is_set():
            self._first_frame_at: float | None = None
            try:
                self._stream_once()
            except EndOfStreamError as end:
                self._end(str(end))
            except SourceError as error:
                self._source.close()
                if not self._live:
                    self._fail(error)
                else:
                    self._wait_to_reconnect(error)

    def _stream_once(self) -> None:
        self._reporter.alive_for(self._config.open_timeout_s + _RESOLVE_S)
        info = self._source.open()
        self._live = info.live
        self._writer.use_policy("newest" if info.live or self._config.pace == "camera" else "every")
        continuity = Continuity(live=self._live)
        while not self._reporter.stop.is_set():
            self._reporter.alive_for(max(_NO_PICTURE_S, self._config.stall_timeout_s) + _DUE_S)
            frame = self._source.read()
            broken = continuity.break_before(frame)
            if self._first_frame_at is None:
                self._begin_connection(info, frame)
            elif broken:
                self._begin_epoch(broken, frame)
            self._write(frame)
            self._log_progress(info)
            self._reporter.lost("decode/corrupt", self._source.corrupt)

    def _log_progress(self, info: SourceInfo) -> None:
        """Log the progress of a source that has an end."""
        if info.live or self._config.loop or time.monotonic() - self._progress_at < _PROGRESS_S:
            return
        self._progress_at = time.monotonic()
        frames = self._ring.counters().frames - self._first_frame
        share = f" of {info.frames} ({frames / info.frames:.0%})" if info.frames else ""
        log.info("played %d%s frames", frames, share)

    def _begin_connection(self, info: SourceInfo, frame: SourceFrame) -> None:
        """Report a new connection at its first frame: only now is it known to work."""
        self._first_frame_at = time.monotonic()
        self._connections += 1
        if self._connections > 1:
            self._reporter.reconnected()
        # Frames of an earlier connection, maybe of an earlier capture process, belong to another epoch.
        before = self._ring.counters()
        self._first_frame, self._progress_at = before.frames, time.monotonic()
        epoch = self._writer.begin_epoch() if before.frames else before.epoch
        self._last_error = ""
        size = (frame.format.width, frame.format.height)
        self._reporter.state("streaming", error="", size=size)
        rate = f"{info.frame_rate:.3g} frames/s" if info.frame_rate else "rate unknown"
        what = f"{info.kind}, {size[0]}x{size[1]}, {rate}, {info.codec}"
        self._reporter.event("stream_connected", what, before.frames)
        log.info("connected: %s", what, extra={"epoch": epoch})

    def _begin_epoch(self, why: str, frame: SourceFrame) -> None:
        epoch = self._writer.begin_epoch()
        log.info("discontinuity: %s", why, extra={"epoch": epoch})
        self._reporter.state("streaming", size=(frame.format.width, frame.format.height))

    def _write(self, frame: SourceFrame) -> None:
        while not self._reporter.stop.is_set():
            try:
                self._writer.write(frame, _WRITE_TIMEOUT_S)
            except RingFullError:  # there is no limit on how slow the reader is
                self._reporter.alive_for(_WRITE_TIMEOUT_S)
            except FrameTooLargeError as error:
                self._too_large += 1
                self._reporter.lost("ring/too_large", self._too_large)
                if self._too_large == 1:
                    log.error("%s", error)
                    self._reporter.state("streaming", error=str(error))
                return
            else:
                return

    def _wait_to_reconnect(self, error: SourceError) -> None:
        if self._first_frame_at is not None:
            self._backoff.succeeded(time.monotonic() - self._first_frame_at)
        refused = isinstance(error, (SourceAuthError, SourceNotFoundError))
        wait_s = self._backoff.next_wait_s(slow=refused)
        text = str(error)
        self._reporter.state("reconnecting" if self._connections else "connecting", error=text)
        # Report it once, not at each retry: an outage may last for weeks.
        if text != self._last_error:
            self._reporter.event("stream_reconnecting", text)
        log.log(
            logging.WARNING if text != self._last_error else logging.DEBUG,
            "%s; next try in %.1f s",
            text,
            wait_s,
        )
        self._last_error = text
        self._reporter.alive_for(wait_s)
        self._reporter.stop.wait(wait_s)

    def _end(self, text: str) -> None:
        self._source.close()
        log.info("%s", text)
        self._reporter.lost("decode/corrupt", self._source.corrupt)
        self._reporter.state("ended")
        self._reporter.event("stream_ended", text)
        self._link.send(Report("ended", text))
        self._wait_for_stop()

    def _fail(self, error: SourceError) -> None:
        """Give up: reading a file again would fail again."""
        log.error("%s", error)
        self._reporter.state("failed", error=str(error))
        self._reporter.event("stream_failed", str(error))
        self._link.send(Report("fatal", str(error), error.exit_code))
        self._wait_for_stop()

    def _wait_for_stop(self) -> None:
        self._reporter.alive_for(float("inf"))
        self._reporter.stop.wait()
