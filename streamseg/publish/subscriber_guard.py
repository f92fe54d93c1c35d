"""Disconnects subscribers that flood the publisher with topics.

libzmq keeps every topic of every subscriber in a tree, about 32 bytes for each byte of a topic, and reads a flood in
one go, in which time nothing is published. So there are two limits. Topics that no stream has are counted for each
connection. And a thread looks at the connections' receive buffers: a subscriber that only subscribes never fills one,
while a flood does at once, before libzmq has handed a single topic to us.

Only closing the connection frees its topics (:mod:`streamseg.security.connections`).
"""

from __future__ import annotations

import array
import ctypes
import fcntl
import resource
import termios
import threading
import time
from typing import Final

import zmq
from zmq.utils.monitor import recv_monitor_message

from streamseg.security.connections import (
    Connection,
    accepted_connections,
    connection_at,
    connection_of,
    is_open,
    shut_down,
)

MAX_TOPIC_BYTES: Final = 128
_MAX_UNKNOWN: Final = 1024
"""Topics of one connection that no stream has. Early subscriptions to streams that may come are far fewer."""
_MAX_UNKNOWN_OF_ALL: Final = 16 * 1024
_RECEIVE_BUFFER_BYTES: Final = 96 * 1024
_MAX_UNREAD_BYTES: Final = 48 * 1024
"""All topics of the largest daemon together are less."""
_MAX_WAITING: Final = 32
"""Topics of one connection that libzmq holds ready. The rest of a flood stays in the receive buffer, in sight."""
_MAX_MESSAGE_BYTES: Final = MAX_TOPIC_BYTES + 10
"""A topic with the name of ZMTP 3.1's command before it."""
_LOOK_S: Final = 0.03
_MAX_CONNECTIONS: Final = 10_000
_DESCRIPTORS_KEPT: Final = 256
"""For files, frame rings and the process's own sockets: connections leave so many descriptors."""

_libc = ctypes.CDLL(None)


class SubscriberGuard:
    """Watches the subscribers of one XPUB socket. Made before the socket is bound.

    Args:
        outlet: The socket. :meth:`count` and :meth:`close` are for the thread that uses it.
    """

    def __init__(self, outlet: zmq.Socket[bytes]) -> None:
        outlet.setsockopt(zmq.MAXMSGSIZE, _MAX_MESSAGE_BYTES)  # libzmq disconnects a subscriber that sends more
        outlet.setsockopt(zmq.RCVBUF, _RECEIVE_BUFFER_BYTES)
        outlet.setsockopt(zmq.RCVHWM, _MAX_WAITING)
        self._outlet = outlet
        self._max_connections = _max_connections()
        self._monitor = accepted_connections(outlet)
        self._unknown: dict[Connection, int] = {}
        self._dropped = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch_buffers, name="subscribers", daemon=True)
        self._thread.start()

    def release_memory(self) -> None:
        """Return the memory of closed connections to the system; glibc would keep most of it."""
        _libc.malloc_trim(0)

    @property
    def dropped(self) -> int:
        """Number of connections that were closed."""
        return self._dropped

    def count(self, message: zmq.Frame) -> None:
        """Count a subscription to a topic that no stream has, and close its connection if that is too many.

        Or at once if the topic is too long: where keys are needed, libzmq lets it pass, and has stored it by now.
        """
        connection = connection_of(message)
        if connection is None:
            return
        if len(message.bytes) > 1 + MAX_TOPIC_BYTES:
            self._unknown.pop(connection, None)
            self._drop(connection)
            return
        self._unknown[connection] = self._unknown.get(connection, 0) + 1
        if self._unknown[connection] > _MAX_UNKNOWN:
            del self._unknown[connection]
            self._drop(connection)
        elif sum(self._unknown.values()) > _MAX_UNKNOWN_OF_ALL:
            self._unknown = {one: count for one, count in self._unknown.items() if is_open(one)}
            if sum(self._unknown.values()) > _MAX_UNKNOWN_OF_ALL:
                worst = max(self._unknown, key=lambda one: self._unknown[one])
                del self._unknown[worst]
                self._drop(worst)

    def close(self) -> None:
        """Stop watching. Before the socket is closed.

        Blocks: up to a tenth of a second.
        """
        self._closing.set()
        self._thread.join()
        self._outlet.disable_monitor()
        self._monitor.close(linger=0)

    def _drop(self, connection: Connection) -> None:
        if shut_down(connection):
            with self._lock:
                self._dropped += 1

    def _watch_buffers(self) -> None:
        """Close connections whose receive buffer is full, and those that leave too few descriptors."""
        open_: set[Connection] = set()
        look_at = 0.0
        while not self._closing.is_set():
            if self._monitor.poll(int(_LOOK_S * 1000)):
                self._on_monitor(open_)
            if time.monotonic() >= look_at:
                for connection in tuple(open_):
                    self._look_at(connection, open_)
                look_at = time.monotonic() + _LOOK_S

    def _look_at(self, connection: Connection, open_: set[Connection]) -> None:
        unread = _unread_bytes(connection)
        if unread is None:
            open_.remove(connection)
        elif unread >= _MAX_UNREAD_BYTES:
            open_.remove(connection)
            self._drop(connection)

    def _on_monitor(self, open_: set[Connection]) -> None:
        event = recv_monitor_message(self._monitor)
        if event["event"] != zmq.EVENT_ACCEPTED:
            return
        connection = connection_at(int(event["value"]))
        if connection is None:
            return
        if len(open_) < self._max_connections:
            open_.add(connection)
        else:
            self._drop(connection)


def _max_connections() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MAX_CONNECTIONS
    return min(_MAX_CONNECTIONS, max(soft // 2, soft - _DESCRIPTORS_KEPT))


def _unread_bytes(connection: Connection) -> int | None:
    """Return how much lies in the receive buffer; None if the connection is closed."""
    if not is_open(connection):
        return None
    count = array.array("i", [0])
    try:
        fcntl.ioctl(connection[0], termios.FIONREAD, count)
    except OSError:
        return None
    return count[0]
