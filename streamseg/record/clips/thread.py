"""The thread that makes clips, in the recorder process."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from types import TracebackType
from typing import Final, Self

import zmq

from streamseg.client import EventMessage, FramePair
from streamseg.client.connect import Connection
from streamseg.client.core import SubscriberCore
from streamseg.client.subscriber import rate_of
from streamseg.config.schema import RecordConfig
from streamseg.errors import reason_of
from streamseg.ipc.messages import StreamEvent
from streamseg.ipc.publisher_socket import PublisherSocket
from streamseg.protocol.topics import DAEMON
from streamseg.record.clips.inbox import ClipInbox
from streamseg.record.clips.recorder import ClipRecorder
from streamseg.record.clips.requests import ClipRequests

log = logging.getLogger(__name__)

_TURN_MS: Final = 200
_RETRY_S: Final = 60.0
_CLOSE_S: Final = 10.0
_HWM: Final = 200


def _receive(
    connection: Connection[zmq.Socket[bytes]],
    core: SubscriberCore[FramePair | EventMessage],
    recorder: ClipRecorder,
) -> None:
    """Process messages that have arrived; wait briefly for one if no picture is waiting to be written."""
    wait_ms = 0 if recorder.busy else _TURN_MS
    for _ in range(_HWM):
        if not connection.socket.poll(wait_ms):
            return
        wait_ms = 0
        core.feed(connection.socket.recv_multipart())
        while (message := core.take()) is not None:
            recorder.feed(message)
        connection.update()


class ClipThread:
    """Makes clips from when it is created until :meth:`close`. A context manager.

    Args:
        record: Settings.
        publish_endpoint: Where the daemon publishes.
        internal_endpoint: Where the publisher takes events.
        requests: Requests for clips.
        retry_s: Time after which it tries again after a failure.
    """

    def __init__(
        self,
        record: RecordConfig,
        publish_endpoint: str,
        internal_endpoint: str,
        requests: ClipRequests,
        retry_s: float = _RETRY_S,
    ) -> None:
        self._record = record
        self._publish_endpoint = publish_endpoint
        self._internal_endpoint = internal_endpoint
        self._requests = requests
        self._retry_s = retry_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clips", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.closing(PublisherSocket(self._internal_endpoint)) as events:
            said = ""
            while not self._stop.is_set():
                try:
                    self._make_clips(events)
                except Exception as error:  # noqa: BLE001 - a clip must not end the recording
                    reason = reason_of(error)
                    if reason != said:
                        log.error("no clips: %s; tried again every %g s", reason, self._retry_s)
                        events.send_reliable(StreamEvent(DAEMON, "clip_failed", time.time_ns(), detail=reason))
                        said = reason
                    self._wait(reason)

    def _wait(self, reason: str) -> None:
        until_s = time.monotonic() + self._retry_s
        while not self._stop.is_set() and time.monotonic() < until_s:
            self._requests.refuse(reason, min(_TURN_MS / 1000, self._retry_s))

    def _make_clips(self, events: PublisherSocket) -> None:
        clips, streams = self._record.clips, self._record.streams
        core: SubscriberCore[FramePair | EventMessage] = SubscriberCore(
            self._publish_endpoint,
            (*streams, DAEMON) if streams else None,
            ("masks", "image", "events"),
            ClipInbox(),
            rate_of(None, clips.max_rate_hz),
        )
        with (
            contextlib.closing(ClipRecorder(self._record, events.send_reliable)) as recorder,
            zmq.Context() as context,
            Connection(context, self._publish_endpoint, core, hwm=_HWM) as connection,
        ):
            while not self._stop.is_set():
                _receive(connection, core, recorder)
                self._requests.execute(recorder.request)
                recorder.write_next()
                events.flush()

    def close(self) -> None:
        """Stop, after completing the running clips."""
        self._stop.set()
        self._thread.join(_CLOSE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
