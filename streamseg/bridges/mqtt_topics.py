"""Names of the MQTT topics of a bridge."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from streamseg.errors import ConfigError
from streamseg.protocol.topics import STREAM_ID

_RETAINED: Final = {
    "state": "state",
    "available": "available",
    "objects/+": r"objects/\d+",
    "zones/+": "zones/[^/]+",
    "lines/+": "lines/[^/]+",
}
"""Retained topics below a stream: subscriptions, and the pattern of their names."""
_STATE: Final = re.compile(rf"(?P<stream>{STREAM_ID.pattern})/(?:{'|'.join(_RETAINED.values())})", re.ASCII)
_PREFIX: Final = re.compile(r"[A-Za-z0-9_-]{1,64}(?:/[A-Za-z0-9_-]{1,64}){0,7}")


def checked_prefix(prefix: str, option: str) -> str:
    """Return a prefix of topics.

    Raises:
        ConfigError: It is not one.
    """
    if not _PREFIX.fullmatch(prefix):
        raise ConfigError(
            f"{option} {prefix!r} is invalid: use letters, digits, _ and -, with / between: home/streamseg"
        )
    return prefix


@dataclass(frozen=True, slots=True)
class MqttTopics:
    """Topics below one prefix.

    Attributes:
        prefix: Prefix of all topics of this bridge.
    """

    prefix: str

    @property
    def available(self) -> str:
        """``online`` while the bridge runs and its daemon publishes; otherwise ``offline``."""
        return f"{self.prefix}/available"

    @property
    def daemon(self) -> str:
        """State of the daemon."""
        return f"{self.prefix}/daemon"

    @property
    def daemon_events(self) -> str:
        """Events of the daemon."""
        return f"{self.prefix}/events"

    def of_stream(self, stream: str, *names: str) -> str:
        """Return a topic below a stream."""
        return "/".join((self.prefix, stream, *names))

    def claim(self, stream: str | None = None) -> str:
        """Return the topic of claims to the prefix, or to the prefix that a stream's topics form."""
        return f"{self.prefix}/bridge" if stream is None else self.of_stream(stream, "bridge")

    @property
    def claims(self) -> tuple[str, str]:
        """Subscriptions for claims of other bridges."""
        return self.claim(), self.claim("+")

    def claimed_stream(self, topic: str) -> str | None:
        """Return the stream whose topics a message on this topic claims as a prefix; None for other topics."""
        stream = topic.removeprefix(f"{self.prefix}/").removesuffix("/bridge")
        known = STREAM_ID.fullmatch(stream) and topic == self.claim(stream)
        return stream if known else None

    @property
    def retained(self) -> tuple[str, ...]:
        """Subscriptions for the retained state of streams, and of the daemon as an earlier bridge published it."""
        return (self.daemon, *(f"{self.prefix}/+/{kind}" for kind in _RETAINED))

    def stream_of(self, topic: str) -> str | None:
        """Return the stream whose retained state a topic holds; None for other topics."""
        below = topic.removeprefix(f"{self.prefix}/")
        match = _STATE.fullmatch(below) if below != topic else None
        return match["stream"] if match else None

    @property
    def snapshot_requests(self) -> str:
        """Subscription for snapshot requests."""
        return f"{self.prefix}/+/snapshot/get"

    def requested_stream(self, topic: str) -> str | None:
        """Return the stream whose snapshot a message on this topic requests; None for other topics."""
        stream = topic.removeprefix(f"{self.prefix}/").removesuffix("/snapshot/get")
        known = STREAM_ID.fullmatch(stream) and topic == self.of_stream(stream, "snapshot", "get")
        return stream if known else None
