"""Decides which subscribers may receive which streams, if an endpoint needs a key.

An XPUB socket in manual mode reports each subscription before it takes effect, with the id of the connection's key. So
a forbidden subscription never takes effect, and no message can slip through. A subscription must name one stream,
unless the key is for all of them.
"""

from __future__ import annotations

import logging
import re
from typing import Final

import zmq

from streamseg.protocol.topics import DAEMON, STREAM_ID
from streamseg.publish.subscriber_guard import MAX_TOPIC_BYTES
from streamseg.security.authorized_keys import AuthorizedKey
from streamseg.security.connections import Connection, connection_of, is_open
from streamseg.security.curve_gate import CurveGate

log = logging.getLogger(__name__)

_OF_A_STREAM: Final = re.compile(rf"(?:r[0-9.]{{1,4}}/)?v1/({STREAM_ID.pattern})/".encode())


class SubscriberAccess:
    """Applies subscriptions that are allowed.

    Args:
        outlet: The XPUB socket, before it is bound.
        gate: Decides who may connect.

    Attributes:
        refused: Subscriptions that were refused.
    """

    def __init__(self, outlet: zmq.Socket[bytes], gate: CurveGate) -> None:
        outlet.setsockopt(zmq.XPUB_MANUAL, 1)
        self._outlet = outlet
        self._gate = gate
        self._holders: dict[bytes, set[Connection]] = {}
        self._topics: dict[Connection, set[bytes]] = {}
        self.refused = 0

    def take(self, message: zmq.Frame) -> list[bytes]:
        """Apply a message of the socket if it is allowed.

        Returns:
            The messages of a socket in verbose mode: each subscription, but only the last cancellation of a topic.
            :meth:`forget_closed` returns the cancellations of closed connections.
        """
        data = message.bytes
        subscribes, topic = data[:1] == b"\x01", data[1:]
        if not subscribes and data[:1] != b"\x00":
            return []
        connection = connection_of(message)
        if connection is None:  # libzmq's own message for a connection that has ended, one for each of its topics
            return []
        try:
            holder = self._gate.holder_of(message)
        except PermissionError:
            return []
        if not subscribes:
            self._outlet.setsockopt(zmq.UNSUBSCRIBE, topic)
            self._topics.get(connection, set()).discard(topic)
            return self._drop(topic, connection)
        if holder is not None and not _allows(holder, topic):
            self.refused += 1
            log.debug("%s may not subscribe to %r", holder.name, topic)
            return []
        if len(topic) > MAX_TOPIC_BYTES:
            return []
        self._outlet.setsockopt(zmq.SUBSCRIBE, topic)
        self._holders.setdefault(topic, set()).add(connection)
        self._topics.setdefault(connection, set()).add(topic)
        return [data]

    def forget_closed(self) -> list[bytes]:
        """Return the cancellations of topics that only closed connections had. Call it each second."""
        closed = [one for one in self._topics if not is_open(one)]
        return [message for one in closed for topic in self._topics.pop(one) for message in self._drop(topic, one)]

    def _drop(self, topic: bytes, connection: Connection) -> list[bytes]:
        holders = self._holders.get(topic)
        if holders is None:
            return []
        holders.discard(connection)
        if holders:
            return []
        del self._holders[topic]
        return [b"\x00" + topic]


def _allows(holder: AuthorizedKey, topic: bytes) -> bool:
    if holder.is_for_all:
        return True
    match = _OF_A_STREAM.match(topic)
    if match is None:
        return False
    stream = match[1].decode()
    return stream == DAEMON or holder.is_for(stream)
