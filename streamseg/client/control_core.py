"""The controller without I/O: encodes requests, decodes replies.

:mod:`streamseg.client.controller` and :mod:`streamseg.client.async_controller` are thin layers around it.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import msgspec
import zmq

from streamseg.client.keys import ClientKeys, HandshakeWatch
from streamseg.errors import ConfigError, ControlError, ProtocolError
from streamseg.paths import default_control_endpoint, default_folder_is_ours
from streamseg.protocol.control import CONTROL_VERSION, MAX_REPLY_BYTES, MAX_REQUEST_BYTES, Feature, Reply, Request
from streamseg.protocol.results import Hello

R = TypeVar("R")
S = TypeVar("S", bound=zmq.Socket[Any])

DEFAULT_TIMEOUT_S: Final = 20.0
"""Longer than the daemon's own timeouts, so that its error arrives first."""

CONNECT_TIMEOUT_S: Final = 5.0

RESEND_S: Final = 3.0
"""A request without a reply is resent with the same id, in case the control process was restarted."""

_reply = msgspec.json.Decoder(Reply)


@dataclass(frozen=True, slots=True)
class Call(Generic[R]):
    """A request and how to read its reply.

    Attributes:
        op: Name of the operation.
        stream: Id of the stream, if any.
        args: Its arguments.
        convert: Turns the result in the reply into the result of the method.
        feature: Feature that the daemon must support; None: any daemon does.
    """

    op: str
    stream: str | None
    args: msgspec.Struct
    convert: Callable[[msgspec.Raw], R]
    feature: Feature | None = None


class ControlCore:
    """Encodes requests and decodes replies.

    Args:
        endpoint: Where the daemon listens; None for this user's daemon.

    Raises:
        ConfigError: another user owns the directory of the default address.
    """

    def __init__(self, endpoint: str | None) -> None:
        if endpoint is None and not default_folder_is_ours():
            raise ConfigError(
                f"{default_control_endpoint()} is in a directory that another user owns: remove it, or give an endpoint"
            )
        self.endpoint = default_control_endpoint() if endpoint is None else endpoint
        self._client = secrets.token_hex(8)
        self._features: frozenset[str] = frozenset()
        self._numbers = itertools.count()

    def request(self, call: Call[Any]) -> tuple[str, list[bytes]]:
        """Return a new request's id and its message parts.

        Raises:
            ControlError: it is longer than the daemon accepts, or contains text that is not valid Unicode.
        """
        request_id = f"r{next(self._numbers)}"
        try:
            data = msgspec.json.encode(
                Request(
                    v=CONTROL_VERSION,
                    id=request_id,
                    op=call.op,
                    client=self._client,
                    stream=call.stream,
                    args=msgspec.Raw(msgspec.json.encode(call.args)),
                )
            )
        except UnicodeEncodeError as error:  # lone surrogates, for example of a path that is not UTF-8
            raise ControlError(
                "BAD_REQUEST", f"{call.op}: {error.object[:100]!r} is not valid Unicode and cannot be sent"
            ) from None
        if len(data) > MAX_REQUEST_BYTES:
            raise ControlError(
                "BAD_REQUEST", f"{call.op}: the request has {len(data)} bytes, the limit is {MAX_REQUEST_BYTES}"
            )
        return request_id, [b"", data]

    def read(self, parts: Sequence[bytes]) -> Reply | None:
        """Return the reply in a message; None if it is malformed."""
        try:
            return _reply.decode(parts[-1])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, IndexError):
            return None

    def result(self, call: Call[R], reply: Reply) -> R:
        """Return the result in a reply.

        Raises:
            ControlError: the daemon refused the request.
            ProtocolError: the reply is invalid.
        """
        if reply.ok:
            try:
                return call.convert(reply.result)
            except msgspec.DecodeError as error:
                raise ProtocolError(f"{call.op}: the daemon's reply is invalid: {error}") from None
        if reply.error is None:
            raise ProtocolError(f"{call.op}: the daemon's reply has neither result nor error")
        raise reply.error.exception()

    def must_ask(self, call: Call[Any]) -> bool:
        """Return whether ``hello`` must first check that the daemon supports the call."""
        return call.feature is not None and call.feature not in self._features

    def check_feature(self, call: Call[Any], daemon: Hello) -> None:
        """Check that the daemon supports a call.

        Raises:
            ControlError: it is too old.
        """
        self._features = frozenset(daemon.features)
        if self.must_ask(call):
            what = call.op if call.feature == call.op else f"{call.op} with these arguments"
            raise ControlError(
                "UNSUPPORTED",
                f"{what}: the daemon at {self.endpoint} is streamseg {daemon.version}, too old: update it",
            )

    def unreachable(self, problem: str = "") -> ControlError:
        """Return the error for a request that could not be sent.

        Args:
            problem: Why the connection failed, if it did.
        """
        if problem:
            return ControlError("UNREACHABLE", f"no connection to {self.endpoint}: {problem}", retryable=True)
        return ControlError(
            "UNREACHABLE",
            f"no daemon listens at {self.endpoint}: is `streamseg run` running there, and is this its "
            "control.endpoint?",
            retryable=True,
        )

    def unanswered(self, call: Call[Any], timeout_s: float) -> ControlError:
        """Return the error for a request without a reply."""
        return ControlError(
            "TIMEOUT", f"{call.op}: {self.endpoint} did not reply within {timeout_s:g} s", retryable=True
        )


class ControlConnection(Generic[S]):
    """A DEALER socket that queues nothing while it is not connected.

    Args:
        context: Context of the socket.
        endpoint: Address of the daemon.
        keys: For a daemon that requires a key.

    Attributes:
        socket: The socket; :meth:`reopen` replaces it.

    Raises:
        ConfigError: the endpoint is not a ZeroMQ address.
    """

    def __init__(self, context: zmq.Context[S], endpoint: str, keys: ClientKeys | None) -> None:
        self._context, self._endpoint, self._keys = context, endpoint, keys
        self._open(problem="")

    def _open(self, *, problem: str) -> None:
        self.socket = self._context.socket(zmq.DEALER)
        self._watch = HandshakeWatch(self._context, self.socket, keyed=self._keys is not None, problem=problem)
        if self._keys is not None:
            self._keys.apply(self.socket)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.IMMEDIATE, 1)
        self.socket.setsockopt(zmq.IPV6, "[" in self._endpoint)
        self.socket.setsockopt(zmq.MAXMSGSIZE, MAX_REPLY_BYTES)
        self.socket.setsockopt(zmq.RECONNECT_IVL, 50)
        self.socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
        try:
            self.socket.connect(self._endpoint)
        except (zmq.ZMQError, ValueError) as error:  # ValueError: it is not UTF-8
            self.close()
            raise ConfigError(f"endpoint: {self._endpoint!r}: {error}; write tcp://HOST:PORT or ipc:///PATH") from None

    @property
    def problem(self) -> str:
        """Why the last connection failed; empty if it did not."""
        return self._watch.problem

    @property
    def gave_up(self) -> bool:
        """Whether only :meth:`reopen` can connect again, after a refusal."""
        return self._watch.gave_up

    def reopen(self) -> None:
        """Replace the socket."""
        self.close()
        self._open(problem=self.problem)

    def close(self) -> None:
        """Close the socket."""
        self._watch.close()
        self.socket.close()
