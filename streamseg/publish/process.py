"""The publisher process: internal messages in, published messages out. The only process that writes the wire format.

One poll waits for the supervisor, the other processes, subscriptions and finished pictures. libzmq aborts its process
when one of its assertions fails; in a separate process, this costs neither frames nor tracking state.
"""

from __future__ import annotations

import functools
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Final

import zmq

from streamseg.common.logs import setup_logging
from streamseg.common.open_files import raise_open_files
from streamseg.errors import ProtocolError
from streamseg.frame import Frame
from streamseg.ipc.invalid_messages import InvalidMessages
from streamseg.ipc.messages import (
    CaptureReport,
    DaemonReport,
    InternalMessage,
    RecorderReport,
    StreamEvent,
    TrackedFrame,
    WorkerReport,
    decode,
)
from streamseg.ipc.supervisor_link import ChildLink
from streamseg.ipc.supervisor_messages import CloseStream, OpenStream, Report
from streamseg.protocol.clock import clock_name
from streamseg.protocol.mask_codec import require_encoding
from streamseg.protocol.topics import DAEMON, RATED_KINDS
from streamseg.publish.daemon_state import DaemonState
from streamseg.publish.first_subscriber import FirstSubscriber
from streamseg.publish.picture_thread import PictureThread
from streamseg.publish.published_streams import PublishedStreams
from streamseg.publish.sockets import PublisherSockets
from streamseg.publish.spec import PublisherSpec
from streamseg.publish.status_schedule import StatusSchedule
from streamseg.publish.stream_encoder import Origin, StreamEncoder
from streamseg.publish.subscriptions import Subscriptions, is_subscription
from streamseg.ring.frame_ring import FrameRing
from streamseg.security.key_folder import KeyFolder

log = logging.getLogger(__name__)

_PROGRESS_NS: Final = 1_000_000_000
_DROP_REPORT_NS: Final = 10_000_000_000
_DRAIN_NS: Final = 200_000_000
_DRAIN_QUIET_MS: Final = 100
_SUBSCRIPTIONS_NS: Final = 10_000_000
_MAX_PER_TURN: Final = 64
"""Messages handled per turn of the loop, so that no input starves the others."""


def main(spec: PublisherSpec, rings: dict[str, FrameRing], connection: Connection) -> None:
    """Publish until the supervisor asks to stop. Entry point of the child process.

    Raises:
        ConfigError: an endpoint cannot be bound or the encoding is not available; a restart would not help.
    """
    link = ChildLink(connection)
    link.attach()
    setup_logging(spec.log, "publisher")
    raise_open_files()
    import cv2

    from streamseg.publish.picture import encode_jpeg

    cv2.setNumThreads(1)  # pictures have one thread; the cores belong to the tracker
    publisher = Publisher(spec, rings, link, functools.partial(encode_jpeg, quality=spec.publish.jpeg_quality))
    try:
        publisher.open()
        publisher.run()
    finally:
        publisher.close()


