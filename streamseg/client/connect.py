"""The ZeroMQ socket of a subscriber, blocking or for asyncio: its creation and its subscriptions."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar

import zmq

from streamseg.client.keys import ClientKeys, HandshakeWatch
from streamseg.errors import ConfigError
from streamseg.protocol.topics import MAX_MESSAGE_BYTES, PUBLISH_HWM

if TYPE_CHECKING:
    from streamseg.client.core import SubscriberCore

log = logging.getLogger(__name__)

S = TypeVar("S", bound=zmq.Socket[Any])

_RECONNECT_MS: Final = 100
_RECONNECT_MAX_MS: Final = 2000
_WARN_AFTER_S: Final = 3.0
"""A daemon that restarts may fail a handshake, too; one that refuses the client does so longer than this."""


class Connection(Generic[S]):
    """A SUB socket that connects, and reconnects when the daemon comes back, even after it refused the key.

    Args:
        context: Context of the socket.
        endpoint: Where the daemon publishes.
        core: Reads the messages and knows the topics.
        keys: For endpoints that need a key.
        hwm: Messages that libzmq queues.

    Attributes:
        socket: The socket; :meth:`update` may replace it.

    Raises:
        ConfigError: the endpoint is not a ZeroMQ address.
    """

    def __init__(
        self,
        context: zmq.Context[S],
        endpoint: str,
        core: SubscriberCore[Any],
        keys: ClientKeys | None = None,
        hwm: int = PUBLISH_HWM,
    ) -> None:
        self._context, self._endpoint, self._core, self._keys, self._hwm = context, endpoint, core, keys, hwm
        self._failing_since_s: float | None = None
        self._warned = False
        self._open(problem="")

    def _open(self, *, problem: str) -> None:
        self.socket = self._context.socket(zmq.SUB)
        self._watch = HandshakeWatch(self._context, self.socket, keyed=self._keys is not None, problem=problem)
        try:
            _connect(self.socket, self._endpoint, self._core.topics(), self._hwm, self._keys)
        except ConfigError:
            self.close()
            raise

    @property
    def problem(self) -> str:
        """Why the last connection failed; empty if it did not."""
        return self._watch.problem

    def update(self) -> None:
        """Update the subscriptions; replace the socket to drop a backlog, or to retry after a refusal.

        Logs once why the daemon refuses this client: a loop without a time limit would wait in silence.
        """
        self._warn()
        if self._core.take_shed() or self._watch.gave_up:
            self.close()
            self._open(problem=self.problem)
        for name in self._core.take_fresh_topics():
            self.socket.setsockopt(zmq.SUBSCRIBE, name)
        for name in self._core.take_old_topics():
            self.socket.setsockopt(zmq.UNSUBSCRIBE, name)

    def _warn(self) -> None:
        if not self.problem:
            self._failing_since_s, self._warned = None, False
        elif self._failing_since_s is None:
            self._failing_since_s = time.monotonic()
        elif not self._warned and time.monotonic() >= self._failing_since_s + _WARN_AFTER_S:
            self._warned = True
            log.warning("no connection to %s: %s; trying again", self._endpoint, self.problem)

    def close(self) -> None:
        """Close the socket."""
        self._watch.close()
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _connect(
    socket: zmq.Socket[Any], endpoint: str, topics: Iterable[bytes], hwm: int, keys: ClientKeys | None
) -> None:
    if keys is not None:
        keys.apply(socket)
    socket.setsockopt(zmq.RCVHWM, hwm)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.IPV6, "[" in endpoint)  # else "localhost" would be ::1, where daemons do not listen
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 30)
    socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, _RECONNECT_MAX_MS)
    for name in topics:
        socket.setsockopt(zmq.SUBSCRIBE, name)
    try:
        socket.connect(endpoint)
    except (zmq.ZMQError, ValueError) as error:  # ValueError: it is not UTF-8
        raise ConfigError(f"endpoint: {endpoint!r}: {error}; write tcp://HOST:PORT or ipc:///PATH") from None
