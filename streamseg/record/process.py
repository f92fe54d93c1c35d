"""The recorder process: a subscriber of its daemon that writes a recording.

A recording that has to stop (the disk is full) is announced by an event. The process then idles: nothing else of the
daemon is affected, and nothing is deleted to make room.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from streamseg.common.logs import setup_logging
from streamseg.config.schema import LogConfig, RecordConfig
from streamseg.errors import ConfigError, RecordError
from streamseg.ipc.messages import StreamEvent
from streamseg.ipc.publisher_socket import PublisherSocket
from streamseg.ipc.supervisor_link import ChildLink
from streamseg.ipc.supervisor_messages import Report
from streamseg.protocol.topics import DAEMON, Kind
from streamseg.record.recorder import Recorder, RecordLimits

log = logging.getLogger(__name__)

KINDS: Final[tuple[Kind, ...]] = ("masks", "objects", "events", "status")
_PROGRESS_S: Final = 1.0
_IDLE_S: Final = 0.5
_MB: Final = 10**6


@dataclass(frozen=True)
class RecorderSpec:
    """Parameters of the recorder process.

    Attributes:
        record: What to record, and where.
        publish_endpoint: Where the daemon publishes.
        internal_endpoint: Where the publisher takes events.
        log: Log settings.
    """

    record: RecordConfig
    publish_endpoint: str
    internal_endpoint: str
    log: LogConfig = field(default_factory=LogConfig)


def limits_of(record: RecordConfig) -> RecordLimits:
    """Return a recorder's limits in its own units."""
    return RecordLimits(
        segment_bytes=record.segment_mb * _MB,
        segment_s=record.segment_minutes * 60,
        max_bytes=None if record.max_gb is None else int(record.max_gb * 1000 * _MB),
        max_age_s=None if record.max_hours is None else record.max_hours * 3600,
        keep_free_bytes=record.keep_free_mb * _MB,
    )


def main(spec: RecorderSpec, connection: Connection) -> None:
    """Record until the supervisor sends stop. Entry point of the child process.

    Raises:
        RecordError: The folder cannot be used.
    """
    link = ChildLink(connection)
    link.attach()
    setup_logging(spec.log, "recorder")
    assert spec.record.path is not None
    events = PublisherSocket(spec.internal_endpoint)
    try:
        with Recorder(Path(spec.record.path), limits_of(spec.record)) as recorder:
            link.send(Report("ready"))
            _record(spec, recorder, link)
    except (RecordError, ConfigError) as error:
        log.error("%s", error)
        event = StreamEvent(DAEMON, "recording_stopped", time.time_ns(), detail=str(error))
        events.send_reliable(event)
        while not link.stop_requested(_IDLE_S):
            link.send(Report("progress"))
            events.flush()
    finally:
        events.close()


def _record(spec: RecorderSpec, recorder: Recorder, link: ChildLink) -> None:
    from streamseg.record.receive import receive_bytes  # imported late: the supervisor imports this module

    kinds: tuple[Kind, ...] = (*KINDS, "image") if spec.record.pictures else KINDS
    next_progress_s = 0.0
    for received in receive_bytes(spec.publish_endpoint, spec.record.streams or None, kinds, link.stop_requested):
        if received is not None:
            parts, message = received
            recorder.write(parts, time.time_ns())
            if message.gap:
                log.warning(
                    "%d messages of %s/%s were lost before they were recorded",
                    message.gap,
                    message.stream,
                    message.kind,
                )
        now_s = time.monotonic()
        if now_s >= next_progress_s:
            next_progress_s = now_s + _PROGRESS_S
            link.send(Report("progress"))
