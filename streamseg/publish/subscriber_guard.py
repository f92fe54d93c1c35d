"""Disconnects subscribers that flood the publisher with topics.

libzmq keeps every topic of every subscriber in a tree, about 32 bytes for each byte of a topic, and reads a flood
within one call, during which nothing is published. So there are two limits. Topics that match no stream are counted per
connection. And a thread counts the bytes that each connection sends, which shows a flood before libzmq returns a single
topic: an honest subscriber sends few. (The kernel does not count bytes on ipc sockets. There, a full receive buffer
shows a flood.)

Only closing the connection frees its topics (:mod:`streamseg.security.connections`). Its peer is then admitted slowly
for a while (:mod:`streamseg.publish.admission`). A peer is an IP address, or on ipc a process: programs on one machine
that connect by tcp cannot be told apart.
"""

from __future__ import annotations

import array
import ctypes
import fcntl
import resource
import socket
import struct
import termios
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Final

import zmq

from streamseg.publish.admission import PeerTurns
from streamseg.security.connections import (
    Connection,
    accepted_connections,
    connection_at,
    connection_of,
    is_open,
    peer_of,
    shut_down,
)
from streamseg.security.monitor_event import receive_monitor_event

MAX_TOPIC_BYTES: Final = 128
_MAX_UNKNOWN: Final = 512
"""Topics of one connection that match no stream. Early subscriptions to future streams are fewer."""
_MAX_UNKNOWN_OF_ALL: Final = 4096
_MAX_SENT_BYTES: Final = 48 * 1024
"""Bytes from one connection within a window. All topics of the largest daemon are less."""
_MAX_PEER_BYTES: Final = 512 * 1024
"""Bytes from all connections of a peer. More than ten connections a second may send; a flooder gets ten."""
_WINDOW_S: Final = 1.0
_RECEIVE_BUFFER_BYTES: Final = 16 * 1024
_TCP_INFO_BYTES: Final = 136
_BYTES_RECEIVED: Final = struct.Struct("=128xQ")
"""``tcpi_bytes_received`` of the kernel's ``struct tcp_info``."""
_MAX_WAITING: Final = 32
"""Topics of one connection that libzmq queues. The rest of a flood stays in the receive buffer, where it is seen."""
_MAX_MESSAGE_BYTES: Final = MAX_TOPIC_BYTES + 10
"""A topic with the name of ZMTP 3.1's command in front."""
_LOOK_S: Final = 0.03
_MAX_CONNECTIONS: Final = 10_000
_DESCRIPTORS_KEPT: Final = 256
"""Descriptors reserved for files, frame rings and the process's own sockets."""

_libc = ctypes.CDLL(None)


@dataclass(slots=True)
class _Sender:
    """A connection's peer, and the bytes it sent before and within the current window."""

    peer: str
    since: float = 0.0
    before: int = 0
    sent: int = 0


