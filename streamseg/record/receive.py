"""Receives a daemon's messages as bytes, for a recorder: every message, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import zmq

from streamseg.client.connect import Connection
from streamseg.client.core import SubscriberCore
from streamseg.client.inbox import AllInbox
from streamseg.client.keys import ClientKeys
from streamseg.client.results import Message
from streamseg.protocol.topics import Kind

_TURN_MS = 200
_HWM = 1000


def receive_bytes(
    endpoint: str,
    streams: Iterable[str] | None,
    kinds: Iterable[Kind],
    stopped: Callable[[], bool],
    keys: ClientKeys | None = None,
) -> Iterator[tuple[list[bytes], Message] | None]:
    """Yield the parts of each message, and None now and then while there is none, until ``stopped()``.

    Args:
        endpoint: Where the daemon publishes; it may come and go.
        streams: Ids of streams; None for all, including those added later.
        kinds: Kinds of messages to receive.
        stopped: Whether to end; called after each message and several times a second.
        keys: For a daemon that requires a key.

    Raises:
        ConfigError: an argument is invalid.
    """
    core: SubscriberCore[Message] = SubscriberCore(endpoint, streams, kinds, AllInbox(sheds_backlog=False))
    with zmq.Context() as context, Connection(context, endpoint, core, keys, _HWM) as connection:
        while not stopped():
            if connection.socket.poll(_TURN_MS):
                parts = connection.socket.recv_multipart()
                core.feed(parts)
                if (message := core.take()) is not None:
                    yield parts, message
            else:
                yield None
            connection.update()
