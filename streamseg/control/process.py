"""The control process: receives requests, checks them, forwards them as commands, and owns every timeout.

Commands about objects go to the worker over an internal socket, commands about streams to the supervisor over its link.
No malformed input gets past this process; if an input makes libzmq abort, only this process ends.

One long class: it owns the sockets and follows each request from its arrival to its reply.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Final

import msgspec
import zmq

from streamseg.common.logs import setup_logging
from streamseg.common.open_files import raise_open_files
from streamseg.common.redact import redact
from streamseg.control.access import READ_ONLY_OPS, check_access, visible, visible_listing
from streamseg.control.connection_limit import ConnectionLimit
from streamseg.control.parse import ParsedRequest, check_prompts, parse, request_id
from streamseg.control.pending import Key, Pending, PendingTable, Target
from streamseg.control.reply_cache import ReplyCache, digest_of, id_reused
from streamseg.control.spec import ControlSpec
from streamseg.control.statuses import Statuses
from streamseg.errors import ConfigError, ControlError, ProtocolError
from streamseg.ipc.commands import Command, Outcome, StatusCopy, decode_to_control, encode
from streamseg.ipc.endpoints import PathClaim, bind
from streamseg.ipc.invalid_messages import InvalidMessages
from streamseg.ipc.supervisor_link import ChildLink
from streamseg.ipc.supervisor_messages import DaemonInfo, Report, WorkerGone
from streamseg.paths import default_control_endpoint, make_default_folder
from streamseg.protocol.arguments import AddPrompt, SetPrompts
from streamseg.protocol.control import (
    CONTROL_VERSION,
    FEATURES,
    MAX_REQUEST_BYTES,
    OPERATIONS,
    ErrorBody,
    ErrorCode,
    Reply,
    control_error,
    stream_not_found,
)
from streamseg.protocol.published import Status
from streamseg.protocol.results import Hello
from streamseg.protocol.text import encode_json
from streamseg.protocol.topics import CONTROL_HWM, DAEMON, INTERNAL_HWM, is_public
from streamseg.security.authorized_keys import AuthorizedKey
from streamseg.security.curve_gate import CurveGate
from streamseg.security.key_folder import KeyFolder
from streamseg.security.zap import HandshakeSocket

log = logging.getLogger(__name__)

_MAX_PER_TURN: Final = 64
_PROGRESS_S: Final = 1.0
_SUPERVISOR_OPS: Final = frozenset(
    {"add_stream", "get_settings", "change_stream", "remove_stream", "record_clip", "reload"}
)
"""The supervisor passes ``record_clip`` on to the recorder."""
_PAUSING_OPS: Final = ("pause", "resume")


def main(spec: ControlSpec, connection: Connection) -> None:
    """Serve requests until the supervisor says stop. The child's entry point.

    Raises:
        ConfigError: the endpoint cannot be bound.
    """
    link = ChildLink(connection)
    link.attach()
    setup_logging(spec.log, "control")
    raise_open_files()
    control = Control(spec, link)
    try:
        control.open()
        control.run()
    finally:
        control.close()


class _StatusResponse(msgspec.Struct):
    """:class:`~streamseg.protocol.control.StatusResult` with unparsed status messages."""

    daemon: msgspec.Raw | None
    streams: list[msgspec.Raw]


class Control:
    """The sockets and the loop of the control process.

    Args:
        spec: Arguments of the process.
        link: Link to the supervisor.
    """

    def __init__(self, spec: ControlSpec, link: ChildLink) -> None:
        self._spec = spec
        self._link = link
        self._info = spec.info
        # Do not start at 0: outcomes for an earlier control process may still arrive.
        self._numbers = itertools.count(time.monotonic_ns())
        self._pending = PendingTable(spec.command_timeout_s)
        self._replies = ReplyCache()
        self._statuses = Statuses()
        self._invalid = InvalidMessages(log, "invalid internal message")
        self._progress_at = 0.0
        self._claims: list[PathClaim] = []
        self._gate: CurveGate | None = None
        self._context = zmq.Context()
        self._handshakes = HandshakeSocket(self._context)
        self._clients = self._context.socket(zmq.ROUTER)
        self._clients.setsockopt(zmq.MAXMSGSIZE, MAX_REQUEST_BYTES)
        self._clients.setsockopt(zmq.RCVHWM, CONTROL_HWM)
        self._clients.setsockopt(zmq.SNDHWM, CONTROL_HWM)
        self._clients.setsockopt(zmq.LINGER, 200)
        self._limit = ConnectionLimit(self._clients)
        self._internal = self._context.socket(zmq.ROUTER)
        self._internal.setsockopt(zmq.ROUTER_MANDATORY, 1)  # sending to an absent worker is an error, not a silent drop
        self._internal.setsockopt(zmq.ROUTER_HANDOVER, 1)
        self._internal.setsockopt(zmq.RCVHWM, INTERNAL_HWM)
        self._internal.setsockopt(zmq.SNDHWM, INTERNAL_HWM)

    def open(self) -> None:
        """Bind both sockets and report the public address to the supervisor.

        Raises:
            ConfigError: the configured endpoint cannot be bound, or needs a key and the daemon has none.
        """
        if self._spec.local_endpoint is not None:
            self._bind(self._clients, self._spec.local_endpoint, "the local endpoint")
        self._bind(self._internal, self._spec.commands_endpoint, "the endpoint for commands")
        address = self._bind_public()
        log.info("control at %s", address)
        self._link.send(Report("ready", address))

    def _bind_public(self) -> str:
        setting = "control.endpoint"
        if self._spec.endpoint is not None:
            exempt = self._spec.allow_unauthenticated and not is_public(self._spec.endpoint)
            if self._spec.endpoint.startswith("tcp://") and not exempt:
                self._gate = CurveGate(self._handshakes, KeyFolder(self._spec.keys))
                self._gate.secure(self._clients)
            return self._bind(self._clients, self._spec.endpoint, setting)
        try:
            if make_default_folder():
                return self._bind(self._clients, default_control_endpoint(), setting)
            why = f"{default_control_endpoint()!r} is in a directory that another user owns"
        except (ConfigError, OSError) as error:
            why = str(error)
        address = self._bind(self._clients, self._spec.other_endpoint, setting)
        log.warning("%s; this daemon listens at %s instead", why, address)
        return address

    def _bind(self, socket: zmq.Socket[bytes], endpoint: str, setting: str) -> str:
        address, claim = bind(socket, endpoint, setting)
        if claim is not None:
            self._claims.append(claim)
        return address

    def run(self) -> None:
        """Serve until the supervisor says stop."""
        poller = zmq.Poller()
        sockets = (self._clients, self._internal, self._limit.accepted, self._handshakes.socket)
        for source in (self._link.fileno(), *sockets):
            poller.register(source, zmq.POLLIN)
        while not self._link.stop_requested():
            poller.poll(self._wait_ms())
            # Outcomes first: one that has arrived is sent before the same request is executed again.
            self._receive_supervisor()
            self._receive_worker()
            self._limit.handle_accepted()
            if self._gate is not None:
                self._gate.handle_handshakes()
            if self._receive_requests():
                self._limit.close_silent()
            self._time_out()
            self._report()
        self._fail(self._pending.pop_target("worker"), "WORKER_RESTARTING", "the daemon is stopping")
        self._fail(self._pending.pop_target("supervisor"), "WORKER_RESTARTING", "the daemon is stopping")

    def close(self) -> None:
        """Close the sockets and remove their files."""
        self._internal.close(linger=0)
        self._handshakes.close()
        self._limit.close()
        self._clients.close()
        self._context.term()
        for claim in self._claims:
            claim.release()

    def _wait_ms(self) -> int:
        due = min(self._progress_at, self._pending.next_deadline() or self._progress_at)
        return max(0, int((due - time.monotonic()) * 1000) + 1)

    def _report(self) -> None:
        now = time.monotonic()
        if now >= self._progress_at:
            self._progress_at = now + _PROGRESS_S
            self._link.send(Report("progress"))
            if self._gate is not None:
                self._gate.refresh()

    # --- requests ---------------------------------------------------------------------------------------------------

    def _receive_requests(self) -> bool:
        """Handle requests; return whether none is left waiting."""
        for _ in range(_MAX_PER_TURN):
            try:
                frames = self._clients.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return True
            receiver, *parts = (frame.bytes for frame in frames)
            try:
                holder = None if self._gate is None else self._gate.holder_of(frames[-1])
            except PermissionError as error:
                log.debug("refused: %s", error)
                continue
            self._limit.heard(frames[-1])
            try:
                self._handle(receiver, replace(parse(parts), holder=holder))
            except ControlError as error:
                log.debug("refused: %s: %s", error.code, error)
                self._respond(receiver, request_id(parts), ErrorBody.of(error))
        return False

    def _handle(self, receiver: bytes, request: ParsedRequest) -> None:
        """Reply to a request or forward it.

        Raises:
            ControlError: it is refused.
        """
        check_access(request.holder, request)
        key = (_client_of(request) or f"@{receiver.hex()}", request.id)
        if (reply := self._replies.find(key, request)) is not None:
            self._send(receiver, reply)
            return
        if (pending := self._pending.find(key)) is not None:
            if digest_of(pending.request) != digest_of(request):
                raise id_reused(request)
            self._pending.join(pending, receiver, time.monotonic())
            return
        if request.stream and request.op != "add_stream" and request.stream not in self._info.streams:
            raise stream_not_found(request.stream, visible(request.holder, self._info.streams))
        match request.op:
            case "hello":
                self._respond(receiver, request.id, self._hello(request.holder))
            case "get_status":
                self._respond(receiver, request.id, self._status(request))
            case _:
                self._check(request)
                self._forward(receiver, key, request)

    def _check(self, request: ParsedRequest) -> None:
        check_prompts(request.args)
        limit = self._info.max_objects
        if isinstance(request.args, SetPrompts) and len(request.args.prompts) > limit:
            raise control_error(
                "BAD_PROMPT", f"{len(request.args.prompts)} objects, but model.max_objects is {limit}: give fewer"
            )

    def _forward(self, receiver: bytes, key: Key, request: ParsedRequest) -> None:
        target: Target = "supervisor" if request.op in _SUPERVISOR_OPS else "worker"
        # A restarted control process recognizes only clients with a name.
        request_key = f"{_client_of(request)} {request.id}" if request.client and _changes(request) else ""
        command = Command(
            next(self._numbers), request.op, request.stream, msgspec.json.encode(request.args), request_key
        )
        self._pending.add(command.number, key, request, target, receiver, time.monotonic())
        if target == "supervisor":
            self._link.send(command)
            return
        try:
            self._internal.send_multipart([self._spec.worker_id, encode(command)], zmq.NOBLOCK)
            log.debug("%s %s: sent to the worker", request.op, request.stream)
            if request.op in _PAUSING_OPS:
                self._statuses.forget_paused([request.stream])
        except zmq.ZMQError as error:
            self._pending.pop(command.number)
            if error.errno == zmq.EAGAIN:
                raise control_error("BUSY", "the worker is too busy: try again") from None
            raise control_error("WORKER_RESTARTING", "the worker is starting: try again in a few seconds") from None

    def _hello(self, holder: AuthorizedKey | None) -> bytes:
        return msgspec.json.encode(
            Hello(
                version=self._spec.version,
                session=self._spec.session,
                model=self._info.model,
                max_objects=self._info.max_objects,
                publish=self._info.publish,
                streams=visible(holder, self._info.streams),
                ops=tuple(OPERATIONS),
                features=FEATURES,
            )
        )

    def _status(self, request: ParsedRequest) -> bytes:
        daemon = self._statuses.of_daemon()
        chosen = (request.stream,) if request.stream else visible(request.holder, self._info.streams)
        return msgspec.json.encode(
            _StatusResponse(
                None if daemon is None else msgspec.Raw(daemon),
                [msgspec.Raw(self._statuses.of_stream(one, self._starting(one))) for one in chosen],
            )
        )

    def _starting(self, stream: str) -> bytes:
        """Return the status of a stream for which the publisher has not sent one yet."""
        return encode_json(
            Status.starting(stream, self._spec.session, self._info.sources.get(stream, ""), str(time.time_ns()))
        )

    # --- outcomes -------------------------------------------------------------------------------------------------

    def _receive_supervisor(self) -> None:
        for message in self._link.take_messages():
            match message:
                case DaemonInfo():
                    self._info = message
                    self._statuses.keep_only((*message.streams, DAEMON))
                case WorkerGone():
                    self._statuses.forget_paused(self._info.streams)
                    self._fail(
                        self._pending.pop_target("worker"),
                        "WORKER_RESTARTING",
                        "the worker died and is being restarted: try again in a few seconds",
                    )
                case Outcome():
                    self._finish(message)

    def _receive_worker(self) -> None:
        for _ in range(_MAX_PER_TURN):
            try:
                sender, *parts = self._internal.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                message = decode_to_control(b"".join(parts))
                if isinstance(message, Outcome) and sender != self._spec.worker_id:
                    raise ProtocolError("an outcome that is not the worker's")
                if isinstance(message, StatusCopy) and message.stream in (*self._info.streams, DAEMON):
                    self._statuses.take(message.stream, message.status)
            except Exception as error:  # noqa: BLE001 - a bug or an intruder, but no reason to stop serving
                self._invalid.skip(error)
                continue
            if isinstance(message, Outcome):
                self._finish(message)

    def _finish(self, outcome: Outcome) -> None:
        pending = self._pending.pop(outcome.number)
        if pending is None:
            return
        request, error = pending.request, outcome.error
        changes = _changes(request)
        if changes:
            log.info("%s: %s", _named(request), "done" if error is None else f"{error.code}: {error.message}")
        result = visible_listing(request.holder, outcome.result) if request.op == "list" else outcome.result
        reply = _reply(request.id, result if error is None else error)
        if error is None and request.op in _PAUSING_OPS:
            self._statuses.confirm_paused(request.stream, request.op == "pause")
        if changes and (error is None or not error.retryable):
            self._replies.keep(pending.key, request, reply)
        for receiver in pending.receivers:
            self._send(receiver, reply)

    def _fail(self, commands: Sequence[Pending], code: ErrorCode, why: str) -> None:
        for pending in commands:
            error = ErrorBody.of(control_error(code, f"{pending.request.op}: {why}"))
            for receiver in pending.receivers:
                self._respond(receiver, pending.request.id, error)

    def _time_out(self) -> None:
        for pending, receivers in self._pending.time_out(time.monotonic()):
            late = f"{pending.request.op}: the {pending.target} did not reply within {self._spec.command_timeout_s:g} s"
            error = control_error(
                "TIMEOUT", f"{late}; it may still complete: send the same request, with the same id, to wait for it"
            )
            log.warning("%s: %s", _named(pending.request), error)
            for receiver in receivers:
                self._respond(receiver, pending.request.id, ErrorBody.of(error))

    # --- replies ----------------------------------------------------------------------------------------------------

    def _respond(self, receiver: bytes, request_id: str, outcome: bytes | ErrorBody) -> None:
        self._send(receiver, _reply(request_id, outcome))

    def _send(self, receiver: bytes, reply: bytes) -> None:
        """Send a reply. Never blocks: a client that does not read loses it, and may repeat its request."""
        try:
            self._clients.send_multipart([receiver, b"", reply], zmq.NOBLOCK)
        except zmq.Again:
            log.debug("a client does not read its replies")


def _client_of(request: ParsedRequest) -> str:
    """Return the client's name, distinct for each key: a client must not get another client's replies."""
    if request.holder is None or not request.client:
        return request.client
    return f"{request.holder.name}/{request.client}"


def _named(request: ParsedRequest) -> str:
    """Return the operation, and the stream if it has one, for the log."""
    return f"{request.op} {request.stream}".rstrip()


def _changes(request: ParsedRequest) -> bool:
    return request.op not in READ_ONLY_OPS and not (isinstance(request.args, AddPrompt) and request.args.preview)


def _reply(request_id: str, outcome: bytes | ErrorBody) -> bytes:
    if isinstance(outcome, ErrorBody):
        error = msgspec.structs.replace(outcome, message=redact(outcome.message))
        return encode_json(Reply(v=CONTROL_VERSION, id=request_id, ok=False, error=error))
    return msgspec.json.encode(Reply(v=CONTROL_VERSION, id=request_id, ok=True, result=msgspec.Raw(outcome)))
