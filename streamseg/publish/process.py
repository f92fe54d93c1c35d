"""The publisher: the only process that knows the wire. Internal messages in, XPUB out.

It binds both ends, so that the others can come and go. It waits for the supervisor, the other processes, new
subscriptions and finished pictures in one poll. libzmq ends a process in which one of its assertions fails: that is
why this is a process of its own, whose loss costs neither frames nor tracking state.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Final

import cv2
import msgspec
import zmq

from streamseg.common.logs import setup_logging
from streamseg.config.schema import LogConfig, PublishConfig
from streamseg.errors import ProtocolError
from streamseg.ipc.commands import StatusCopy
from streamseg.ipc.commands import encode as encode_command
from streamseg.ipc.endpoints import PathClaim, bind, require_private
from streamseg.ipc.messages import (
    CaptureReport,
    DaemonReport,
    InternalMessage,
    StreamEvent,
    TrackedFrame,
    WorkerReport,
    decode,
)
from streamseg.ipc.supervisor_link import ChildLink
from streamseg.ipc.supervisor_messages import CloseStream, OpenStream, Report
from streamseg.protocol.clock import clock_name
from streamseg.protocol.mask_codec import require_encoding
from streamseg.protocol.published import DaemonStatus
from streamseg.protocol.topics import DAEMON, INTERNAL_HWM, PUBLISH_HWM
from streamseg.publish.picture import encode_jpeg
from streamseg.publish.picture_thread import PictureThread
from streamseg.publish.status import StreamStatus
from streamseg.publish.stream_encoder import Origin, Parts, StreamEncoder
from streamseg.publish.subscriptions import Subscriptions
from streamseg.ring.frame_ring import FrameRing, RingReader

log = logging.getLogger(__name__)

_SECOND_NS: Final = 1_000_000_000
_REPLAY_NS: Final = 100_000_000
"""A new subscriber gets a status at once, but nobody can make us send more than ten a second."""

_LINGER_MS: Final = 200
_LAST_WORDS_NS: Final = 200_000_000
_QUIET_MS: Final = 100
_TURN_MESSAGES: Final = 64
_MAX_SUBSCRIPTION_BYTES: Final = 1024
_MAX_CLOSED: Final = 256
_PICTURES_HELD: Final = 2
"""Slots of each ring: one picture is being encoded while the next one waits."""


@dataclass(frozen=True)
class PublisherSpec:
    """What a publisher needs to know.

    Attributes:
        session: Id of this run of the daemon.
        publish: Where and how to publish.
        internal_endpoint: Where to listen for the other processes.
        commands_endpoint: Where the control process listens.
        streams: Id -> address of the source, without credentials.
        model: Name of the model.
        version: Of streamseg.
        local_endpoint: Where to publish for processes of this daemon, too.
        log: What to log.
    """

    session: str
    publish: PublishConfig
    internal_endpoint: str
    commands_endpoint: str
    streams: Mapping[str, str]
    model: str
    version: str
    local_endpoint: str | None = None
    log: LogConfig = field(default_factory=LogConfig)


def main(spec: PublisherSpec, rings: dict[str, FrameRing], connection: Connection) -> None:
    """Publish until the supervisor says stop. The child's entry point.

    Raises:
        ConfigError: an endpoint cannot be bound, or an encoding not be used; no restart would help.
    """
    link = ChildLink(connection)
    link.attach()
    setup_logging(spec.log, "publisher")
    cv2.setNumThreads(1)  # pictures have one thread; the cores are the tracker's
    publisher = Publisher(spec, rings, link)
    try:
        publisher.open()
        publisher.run()
    finally:
        publisher.close()


class Publisher:
    """The publisher's sockets and its loop.

    Args:
        spec: What to do.
        rings: Stream id -> its ring.
        link: To the supervisor.
    """

    def __init__(self, spec: PublisherSpec, rings: Mapping[str, FrameRing], link: ChildLink) -> None:
        self._spec = spec
        self._link = link
        origin = Origin(spec.session, publisher=secrets.token_hex(4), clock=clock_name(), model=spec.model)
        self._origin = origin
        self._rings: dict[str, FrameRing] = {}
        self._encoders = {DAEMON: StreamEncoder(DAEMON, origin, spec.publish.encoding)}
        self._statuses: dict[str, StreamStatus] = {}
        self._readers: dict[str, RingReader] = {}
        self._closed: dict[str, StreamEncoder] = {}
        self._accepting: set[str] = set()
        self._subscriptions = Subscriptions(())
        self._subscribed_said = False
        self._pictures = PictureThread(functools.partial(encode_jpeg, quality=spec.publish.jpeg_quality))
        self._daemon = DaemonReport(uptime_s=0.0, processes={}, restarts={})
        self._worker = WorkerReport(model=spec.model, device="", tracked={}, drops={})
        self._status_due_ns = {DAEMON: 0}
        self._status_sent_ns = {DAEMON: 0}
        self._progress_due_ns = 0
        for stream, source in spec.streams.items():
            self._open_stream(stream, source, rings[stream])
        self._claims: list[PathClaim] = []
        self._context = zmq.Context()
        self._inbox = self._context.socket(zmq.PULL)
        self._inbox.setsockopt(zmq.RCVHWM, INTERNAL_HWM)
        self._copies = self._context.socket(zmq.DEALER)
        self._copies.setsockopt(zmq.SNDHWM, INTERNAL_HWM)
        self._copies.setsockopt(zmq.IMMEDIATE, 1)
        self._copies.connect(spec.commands_endpoint)
        self._outlet = self._context.socket(zmq.XPUB)
        self._outlet.setsockopt(zmq.XPUB_VERBOSE, 1)
        self._outlet.setsockopt(zmq.SNDHWM, PUBLISH_HWM)
        self._outlet.setsockopt(zmq.MAXMSGSIZE, _MAX_SUBSCRIPTION_BYTES)
        self._outlet.setsockopt(zmq.LINGER, _LINGER_MS)
        self._outlet.setsockopt(zmq.TCP_KEEPALIVE, 1)

    def open(self) -> None:
        """Bind all endpoints and tell the supervisor that we are ready.

        Raises:
            ConfigError: one cannot be bound, or the encoding cannot be used.
        """
        require_encoding(self._spec.publish.encoding)
        self._bind(self._inbox, self._spec.internal_endpoint, "the internal endpoint")
        addresses = []
        for endpoint in self._spec.publish.endpoints:
            if not self._spec.publish.allow_unauthenticated:
                require_private(
                    endpoint,
                    "publish.endpoints",
                    "could watch: use 127.0.0.1, or set publish.allow_unauthenticated to true",
                )
            addresses.append(self._bind(self._outlet, endpoint, "publish.endpoints"))
        if self._spec.local_endpoint is not None:
            self._bind(self._outlet, self._spec.local_endpoint, "the local endpoint")
        log.info("publishing on %s", ", ".join(addresses))
        self._link.send(Report("ready", " ".join(addresses)))

    def _bind(self, socket: zmq.Socket[bytes], endpoint: str, setting: str) -> str:
        address, claim = bind(socket, endpoint, setting)
        if claim is not None:
            self._claims.append(claim)
        return address

    def run(self) -> None:
        """Publish until the supervisor says stop, and then what is still in the inbox."""
        poller = zmq.Poller()
        for waited_for in (self._link.fileno(), self._inbox, self._outlet, self._pictures.fileno()):
            poller.register(waited_for, zmq.POLLIN)
        while not self._link.stop_requested():
            self._send_due()
            poller.poll(self._wait_ms())
            self._obey_supervisor()
            self._take_subscriptions()
            self._take_messages()
            self._send_pictures()
        # The worker has ended by now, but its last words may still be on their way through the kernel.
        deadline_ns = time.monotonic_ns() + _LAST_WORDS_NS
        while self._inbox.poll(_QUIET_MS) and time.monotonic_ns() < deadline_ns:
            self._take_messages()

    def close(self) -> None:
        """Close everything and remove the files of sockets.

        Blocks: up to 0.5 s, for subscribers that are slow to take the last messages.
        """
        self._pictures.close()
        for reader in self._readers.values():
            reader.accept(0)
        self._inbox.close(linger=0)
        self._copies.close(linger=0)
        self._outlet.close()
        self._context.term()
        for claim in self._claims:
            claim.release()

    # --- streams that come and go ------------------------------------------------------------------------------------

    def _obey_supervisor(self) -> None:
        for order in self._link.take_messages():
            match order:
                case OpenStream(stream=stream, source=source, ring=ring):
                    assert ring is not None
                    self._open_stream(stream, source, ring)
                case CloseStream(stream=stream):
                    self._close_stream(stream)

    def _open_stream(self, stream: str, source: str, ring: FrameRing) -> None:
        # One that was closed before goes on where it was: in a session, numbers of a stream only rise.
        encoder = self._closed.pop(stream, None)
        self._encoders[stream] = encoder or StreamEncoder(stream, self._origin, self._spec.publish.encoding)
        self._rings[stream] = ring
        self._statuses[stream] = StreamStatus(stream, source, ring, self._origin)
        self._readers[stream] = ring.reader("publisher")
        self._subscriptions.add_stream(stream)
        self._status_due_ns[stream] = self._status_sent_ns[stream] = 0

    def _close_stream(self, stream: str) -> None:
        if stream not in self._statuses:
            return
        self._closed[stream] = self._encoders.pop(stream)
        if len(self._closed) > _MAX_CLOSED:
            del self._closed[next(iter(self._closed))]
        self._subscriptions.remove_stream(stream)
        self._accepting.discard(stream)
        for table in (self._statuses, self._readers, self._status_due_ns, self._status_sent_ns):
            table.pop(stream)
        self._rings.pop(stream).close()

    # --- in ---------------------------------------------------------------------------------------------------------

    def _take_subscriptions(self) -> None:
        for _ in range(_TURN_MESSAGES):
            try:
                message = self._outlet.recv(zmq.NOBLOCK)
            except zmq.Again:
                break
            for stream, kind in self._subscriptions.handle(message):
                if kind == "status":
                    due_ns = self._status_sent_ns[stream] + _REPLAY_NS
                    self._status_due_ns[stream] = min(self._status_due_ns[stream], due_ns)
        for stream, reader in self._readers.items():
            wanted = self._subscriptions.wants(stream, "image")
            if wanted != (stream in self._accepting):
                reader.accept(_PICTURES_HELD if wanted else 0)
                self._accepting ^= {stream}
        if not self._subscribed_said and any(
            self._subscriptions.wants(stream, kind)
            for stream in self._statuses
            for kind in ("masks", "objects", "image")
        ):
            self._subscribed_said = True
            self._link.send(Report("subscribed"))

    def _take_messages(self) -> None:
        for _ in range(_TURN_MESSAGES):
            try:
                data = self._inbox.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                message = decode(data)
            except msgspec.DecodeError as error:  # a bug, but no reason to go dark
                log.error("an internal message makes no sense: %s", error)
                continue
            self._handle(message)

    def _handle(self, message: InternalMessage) -> None:
        if isinstance(message, TrackedFrame | CaptureReport | StreamEvent) and message.stream not in self._encoders:
            self._obey_supervisor()  # the supervisor said so before anybody else could know of the stream
        match message:
            case DaemonReport():
                self._daemon = message
            case WorkerReport():
                self._worker = message
                for status in self._statuses.values():
                    status.on_worker(message)
            case StreamEvent():
                if message.stream in self._encoders:
                    self._send(self._encoders[message.stream].event(message))
            case CaptureReport():
                if message.stream in self._statuses:
                    self._statuses[message.stream].on_capture(message)
            case TrackedFrame():
                if message.stream in self._statuses:
                    self._publish_frame(message)

    def _publish_frame(self, frame: TrackedFrame) -> None:
        stream, encoder, status = frame.stream, self._encoders[frame.stream], self._statuses[frame.stream]
        try:
            if self._subscriptions.wants(stream, "masks"):
                self._send(encoder.masks(frame))
            if self._subscriptions.wants(stream, "objects"):
                self._send(encoder.objects(frame))
        except ProtocolError as error:
            if status.count_drop("publish/invalid") == 1:
                log.error("a frame's masks cannot be published: %s", error, extra={"stream": stream})
        status.on_frame(frame)
        self._submit_picture(frame)

    def _submit_picture(self, frame: TrackedFrame) -> None:
        wanted = self._subscriptions.wants(frame.stream, "image")
        status = self._statuses[frame.stream]
        held = self._readers[frame.stream].adopt(frame.slot, frame.frame_id) if frame.slot >= 0 else None
        if held is None:
            if wanted:
                status.count_drop("image/not_shared")
        elif not wanted:
            held.release()
        elif not self._pictures.submit(frame, held):
            status.count_drop("image/slow")

    # --- out --------------------------------------------------------------------------------------------------------

    def _send_pictures(self) -> None:
        for picture in self._pictures.take_finished():
            stream = picture.frame.stream
            if stream not in self._statuses:
                continue  # it was closed meanwhile
            if picture.jpeg is None:
                self._statuses[stream].count_drop("image/error")
            elif self._subscriptions.wants(stream, "image"):
                self._send(self._encoders[stream].image(picture.frame, picture.jpeg))

    def _send_due(self) -> None:
        now_ns = time.monotonic_ns()
        for stream, due_ns in tuple(self._status_due_ns.items()):
            if now_ns >= due_ns:
                self._send_status(stream)
                self._status_sent_ns[stream] = now_ns
                self._status_due_ns[stream] = now_ns + _SECOND_NS
        if now_ns >= self._progress_due_ns:
            self._link.send(Report("progress"))
            self._progress_due_ns = now_ns + _SECOND_NS

    def _send_status(self, stream: str) -> None:
        encoder = self._encoders[stream]
        seq = encoder.next_seq("status")
        if stream == DAEMON:
            parts = encoder.status(self._daemon_status(seq))
        else:
            subscribed = self._subscriptions.kinds(stream)
            status = self._statuses[stream].message(seq, published=encoder.published, subscribed=subscribed)
            parts = encoder.status(status)
        self._send(parts)
        with contextlib.suppress(zmq.Again):  # the control process is away
            self._copies.send(encode_command(StatusCopy(stream, parts[1])), zmq.NOBLOCK)

    def _daemon_status(self, seq: int) -> DaemonStatus:
        return DaemonStatus(
            session=self._origin.session,
            publisher=self._origin.publisher,
            seq=seq,
            t_wall_ns=str(time.time_ns()),
            clock=self._origin.clock,
            version=self._spec.version,
            model=self._spec.model,
            device=self._worker.device,
            uptime_s=round(self._daemon.uptime_s, 3),
            streams=list(self._statuses),
            processes=self._daemon.processes,
            restarts=self._daemon.restarts,
            device_memory_bytes=self._worker.device_memory_bytes,
            recompiles=self._worker.recompiles,
        )

    def _wait_ms(self) -> int:
        """Until the next thing is due; rounded up, so that the loop does not spin through the last millisecond."""
        due_ns = min(self._progress_due_ns, *self._status_due_ns.values())
        return max(0, -(-(due_ns - time.monotonic_ns()) // 1_000_000))

    def _send(self, parts: Parts) -> None:
        """Send to whoever subscribes. Never waits: what a slow subscriber cannot take is lost for it alone."""
        self._outlet.send_multipart(parts, zmq.NOBLOCK)
