"""The recorder process: a subscriber of its daemon that writes a recording.

If a recording has to stop (a full disk), an event and the status report it, and the process retries each minute:
nothing else in the daemon is affected, and nothing is deleted to make room. A thread of this process makes clips of
events with its own subscription: it can fall behind without a gap in the recording.
"""

from __future__ import annotations

import contextlib
import logging
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from streamseg.common.logs import setup_logging
from streamseg.config.schema import RecordConfig
from streamseg.errors import ConfigError, RecordError
from streamseg.ipc.commands import Command
from streamseg.ipc.messages import RecorderReport, StreamEvent
from streamseg.ipc.publisher_socket import PublisherSocket
from streamseg.ipc.supervisor_link import ChildLink
from streamseg.ipc.supervisor_messages import Report
from streamseg.protocol.topics import DAEMON, Kind
from streamseg.record.clips.requests import ClipRequests
from streamseg.record.receive import receive_bytes
from streamseg.record.recorder import Recorder, RecordLimits
from streamseg.record.spec import RecorderSpec

log = logging.getLogger(__name__)

_KINDS: Final[tuple[Kind, ...]] = ("masks", "objects", "events", "status")
_PROGRESS_S: Final = 1.0
_IDLE_S: Final = 0.2


def kinds_of(record: RecordConfig) -> tuple[Kind, ...]:
    """Return the kinds of messages to record."""
    return (*_KINDS, "image") if record.pictures else _KINDS


def main(spec: RecorderSpec, connection: Connection) -> None:
    """Record until the supervisor sends stop. Entry point of the child process."""
    link = ChildLink(connection)
    link.attach()
    setup_logging(spec.log, "recorder")
    events = PublisherSocket(spec.internal_endpoint)
    try:
        requests = ClipRequests(link.send)
        with _clips(spec, requests):
            link.send(Report("ready"))
            if spec.record.path is None:
                _wait_for_stop(link, requests)
            else:
                _Recording(spec, link, events, requests).run()
    finally:
        events.close()


def _clips(spec: RecorderSpec, requests: ClipRequests) -> contextlib.AbstractContextManager[object]:
    if spec.record.clips.path is None:
        return contextlib.nullcontext()
    from streamseg.record.clips.thread import ClipThread

    return ClipThread(spec.record, spec.publish_endpoint, spec.internal_endpoint, requests)


def _wait_for_stop(link: ChildLink, requests: ClipRequests) -> None:
    while not link.stop_requested(_PROGRESS_S):
        link.send(Report("progress"))
        _take_requests(link, requests)


def _take_requests(link: ChildLink, requests: ClipRequests) -> None:
    for message in link.take_messages():
        if isinstance(message, Command):
            requests.put(message)


class _Recording:
    """Records, restarts a minute after it had to stop, and reports its state each second."""

    def __init__(self, spec: RecorderSpec, link: ChildLink, events: PublisherSocket, requests: ClipRequests) -> None:
        self._spec = spec
        self._link = link
        self._events = events
        self._requests = requests
        self._stopped = ""
        self._next_report_s = 0.0

    def run(self) -> None:
        """Record until the supervisor sends stop."""
        assert self._spec.record.path is not None
        while not self._link.stop_requested():
            try:
                with Recorder(Path(self._spec.record.path), RecordLimits.of(self._spec.record)) as recorder:
                    self._record(recorder)
            except (RecordError, ConfigError) as error:
                self._stop(str(error))
                self._wait()

    def _record(self, recorder: Recorder) -> None:
        record = self._spec.record
        for received in receive_bytes(
            self._spec.publish_endpoint, record.streams or None, kinds_of(record), self._link.stop_requested
        ):
            if received is not None:
                parts, message = received
                recorder.write(parts, time.time_ns())
                self._stopped = ""  # not earlier: the disk may still be full
                if message.gap:
                    lost = "%d messages of %s/%s were lost before they were recorded"
                    log.warning(lost, message.gap, message.stream, message.kind)
            self._report()

    def _stop(self, reason: str) -> None:
        if not self._stopped:
            log.error("%s; tried again every %g s", reason, self._spec.retry_s)
            self._events.send_reliable(StreamEvent(DAEMON, "recording_stopped", time.time_ns(), detail=reason))
        self._stopped = reason

    def _wait(self) -> None:
        until_s = time.monotonic() + self._spec.retry_s
        while time.monotonic() < until_s and not self._link.stop_requested(_IDLE_S):
            self._report()

    def _report(self) -> None:
        _take_requests(self._link, self._requests)
        now_s = time.monotonic()
        if now_s >= self._next_report_s:
            self._next_report_s = now_s + _PROGRESS_S
            self._link.send(Report("progress"))
            self._events.flush()
            self._events.try_send(RecorderReport(self._stopped))
