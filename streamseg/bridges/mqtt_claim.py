"""Ensures that each topic has one bridge: two would remove each other's messages and report each other offline.

A bridge publishes a claim when it connects, and waits a moment before it publishes anything else. A bridge that already
owns the topics answers with its own claim, and the newer one stops. A bridge claims its prefix and, below it, the
topics of each of its streams, since those may be the prefix of another bridge.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from streamseg.protocol.text import encode_json

_ANSWER_S: Final = 1.0


class PrefixClaim:
    """The claim of one bridge to its prefix.

    Args:
        now_s: The monotonic clock.

    Attributes:
        bridge: Random id of this bridge.
        waiting: Whether only events may be published yet.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self.bridge = secrets.token_hex(6)
        self._now_s = now_s
        self._established = False
        self._claimed_s: float | None = None
        self.waiting = True

    def payload(self) -> bytes:
        """Return the message that claims the prefix."""
        return encode_json({"bridge": self.bridge, "established": self._established})

    def begin(self) -> None:
        """Start the wait for other bridges; the claim was published on a new connection."""
        self._claimed_s = self._now_s()
        self.waiting = True

    def granted(self) -> bool:
        """Return True once after :meth:`begin`, when another bridge has had time to answer."""
        if self._claimed_s is None or self._now_s() - self._claimed_s < _ANSWER_S:
            return False
        self._claimed_s = None
        self._established = True
        self.waiting = False
        return True

    def yields_to(self, payload: bytes) -> bool | None:
        """Compare a received claim with this one.

        Returns:
            True: the other bridge keeps the prefix. False: this one does, and answers. None: not another's claim.
        """
        try:
            other: Any = msgspec.json.decode(payload)
            bridge, established = str(other["bridge"]), bool(other["established"])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError):
            return None
        if bridge == self.bridge:
            return None
        return (not established, bridge) < (not self._established, self.bridge)
