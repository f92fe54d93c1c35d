"""The table of subscriptions: only topics with a subscriber are encoded.

Ours because libzmq does not expose an XPUB socket's table of subscriptions; it only reports changes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final, get_args

from streamseg.protocol.topics import DAEMON, RATED_KINDS, RATES_HZ, STREAM_ID, TOPIC, Kind, topic

Wanted = tuple[str, Kind]

_SUBSCRIBE = 1
_UNSUBSCRIBE = 0
_STREAM_PREFIX: Final = re.compile(rf"v1/{STREAM_ID.pattern}/".encode())
_MAX_EARLY: Final = 256
"""Subscriptions kept for streams that do not exist yet."""


class Subscriptions:
    """Tracks the messages of an XPUB socket in verbose mode (every subscription, only the last cancellation).

    A prefix that matches no topic is kept only if it names a stream that may be added later, and only a limited number
    are kept, so that a hostile subscriber cannot make the table large.

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
        # Topics with a limited rate are separate. They must be subscribed to by their whole name, so that a
        # subscription to everything does not encode each frame once for every rate.
        self._rated: dict[bytes, tuple[str, Kind, float]] = {}
        self._rated_prefixes: set[bytes] = set()
        self._rates: dict[str, dict[float, set[Kind]]] = {}
        for stream in streams:
            self.add_stream(stream)

    def add_stream(self, stream: str) -> None:
        """Add a stream. Earlier subscriptions to it take effect."""
        for kind in get_args(Kind):
            self._topics[topic(stream, kind)] = (stream, kind)
        for kind in RATED_KINDS:
            self._rated |= {topic(stream, kind, rate): (stream, kind, rate) for rate in RATES_HZ}
        self._sort_prefixes()

    def remove_stream(self, stream: str) -> None:
        """Remove a stream. Subscriptions to it are kept in case it is added again."""
        for kind in get_args(Kind):
            self._topics.pop(topic(stream, kind), None)
        self._rated = {name: wanted for name, wanted in self._rated.items() if wanted[0] != stream}
        self._sort_prefixes()

    def handle(self, message: bytes) -> set[Wanted]:
        """Handle a message of the socket. Anything but a subscription to one of our topics is ignored.

        Returns:
            The topics that it subscribes to, at any rate, even if another subscriber did so before; otherwise empty.
        """
        if not message or message[0] not in (_SUBSCRIBE, _UNSUBSCRIBE):
            return set()
        prefix = message[1:]
        if message[0] == _UNSUBSCRIBE:
            self._early.discard(prefix)
            if prefix in self._prefixes or prefix in self._rated_prefixes:
                self._prefixes.discard(prefix)
                self._rated_prefixes.discard(prefix)
                self._update_wanted()
            return set()
        if prefix in self._rated:
            self._rated_prefixes.add(prefix)
            self._update_wanted()
            return {self._rated[prefix][:2]}
        matching = {wanted for name, wanted in self._topics.items() if name.startswith(prefix)}
        if not matching:
            if len(self._early) < _MAX_EARLY and (_STREAM_PREFIX.fullmatch(prefix) or TOPIC.fullmatch(prefix)):
                self._early.add(prefix)
            return set()
        if prefix not in self._prefixes:
            self._prefixes.add(prefix)
            self._update_wanted()
        return matching

    def _sort_prefixes(self) -> None:
        """Separate the prefixes that match a topic from the early ones."""
        every = self._prefixes | self._early | self._rated_prefixes
        self._rated_prefixes = {prefix for prefix in every if prefix in self._rated}
        every -= self._rated_prefixes
        self._prefixes = {prefix for prefix in every if any(name.startswith(prefix) for name in self._topics)}
        self._early = set(sorted(every - self._prefixes)[:_MAX_EARLY])
        self._update_wanted()

    def _update_wanted(self) -> None:
        prefixes = tuple(self._prefixes)
        self._wanted = frozenset(wanted for name, wanted in self._topics.items() if name.startswith(prefixes))
        self._rates = {}
        for name in self._rated_prefixes:
            stream, kind, rate = self._rated[name]
            self._rates.setdefault(stream, {}).setdefault(rate, set()).add(kind)

    def wants(self, stream: str, kind: Kind) -> bool:
        """Whether the topic has a subscriber at its full rate."""
        return (stream, kind) in self._wanted

    def rates(self, stream: str) -> Mapping[float, Collection[Kind]]:
        """Return the limited rates of a stream that have subscribers, each with its kinds."""
        return self._rates.get(stream, {})

    def wants_pictures(self, stream: str) -> bool:
        """Whether pictures of the stream have a subscriber at any rate."""
        return self.wants(stream, "image") or any("image" in kinds for kinds in self.rates(stream).values())

    def kinds(self, stream: str) -> list[str]:
        """Return the kinds of a stream that have subscribers at any rate."""
        rated = {kind for kinds in self.rates(stream).values() for kind in kinds}
        return [kind for kind in get_args(Kind) if (stream, kind) in self._wanted or kind in rated]


def is_subscription(message: bytes) -> bool:
    """Whether a message of the socket subscribes to something."""
    return message[:1] == bytes([_SUBSCRIBE])