class SubscriberGuard:
    """Watches the subscribers of one XPUB socket. Made before the socket is bound.

    Args:
        outlet: The socket. :meth:`count` and :meth:`close` are for the thread that uses it.
        turns: Admits new connections; a peer that floods is punished.
    """

    def __init__(self, outlet: zmq.Socket[bytes], turns: PeerTurns) -> None:
        outlet.setsockopt(zmq.MAXMSGSIZE, _MAX_MESSAGE_BYTES)  # libzmq disconnects a subscriber that sends more
        outlet.setsockopt(zmq.RCVBUF, _RECEIVE_BUFFER_BYTES)
        outlet.setsockopt(zmq.RCVHWM, _MAX_WAITING)
        self._outlet = outlet
        self._max_connections = _max_connections()
        self._monitor = accepted_connections(outlet)
        self._unknown: dict[Connection, int] = {}
        self._senders: dict[Connection, _Sender] = {}
        self._turns = turns
        self._dropped = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="subscribers", daemon=True)
        self._thread.start()

    def release_memory(self) -> None:
        """Return the memory of closed connections to the system; glibc would keep most of it."""
        _libc.malloc_trim(0)

    @property
    def dropped(self) -> int:
        """Number of connections that were closed for a flood, or because there were too many."""
        return self._dropped

    def count(self, message: zmq.Frame) -> None:
        """Count a subscription that matches no stream, and close its connection if there are too many.

        A topic that is too long closes it at once: where keys are needed, libzmq lets it pass and has stored it by now.
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
                self._drop_worst()

    def _drop_worst(self) -> None:
        """Close the worst connection of the worst peer, so that its many connections do not use up others' limit."""
        peers = {connection: self._peer(connection) for connection in self._unknown}  # one that closes has none later
        of_peers: Counter[str] = Counter()
        for connection, count in self._unknown.items():
            of_peers[peers[connection]] += count
        worst = max(self._unknown, key=lambda one: (of_peers[peers[one]], peers[one], self._unknown[one]))
        del self._unknown[worst]
        self._drop(worst)

    def _peer(self, connection: Connection) -> str:
        sender = self._senders.get(connection)
        return peer_of(connection) if sender is None else sender.peer

    def close(self) -> None:
        """Stop watching. Call it before the socket is closed.

        Blocks: up to a tenth of a second.
        """
        self._closing.set()
        self._thread.join()
        self._outlet.disable_monitor()
        self._monitor.close(linger=0)

    def _drop(self, connection: Connection) -> None:
        """Close a connection that floods."""
        with self._lock:
            sender = self._senders.pop(connection, None)
            if shut_down(connection):
                self._dropped += 1
                if sender is not None:
                    self._turns.punish(sender.peer)

    def _watch(self) -> None:
        """Close connections that send too much, or if too few descriptors are left."""
        look_at = 0.0
        while not self._closing.is_set():
            if self._monitor.poll(int(_LOOK_S * 1000)):
                self._on_monitor()
            if time.monotonic() >= look_at:
                self._look()
                look_at = time.monotonic() + _LOOK_S

    def _look(self) -> None:
        now = time.monotonic()
        of_peers: dict[str, int] = {}
        for connection, sender in tuple(self._senders.items()):
            received = _received_bytes(connection)
            if received is None:
                with self._lock:
                    self._senders.pop(connection, None)
                continue
            if now - sender.since > _WINDOW_S:
                sender.since, sender.before = now, received if sender.since else 0
            sender.sent = received - sender.before
            if sender.sent > _MAX_SENT_BYTES:
                self._drop(connection)
            else:  # a closed connection's bytes do not count against its peer's others
                of_peers[sender.peer] = of_peers.get(sender.peer, 0) + sender.sent
        for peer, sent in of_peers.items():
            if sent > _MAX_PEER_BYTES:
                self._drop_most_of(peer, sent)

    def _drop_most_of(self, peer: str, sent: int) -> None:
        """Close those connections of a peer that sent the most."""
        every = [
            (sender.sent, connection) for connection, sender in tuple(self._senders.items()) if sender.peer == peer
        ]
        for most, connection in sorted(every, reverse=True):
            if sent <= _MAX_PEER_BYTES // 2:
                return
            self._drop(connection)
            sent -= most

    def _on_monitor(self) -> None:
        event, value = receive_monitor_event(self._monitor)
        if event != zmq.EVENT_ACCEPTED:
            return
        connection = connection_at(value)
        if connection is None:
            return
        with self._lock:
            if len(self._senders) < self._max_connections:
                self._senders[connection] = _Sender(peer_of(connection))
            else:
                self._dropped += shut_down(connection)


def _max_connections() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MAX_CONNECTIONS
    return min(_MAX_CONNECTIONS, max(soft // 2, soft - _DESCRIPTORS_KEPT))


def _received_bytes(connection: Connection) -> int | None:
    """Return how much a connection has sent; for ipc, how much of it is unread. None if the connection is closed."""
    if not is_open(connection):
        return None
    info, size = ctypes.create_string_buffer(_TCP_INFO_BYTES), ctypes.c_uint32(_TCP_INFO_BYTES)
    result = _libc.getsockopt(connection[0], socket.IPPROTO_TCP, socket.TCP_INFO, info, ctypes.byref(size))
    if result == 0 and size.value == _TCP_INFO_BYTES:
        return int(_BYTES_RECEIVED.unpack(info.raw)[0])
    count = array.array("i", [0])
    try:
        fcntl.ioctl(connection[0], termios.FIONREAD, count)
    except OSError:
        return None
    return count[0]
