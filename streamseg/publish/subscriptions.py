"""Who wants what: the table of subscriptions behind "encode only what somebody subscribes to"."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, get_args

from streamseg.protocol.topics import DAEMON, Kind, topic

Wanted = tuple[str, Kind]

_SUBSCRIBE = 1
_UNSUBSCRIBE = 0
_OF_A_STREAM: Final = re.compile(rb"v1/[a-z0-9_-]{1,64}/((masks|objects|image|events|status)/)?")
_MAX_EARLY: Final = 256
"""Kept subscriptions to streams that are not there."""


class Subscriptions:
    """Follows the messages of an XPUB socket in verbose mode (each subscription, and the last cancellation).

    A prefix that none of our topics begins with is kept only if it asks for a stream that may come, and not many of
    those, so the table stays small whatever a hostile subscriber sends.

    Args:
        streams: Ids of all streams.
    """

    def __init__(self, streams: Iterable[str]) -> None:
        self._topics: dict[bytes, Wanted] = {}
        for kind in ("events", "status"):
            self._topics[topic(DAEMON, kind)] = (DAEMON, kind)
        self._prefixes: set[bytes] = set()
        self._early: set[bytes] = set()
        self._wanted: frozenset[Wanted] = frozenset()
        for stream in streams:
            self.add_stream(stream)

    def add_stream(self, stream: str) -> None:
        """Know one more stream, to which somebody may have subscribed before it was there."""
        for kind in get_args(Kind):
            self._topics[topic(stream, kind)] = (stream, kind)
        self._sort_prefixes()

    def remove_stream(self, stream: str) -> None:
        """Forget a stream; subscriptions to it are kept in case it comes again."""
        for kind in get_args(Kind):
            self._topics.pop(topic(stream, kind), None)
        self._sort_prefixes()

    def handle(self, message: bytes) -> set[Wanted]:
        """Take a message from the socket; anything that is no subscription to one of our topics is ignored.

        Returns:
            What the message subscribed to, also if somebody else did so before; empty otherwise.
        """
        if not message or message[0] not in (_SUBSCRIBE, _UNSUBSCRIBE):
            return set()
        prefix = message[1:]
        if message[0] == _UNSUBSCRIBE:
            self._early.discard(prefix)
            if prefix in self._prefixes:
                self._prefixes.remove(prefix)
                self._count()
            return set()
        matching = {wanted for name, wanted in self._topics.items() if name.startswith(prefix)}
        if not matching:
            if len(self._early) < _MAX_EARLY and _OF_A_STREAM.fullmatch(prefix):
                self._early.add(prefix)
            return set()
        if prefix not in self._prefixes:
            self._prefixes.add(prefix)
            self._count()
        return matching

    def _sort_prefixes(self) -> None:
        """Tell the prefixes that match a topic from those that are early."""
        every = self._prefixes | self._early
        self._prefixes = {prefix for prefix in every if any(name.startswith(prefix) for name in self._topics)}
        self._early = set(sorted(every - self._prefixes)[:_MAX_EARLY])
        self._count()

    def _count(self) -> None:
        prefixes = tuple(self._prefixes)
        self._wanted = frozenset(wanted for name, wanted in self._topics.items() if name.startswith(prefixes))

    def wants(self, stream: str, kind: Kind) -> bool:
        """Whether somebody subscribes to this topic."""
        return (stream, kind) in self._wanted

    def kinds(self, stream: str) -> list[str]:
        """Kinds of this stream that somebody subscribes to."""
        return [kind for kind in get_args(Kind) if (stream, kind) in self._wanted]