class Publisher:
    """The publisher's loop.

    Args:
        spec: What to do.
        rings: Stream id -> its ring.
        link: Link to the supervisor.
        encode_picture: Converts a frame to JPEG.
    """

    def __init__(
        self,
        spec: PublisherSpec,
        rings: Mapping[str, FrameRing],
        link: ChildLink,
        encode_picture: Callable[[Frame], bytes],
    ) -> None:
        self._spec = spec
        self._link = link
        self._origin = Origin(spec.session, publisher=secrets.token_hex(4), clock=clock_name(), model=spec.model)
        self._daemon_encoder = StreamEncoder(DAEMON, self._origin, spec.publish.encoding)
        self._invalid = InvalidMessages(log, "invalid internal message")
        self._daemon = DaemonState(spec.version, self._origin)
        self._streams = PublishedStreams(self._origin, spec.publish.encoding)
        self._subscriptions = Subscriptions(())
        self._first_subscriber = FirstSubscriber()
        self._reported_dropped = (0, 0)
        self._released_dropped = self._drop_report_due_ns = 0
        self._statuses = StatusSchedule()
        self._statuses.add(DAEMON)
        self._progress_due_ns = 0
        self._pictures = PictureThread(encode_picture)
        self._sockets = PublisherSockets(spec.commands_endpoint)
        for stream, source in spec.streams.items():
            self._open_stream(stream, source, rings[stream])

    def open(self) -> None:
        """Bind all endpoints and report readiness.

        Raises:
            ConfigError: an endpoint cannot be bound, or the encoding is not available.
        """
        require_encoding(self._spec.publish.encoding)
        addresses = self._sockets.bind(
            self._spec.internal_endpoint,
            self._spec.publish,
            local_endpoint=self._spec.local_endpoint,
            keys=KeyFolder(self._spec.keys),
        )
        log.info("publishing on %s", ", ".join(addresses))
        self._link.send(Report("ready", " ".join(addresses)))

    def run(self) -> None:
        """Publish until the supervisor asks to stop, then drain the inbox."""
        poller = zmq.Poller()
        inbox, outlet = self._sockets.inbox, self._sockets.outlet
        admission = self._sockets.admission
        for source in (self._link.fileno(), inbox, outlet, admission.handshakes.socket, self._pictures.fileno()):
            poller.register(source, zmq.POLLIN)
        while not self._link.stop_requested():
            self._send_due()
            poller.poll(self._wait_ms())
            self._handle_supervisor()
            admission.admit()
            self._handle_subscriptions()
            self._handle_messages()
            self._send_pictures()
        # The worker has stopped by now, but its last messages may still be on their way.
        deadline_ns = time.monotonic_ns() + _DRAIN_NS
        while inbox.poll(_DRAIN_QUIET_MS) and time.monotonic_ns() < deadline_ns:
            self._handle_messages()

    def close(self) -> None:
        """Close everything and remove the files of the sockets.

        Blocks: up to 0.5 s, for subscribers that are slow to take the last messages.
        """
        self._pictures.close()
        for published in self._streams.values():
            published.take_pictures(False)
        self._sockets.close()

    # --- streams ----------------------------------------------------------------------------------------------------

    def _handle_supervisor(self) -> None:
        for message in self._link.take_messages():
            match message:
                case OpenStream(stream=stream, source=source, ring=ring):
                    assert ring is not None
                    self._open_stream(stream, source, ring)
                case CloseStream(stream=stream) if stream in self._streams:
                    self._close_stream(stream)

    def _open_stream(self, stream: str, source: str, ring: FrameRing) -> None:
        self._streams.open(stream, source, ring)
        self._subscriptions.add_stream(stream)
        self._statuses.add(stream)

    def _close_stream(self, stream: str) -> None:
        self._streams.close(stream)
        self._subscriptions.remove_stream(stream)
        self._statuses.remove(stream)

    # --- input ------------------------------------------------------------------------------------------------------

    def _handle_subscriptions(self) -> None:
        # As many as time permits: libzmq has read them already, and a flood must be counted early.
        until_ns = time.monotonic_ns() + _SUBSCRIPTIONS_NS
        while time.monotonic_ns() < until_ns:
            try:
                message = self._sockets.outlet.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                break
            access = self._sockets.access
            taken = [message.bytes] if access is None else access.take(message)
            if not taken and is_subscription(message.bytes):
                self._sockets.guard.count(message)
            for data in taken:
                topics = self._subscriptions.handle(data)
                if not topics and is_subscription(data):
                    self._sockets.guard.count(message)
                for stream, kind in topics:
                    if kind == "status":
                        self._statuses.hurry(stream)
        for stream, published in self._streams.items():
            published.take_pictures(self._subscriptions.wants_pictures(stream))
        if self._first_subscriber.there:
            return
        subscribed = [not set(RATED_KINDS).isdisjoint(self._subscriptions.kinds(stream)) for stream in self._streams]
        if self._first_subscriber.arrives(subscribed, time.monotonic_ns()):
            self._link.send(Report("subscribed"))

    def _handle_messages(self) -> None:
        for _ in range(_MAX_PER_TURN):
            try:
                data = self._sockets.inbox.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                message = decode(data)
            except Exception as error:  # noqa: BLE001 - a bug, but no reason to stop publishing
                self._invalid.skip(error)
                continue
            self._handle_message(message)

    def _handle_message(self, message: InternalMessage) -> None:
        if isinstance(message, TrackedFrame | CaptureReport | StreamEvent) and message.stream not in self._streams:
            self._handle_supervisor()  # it announces a stream before any other process sends something about it
        match message:
            case RecorderReport() | DaemonReport():
                self._daemon.take(message)
            case WorkerReport():
                self._daemon.take(message)
                self._origin.model = message.model  # a reload may change it
                for published in self._streams.values():
                    published.status.on_worker(message)
            case StreamEvent(stream=stream) if stream == DAEMON:
                self._sockets.publish(self._daemon_encoder.event(message))
            case StreamEvent(stream=stream) if stream in self._streams:
                self._sockets.publish(self._streams[stream].encoder.event(message))
            case CaptureReport(stream=stream) if stream in self._streams:
                self._streams[stream].status.on_capture(message)
            case TrackedFrame(stream=stream) if stream in self._streams:
                self._publish_frame(message)

    def _publish_frame(self, frame: TrackedFrame) -> None:
        stream, published = frame.stream, self._streams[frame.stream]
        rated = self._subscriptions.rates(stream)
        due = published.schedule.take_due(rated, time.monotonic_ns())
        try:
            if self._subscriptions.wants(stream, "masks"):
                self._sockets.publish(published.encoder.masks(frame))
            if self._subscriptions.wants(stream, "objects"):
                self._sockets.publish(published.encoder.objects(frame))
            for rate in due:
                if "masks" in rated[rate]:
                    self._sockets.publish(published.encoder.masks(frame, rate))
                if "objects" in rated[rate]:
                    self._sockets.publish(published.encoder.objects(frame, rate))
        except ProtocolError as error:
            if published.status.count_drop("publish/invalid") == 1:
                log.error("a frame's masks cannot be published: %s", error, extra={"stream": stream})
        published.status.on_frame(frame)
        self._submit_picture(frame, tuple(rate for rate in due if "image" in rated[rate]))

    def _submit_picture(self, frame: TrackedFrame, rates: tuple[float, ...]) -> None:
        wanted = self._subscriptions.wants(frame.stream, "image") or bool(rates)
        published = self._streams[frame.stream]
        held = published.adopt(frame.slot, frame.frame_id)
        if held is None:
            if wanted:
                published.status.count_drop("image/not_shared")
        elif not wanted:
            held.release()
        elif not self._pictures.submit(frame, held, rates):
            published.status.count_drop("image/slow")

    # --- output -----------------------------------------------------------------------------------------------------

    def _send_pictures(self) -> None:
        for picture in self._pictures.take_finished():
            stream = picture.frame.stream
            if stream not in self._streams:
                continue  # closed meanwhile
            published = self._streams[stream]
            if picture.jpeg is None:
                published.status.count_drop("image/error")
                continue
            if self._subscriptions.wants(stream, "image"):
                self._sockets.publish(published.encoder.image(picture.frame, picture.jpeg))
            for rate in picture.rates_hz:
                self._sockets.publish(published.encoder.image(picture.frame, picture.jpeg, rate))

    def _send_due(self) -> None:
        now_ns = time.monotonic_ns()
        for stream in self._statuses.take_due(now_ns):
            self._send_status(stream)
        if now_ns >= self._progress_due_ns:
            self._link.send(Report("progress"))
            self._progress_due_ns = now_ns + _PROGRESS_NS
            self._report_dropped(now_ns)
            self._check_keys()

    def _check_keys(self) -> None:
        """Close the connections of revoked keys, and forget topics of closed connections."""
        gate = self._sockets.admission.gate
        if gate is not None and self._sockets.access is not None:
            gate.refresh()
            for data in self._sockets.access.forget_closed():
                self._subscriptions.handle(data)

    def _report_dropped(self, now_ns: int) -> None:
        """Report disconnected and refused subscribers: at once, and then at most every ten seconds."""
        dropped, unanswered = self._sockets.guard.dropped, self._sockets.admission.dropped
        if dropped != self._released_dropped:
            self._released_dropped = dropped
            self._sockets.guard.release_memory()
        before = self._reported_dropped
        if (dropped, unanswered) == before or now_ns < self._drop_report_due_ns:
            return
        self._reported_dropped, self._drop_report_due_ns = (dropped, unanswered), now_ns + _DROP_REPORT_NS
        parts = []
        if dropped != before[0]:
            parts.append(
                "too many topics that do not exist, too much data or too many connections: "
                f"{dropped - before[0]} connections closed, {dropped} in all"
            )
        if unanswered != before[1]:
            parts.append(
                f"too many connections of one address: {unanswered - before[1]} not answered, {unanswered} in all"
            )
        detail = "; ".join(parts)
        log.warning("subscribers were refused: %s", detail)
        event = StreamEvent(stream=DAEMON, kind="subscriber_dropped", t_wall_ns=time.time_ns(), detail=detail)
        self._sockets.publish(self._daemon_encoder.event(event))

    def _send_status(self, stream: str) -> None:
        if stream == DAEMON:
            status = self._daemon.message(self._daemon_encoder.next_seq("status"), list(self._streams))
            parts = self._daemon_encoder.status(status)
        else:
            published = self._streams[stream]
            encoder = published.encoder
            parts = encoder.status(
                published.status.message(
                    encoder.next_seq("status"),
                    published=encoder.published,
                    subscribed=self._subscriptions.kinds(stream),
                )
            )
        self._sockets.publish(parts)
        self._sockets.copy_status(stream, parts[1])

    def _wait_ms(self) -> int:
        """Return the time until something is due, rounded up so that the loop does not spin for the last fraction."""
        due_ns = min(self._progress_due_ns, self._statuses.next_due_ns())
        wait_ms = max(0, -(-(due_ns - time.monotonic_ns()) // 1_000_000))
        return min(wait_ms, self._sockets.admission.wait_ms())
