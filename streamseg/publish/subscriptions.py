"""Who wants what: the table of subscriptions behind "encode only what somebody subscribes to"."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from streamseg.topics import DAEMON, Kind, topic

Wanted = tuple[str, Kind]

_SUBSCRIBE = 1
_UNSUBSCRIBE = 0


class Subscriptions:
    """Follows the messages of an XPUB socket in verbose mode (each subscription, and the last cancellation).

    A prefix that none of our topics begins with is not kept, so the table cannot grow beyond the few prefixes that
    do, whatever a hostile subscriber sends.

    Args:
        streams: Ids of all streams.
    """

    def __init__(self, streams: Iterable[str]) -> None:
        self._topics: dict[bytes, Wanted] = {
            topic(stream, kind): (stream, kind) for stream in streams for kind in get_args(Kind)
        }
        for kind in ("events", "status"):
            self._topics[topic(DAEMON, kind)] = (DAEMON, kind)
        self._longest = max(map(len, self._topics))
        self._prefixes: set[bytes] = set()
        self._wanted: frozenset[Wanted] = frozenset()

    def handle(self, message: bytes) -> set[Wanted]:
        """Take a message from the socket; anything that is no subscription to one of our topics is ignored.

        Returns:
            What the message subscribed to, also if somebody else did so before; empty otherwise.
        """
        if not message or message[0] not in (_SUBSCRIBE, _UNSUBSCRIBE) or len(message) > self._longest + 1:
            return set()
        prefix = message[1:]
        matching = {wanted for name, wanted in self._topics.items() if name.startswith(prefix)}
        if not matching:
            return set()
        if message[0] == _UNSUBSCRIBE:
            self._prefixes.discard(prefix)
            self._count()
            return set()
        if prefix not in self._prefixes:
            self._prefixes.add(prefix)
            self._count()
        return matching

    def _count(self) -> None:
        prefixes = tuple(self._prefixes)
        self._wanted = frozenset(wanted for name, wanted in self._topics.items() if name.startswith(prefixes))

    def wants(self, stream: str, kind: Kind) -> bool:
        """Whether somebody subscribes to this topic."""
        return (stream, kind) in self._wanted

    def kinds(self, stream: str) -> list[str]:
        """Kinds of this stream that somebody subscribes to."""
        return [kind for kind in get_args(Kind) if (stream, kind) in self._wanted]
