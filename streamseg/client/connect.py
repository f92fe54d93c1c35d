"""The ZeroMQ socket of a subscriber, blocking or for asyncio: its creation and its subscriptions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import zmq

from streamseg.errors import ConfigError
from streamseg.protocol.topics import MAX_MESSAGE_BYTES, PUBLISH_HWM

if TYPE_CHECKING:
    from streamseg.client.core import SubscriberCore

S = TypeVar("S", bound=zmq.Socket[Any])

_RECONNECT_MS: Final = 100
_RECONNECT_MAX_MS: Final = 2000


def connect(context: zmq.Context[S], endpoint: str, topics: Iterable[bytes], hwm: int = PUBLISH_HWM) -> S:
    """Return a SUB socket that connects, and reconnects when the daemon comes back.

    Raises:
        ConfigError: the endpoint is not a ZeroMQ address.
    """
    socket = context.socket(zmq.SUB)
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
    except zmq.ZMQError as error:
        socket.close()
        raise ConfigError(f"endpoint: {endpoint!r}: {error}; write tcp://HOST:PORT or ipc:///PATH") from None
    return socket


def update_topics(socket: zmq.Socket[Any], core: SubscriberCore[Any]) -> None:
    """Subscribe to the topics that are wanted since the last call, and unsubscribe from those that no longer are."""
    for name in core.take_fresh_topics():
        socket.setsockopt(zmq.SUBSCRIBE, name)
    for name in core.take_old_topics():
        socket.setsockopt(zmq.UNSUBSCRIBE, name)
