"""The control process: the only one that knows requests. It reads, refuses, passes on, and owns every time-out.

Commands about objects go to the worker over a socket of our own, those about streams to the supervisor over the line
to it. Whatever comes in from outside ends here unless it is a request whose form is right; and if libzmq ends a process
over it, it is this one.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Final

import msgspec
import zmq

from streamseg.common.logs import setup_logging
from streamseg.common.redact import redact
from streamseg.config.schema import LogConfig
from streamseg.control.parse import ParsedRequest, parse, request_id
from streamseg.control.pending import Key, Pending, PendingTable, Target
from streamseg.control.reply_cache import ReplyCache, digest_of, reused
from streamseg.errors import ConfigError, ControlError
from streamseg.ipc.command_socket import WORKER_ID
from streamseg.ipc.commands import Command, Outcome, StatusCopy, decode_to_control, encode
from streamseg.ipc.endpoints import PathClaim, bind, require_private
from streamseg.ipc.supervisor_link import ChildLink
from streamseg.ipc.supervisor_messages import DaemonInfo, Report, WorkerGone
from streamseg.paths import default_control_endpoint, make_default_folder
from streamseg.protocol.control import (
    CONTROL_VERSION,
    MAX_REQUEST_BYTES,
    OPERATIONS,
    AddPrompt,
    ErrorBody,
    ErrorCode,
    Hello,
    Reply,
    SetPrompts,
    control_error,
)
from streamseg.protocol.topics import CONTROL_HWM, DAEMON, INTERNAL_HWM

log = logging.getLogger(__name__)

_TURN_MESSAGES: Final = 64
_PROGRESS_S: Final = 1.0
_OF_SUPERVISOR: Final = frozenset({"add_stream", "remove_stream", "reload"})
_CHANGES_NOTHING: Final = frozenset({"hello", "list", "snapshot", "get_status"})


@dataclass(frozen=True)
class ControlSpec:
    """What a control process needs to know.

    Attributes:
        session: Id of this run of the daemon.
        endpoint: Where to listen; None: at this user's own address, if that is free.
        other_endpoint: Where to listen if it is not.
        commands_endpoint: Where to listen for the worker and the publisher.
        model: Name of the model.
        max_objects: Most objects a stream.
        version: Of streamseg.
        info: What may change.
        command_timeout_s: Longest wait for a command's outcome.
        log: What to log.
    """

    session: str
    endpoint: str | None
    other_endpoint: str
    commands_endpoint: str
    model: str
    max_objects: int
    version: str
    info: DaemonInfo
    command_timeout_s: float = 10.0
    log: LogConfig = field(default_factory=LogConfig)


def main(spec: ControlSpec, connection: Connection) -> None:
    """Answer requests until the supervisor says stop. The child's entry point.

    Raises:
        ConfigError: the endpoint cannot be bound.
    """
    link = ChildLink(connection)
    link.attach()
    setup_logging(spec.log, "control")
    control = Control(spec, link)
    try:
        control.open()
        control.run()
    finally:
        control.close()


class _StatusResponse(msgspec.Struct):
    """:class:`~streamseg.protocol.control.StatusResult` of status messages as they came."""

    daemon: msgspec.Raw | None
    streams: list[msgspec.Raw]


class Control:
    """The control process's sockets and its loop.

    Args:
        spec: What to do.
        link: To the supervisor.
    """

    def __init__(self, spec: ControlSpec, link: ChildLink) -> None:
        self._spec = spec
        self._link = link
        self._facts = spec.info
        # Not from 0: outcomes of a process before this one may still come.
        self._numbers = itertools.count(time.monotonic_ns())
        self._pending = PendingTable(spec.command_timeout_s)
        self._answers = ReplyCache()
        self._statuses: dict[str, bytes] = {}
        self._progress_at = 0.0
        self._claims: list[PathClaim] = []
        self._context = zmq.Context()
        self._clients = self._context.socket(zmq.ROUTER)
        self._clients.setsockopt(zmq.MAXMSGSIZE, MAX_REQUEST_BYTES)
        self._clients.setsockopt(zmq.RCVHWM, CONTROL_HWM)
        self._clients.setsockopt(zmq.SNDHWM, CONTROL_HWM)
        self._clients.setsockopt(zmq.LINGER, 200)
        self._inside = self._context.socket(zmq.ROUTER)
        self._inside.setsockopt(zmq.ROUTER_MANDATORY, 1)  # a worker that is not there is an error, not a hole
        self._inside.setsockopt(zmq.ROUTER_HANDOVER, 1)
        self._inside.setsockopt(zmq.RCVHWM, INTERNAL_HWM)
        self._inside.setsockopt(zmq.SNDHWM, INTERNAL_HWM)

    def open(self) -> None:
        """Bind both sockets and tell the supervisor where clients find us.

        Raises:
            ConfigError: the configured endpoint cannot be bound.
        """
        self._bind(self._inside, self._spec.commands_endpoint, "the endpoint for commands")
        address = self._bind_public()
        log.info("control at %s", address)
        self._link.send(Report("ready", address))

    def _bind_public(self) -> str:
        setting = "control.endpoint"
        if self._spec.endpoint is not None:
            require_private(
                self._spec.endpoint, setting, "could control the daemon: use 127.0.0.1 or an ipc:// address"
            )
            return self._bind(self._clients, self._spec.endpoint, setting)
        try:
            if make_default_folder():
                return self._bind(self._clients, default_control_endpoint(), setting)
            why = f"{default_control_endpoint()!r} lies in a folder of somebody else"
        except (ConfigError, OSError) as error:
            why = str(error)
        address = self._bind(self._clients, self._spec.other_endpoint, setting)
        log.warning("%s; this daemon is at %s instead", why, address)
        return address

    def _bind(self, socket: zmq.Socket[bytes], endpoint: str, setting: str) -> str:
        address, claim = bind(socket, endpoint, setting)
        if claim is not None:
            self._claims.append(claim)
        return address

    def run(self) -> None:
        """Answer until the supervisor says stop."""
        poller = zmq.Poller()
        for waited_for in (self._link.fileno(), self._clients, self._inside):
            poller.register(waited_for, zmq.POLLIN)
        while not self._link.stop_requested():
            poller.poll(self._wait_ms())
            # In this order: an outcome that we were told of is answered before the same request is done anew.
            self._take_messages()
            self._take_outcomes()
            self._take_requests()
            self._time_out()
            self._report()
        self._give_up(self._pending.pop_target("worker"), "WORKER_RESTARTING", "the daemon is ending")
        self._give_up(self._pending.pop_target("supervisor"), "WORKER_RESTARTING", "the daemon is ending")

    def close(self) -> None:
        """Close everything and remove the files of sockets."""
        self._inside.close(linger=0)
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

    # --- requests ---------------------------------------------------------------------------------------------------

    def _take_requests(self) -> None:
        for _ in range(_TURN_MESSAGES):
            try:
                receiver, *parts = self._clients.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                self._handle(receiver, parse(parts))
            except ControlError as error:
                log.debug("refused: %s: %s", error.code, error)
                self._answer(receiver, request_id(parts), ErrorBody.of(error))

    def _handle(self, receiver: bytes, asked: ParsedRequest) -> None:
        """Answer a request, or pass it on.

        Raises:
            ControlError: it cannot be done.
        """
        key = (asked.client or f"@{receiver.hex()}", asked.id)
        if (answer := self._answers.find(key, asked)) is not None:
            self._send(receiver, answer)
            return
        if (pending := self._pending.find(key)) is not None:
            if digest_of(pending.asked) != digest_of(asked):
                raise reused(asked)
            self._pending.join(pending, receiver, time.monotonic())
            return
        if asked.stream and asked.op != "add_stream" and asked.stream not in self._facts.streams:
            there = ", ".join(self._facts.streams) or "none"
            raise control_error("STREAM_NOT_FOUND", f"there is no stream {asked.stream!r}, but: {there}")
        match asked.op:
            case "hello":
                self._answer(receiver, asked.id, self._hello())
            case "get_status":
                self._answer(receiver, asked.id, self._status(asked.stream))
            case _:
                self._check(asked)
                self._pass_on(receiver, key, asked)

    def _check(self, asked: ParsedRequest) -> None:
        most = self._spec.max_objects
        if isinstance(asked.args, SetPrompts) and len(asked.args.prompts) > most:
            raise control_error(
                "BAD_PROMPT", f"{len(asked.args.prompts)} objects, but model.max_objects is {most}: follow fewer"
            )

    def _pass_on(self, receiver: bytes, key: Key, asked: ParsedRequest) -> None:
        target: Target = "supervisor" if asked.op in _OF_SUPERVISOR else "worker"
        # Only a client with a name is known again by a control process after this one.
        request = f"{asked.client} {asked.id}" if asked.client and _changes(asked) else ""
        command = Command(next(self._numbers), asked.op, asked.stream, msgspec.json.encode(asked.args), request)
        self._pending.add(command.number, key, asked, target, receiver, time.monotonic())
        if target == "supervisor":
            self._link.send(command)
            return
        try:
            self._inside.send_multipart([WORKER_ID, encode(command)], zmq.NOBLOCK)
            log.debug("%s %s: given to the worker", asked.op, asked.stream)
        except zmq.ZMQError as error:
            self._pending.pop(command.number)
            if error.errno == zmq.EAGAIN:
                raise control_error("BUSY", "the worker has too much to do: try again") from None
            raise control_error("WORKER_RESTARTING", "the worker is starting: try again in some seconds") from None

    def _hello(self) -> bytes:
        return msgspec.json.encode(
            Hello(
                version=self._spec.version,
                session=self._spec.session,
                model=self._spec.model,
                max_objects=self._spec.max_objects,
                publish=self._facts.publish,
                streams=self._facts.streams,
                ops=tuple(OPERATIONS),
            )
        )

    def _status(self, stream: str) -> bytes:
        daemon = self._statuses.get(DAEMON)
        chosen = (stream,) if stream else self._facts.streams
        return msgspec.json.encode(
            _StatusResponse(
                None if daemon is None else msgspec.Raw(daemon),
                [msgspec.Raw(self._statuses[one]) for one in chosen if one in self._statuses],
            )
        )

    # --- what became of them ----------------------------------------------------------------------------------------

    def _take_messages(self) -> None:
        for order in self._link.take_messages():
            match order:
                case DaemonInfo():
                    self._facts = order
                    for stream in self._statuses.keys() - {*order.streams, DAEMON}:
                        del self._statuses[stream]
                case WorkerGone():
                    self._give_up(
                        self._pending.pop_target("worker"),
                        "WORKER_RESTARTING",
                        "the worker died over it or before it, and is started anew: try again in some seconds",
                    )
                case Outcome():
                    self._conclude(order)

    def _take_outcomes(self) -> None:
        for _ in range(_TURN_MESSAGES):
            try:
                _, data = self._inside.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                message = decode_to_control(data)
            except msgspec.DecodeError as error:  # a bug, but no reason to stop answering
                log.error("an internal message makes no sense: %s", error)
                continue
            if isinstance(message, StatusCopy):
                if message.stream in (*self._facts.streams, DAEMON):
                    self._statuses[message.stream] = message.status
            else:
                self._conclude(message)

    def _conclude(self, outcome: Outcome) -> None:
        pending = self._pending.pop(outcome.number)
        if pending is None:
            return
        asked, error = pending.asked, outcome.error
        changes = _changes(asked)
        if changes:
            log.info("%s %s: %s", asked.op, asked.stream, "done" if error is None else f"{error.code}: {error.message}")
        answer = _reply(asked.id, outcome.result if error is None else error)
        if changes and (error is None or not error.retryable):
            self._answers.keep(pending.key, asked, answer)
        for receiver in pending.receivers:
            self._send(receiver, answer)

    def _give_up(self, commands: Sequence[Pending], code: ErrorCode, why: str) -> None:
        for pending in commands:
            error = ErrorBody.of(control_error(code, f"{pending.asked.op}: {why}"))
            for receiver in pending.receivers:
                self._answer(receiver, pending.asked.id, error)

    def _time_out(self) -> None:
        for pending, receivers in self._pending.time_out(time.monotonic()):
            late = f"{pending.asked.op}: the {pending.target} gave no answer within {self._spec.command_timeout_s:g} s"
            error = control_error(
                "TIMEOUT", f"{late}; it may still do it: the same request again, with the same id, waits for that"
            )
            log.warning("%s %s: %s", pending.asked.op, pending.asked.stream, error)
            for receiver in receivers:
                self._answer(receiver, pending.asked.id, ErrorBody.of(error))

    # --- out --------------------------------------------------------------------------------------------------------

    def _answer(self, receiver: bytes, request: str, said: bytes | ErrorBody) -> None:
        self._send(receiver, _reply(request, said))

    def _send(self, receiver: bytes, answer: bytes) -> None:
        """Send to a client. Never waits: what a client does not take is lost for it, and it may ask again."""
        try:
            self._clients.send_multipart([receiver, b"", answer], zmq.NOBLOCK)
        except zmq.Again:
            log.debug("a client takes no answers")


def _changes(asked: ParsedRequest) -> bool:
    return asked.op not in _CHANGES_NOTHING and not (isinstance(asked.args, AddPrompt) and asked.args.preview)


def _reply(request: str, said: bytes | ErrorBody) -> bytes:
    if isinstance(said, ErrorBody):
        error = msgspec.structs.replace(said, message=redact(said.message))
        return msgspec.json.encode(Reply(v=CONTROL_VERSION, id=request, ok=False, error=error))
    return msgspec.json.encode(Reply(v=CONTROL_VERSION, id=request, ok=True, result=msgspec.Raw(said)))
