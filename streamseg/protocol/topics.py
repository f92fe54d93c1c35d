"""Topics, socket limits and addresses.

High-water marks are libzmq's, in messages. PUB drops the newest message at the mark. A mark of 64 with a client that
drains to the newest message keeps messages 8 to 17 ms old; a mark of 1 made them 1 to 5 s old. Never set ZMQ_CONFLATE
(it breaks multipart messages) or ZMQ_HEARTBEAT_* (it aborts a slow consumer: libzmq #3937).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, Literal

Kind = Literal["masks", "objects", "image", "events", "status"]

DAEMON: Final = "_daemon"
"""Stream id of the daemon itself."""

STREAM_ID: Final = re.compile(r"[a-z0-9_-]{1,64}")
"""Form of a stream id; a leading underscore is reserved (:data:`OWN_STREAM_ID`)."""

OWN_STREAM_ID: Final = re.compile(rf"(?!_){STREAM_ID.pattern}")
"""Form of the stream ids that a user may choose."""

DEFAULT_ENDPOINT: Final = "tcp://127.0.0.1:5555"

MAX_IPC_PATH: Final = 107
"""Longest path of a Unix socket that the kernel accepts, in bytes."""

PUBLISH_HWM: Final = 64
INTERNAL_HWM: Final = 256
CONTROL_HWM: Final = 64
MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Topic:
    """One kind of message.

    Attributes:
        kind: Its name.
        rate: How often it is sent.
        encoded_on_demand: Whether it is encoded only while it has subscribers.
    """

    kind: Kind
    rate: str
    encoded_on_demand: bool


TOPICS: Final[dict[Kind, Topic]] = {
    "masks": Topic("masks", "one for each tracked frame", True),
    "objects": Topic("objects", "one for each tracked frame", True),
    "image": Topic("image", "one for each tracked frame whose picture could be shared", True),
    "events": Topic("events", "when something happens", False),
    "status": Topic("status", "1 Hz, the heartbeat", False),
}


TOPIC: Final = re.compile(rf"(?:r([0-9.]{{1,4}})/)?v1/({STREAM_ID.pattern})/({'|'.join(TOPICS)})/".encode())
"""Form of a topic: rate, stream and kind."""


RATED_KINDS: Final[tuple[Kind, ...]] = ("masks", "objects", "image")
"""Kinds that are also sent at a limited rate."""

RATES_HZ: Final = (0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 10.0, 15.0, 20.0, 25.0, 30.0)
"""Rates of these topics. A fixed list, so that subscribers cannot request arbitrarily many."""


def topic(stream: str, kind: Kind, rate_hz: float | None = None) -> bytes:
    """Return the topic's bytes, for example ``b"v1/cam1/masks/"``, or ``b"r5/v1/cam1/masks/"`` for a limited rate.

    It ends in a slash because ZeroMQ matches prefixes: without it, a subscriber of ``cam1`` would get ``cam10``. For
    the same reason the rate comes first: a subscriber of ``v1`` must not get the copies at limited rates.
    """
    rate = "" if rate_hz is None else f"r{rate_hz:g}/"
    return f"{rate}v1/{stream}/{kind}/".encode()


def rate_suffix(rate_hz: float | None) -> str:
    """Return how a rate is written after a kind: ``@5``; empty for every frame."""
    return "" if rate_hz is None else f"@{rate_hz:g}"


def is_loopback(host: str) -> bool:
    """Return whether a host (a name, or an address with or without brackets) is reachable only from this machine."""
    host = host.strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host in ("localhost", "lo")


def is_public(endpoint: str) -> bool:
    """Return whether other machines can reach a ZeroMQ endpoint."""
    return endpoint.startswith("tcp://") and not is_loopback(endpoint.removeprefix("tcp://").rpartition(":")[0])
