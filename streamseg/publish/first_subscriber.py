"""Decides when sources that wait for a subscriber are opened (``publish.wait_for_subscriber``)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

_OTHERS_NS: Final = 1_000_000_000
"""A client subscribes to a stream once it has its status. It has this long to do so for the other streams."""


class FirstSubscriber:
    """Waits for subscribers of all streams, or for a second after that of the first one.

    Attributes:
        there: Whether sources may be opened.
    """

    def __init__(self) -> None:
        self.there = False
        self._since_ns: int | None = None

    def arrives(self, subscribed: Collection[bool], now_ns: int) -> bool:
        """Return whether that has just come about.

        Args:
            subscribed: Whether each stream has a subscriber.
            now_ns: The time.
        """
        if self.there or not any(subscribed):
            return False
        if self._since_ns is None:
            self._since_ns = now_ns
        self.there = all(subscribed) or now_ns - self._since_ns >= _OTHERS_NS
        return self.there
