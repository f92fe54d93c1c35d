"""Publishes a recording as if its daemon ran, for consumers that are developed without a camera."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import zmq

from streamseg.errors import ConfigError, RecordError
from streamseg.ipc.endpoints import PathClaim, bind
from streamseg.protocol.topics import DAEMON, PUBLISH_HWM, topic
from streamseg.record.folder import read_recording
from streamseg.record.segment import Recorded

MAX_GAP_S: Final = 10.0
"""Longer gaps in the recording, from a stopped recorder or a changed clock, are shortened to this."""

_DAEMON_STATUS: Final = topic(DAEMON, "status")
_SEND_TIMEOUT_MS: Final = 10_000
_LINGER_MS: Final = 2000
_POLL_S: Final = 0.1

# Replace the first match of each: inside a JSON string quotes are escaped, so these cannot match there.
_SESSION: Final = re.compile(rb'"session":"([^"]*)"')
_PUBLISHER: Final = re.compile(rb'"publisher":"([^"]*)"')
_PUBLISHED: Final = re.compile(rb'"t_published_ns":"\d*"')
_RATES: Final = re.compile(rb',"rates":\[[^\]]*\]')


class Readdress:
    """Rewrites session, publisher and publishing time in headers, so that a replay looks like a new daemon.

    All other bytes stay, except that the daemon's status does not offer limited rates.
    """

    def __init__(self) -> None:
        self._names: dict[tuple[bytes, bytes], bytes] = {}

    def header(self, header: bytes, now_ns: int) -> bytes:
        """Return a header for a message that is sent now, by the monotonic clock."""
        session = _SESSION.search(header)
        if session is None:
            return header
        own = b'"session":"' + self._name(session[1], b"") + b'"'
        header = _SESSION.sub(own, header, count=1)
        if publisher := _PUBLISHER.search(header):
            header = _PUBLISHER.sub(b'"publisher":"' + self._name(session[1], publisher[1]) + b'"', header, count=1)
        return _PUBLISHED.sub(b'"t_published_ns":"%d"' % now_ns, header, count=1)

    def _name(self, session: bytes, publisher: bytes) -> bytes:
        return self._names.setdefault((session, publisher), secrets.token_hex(4).encode())


class Replay:
    """A publisher's socket that plays recordings.

    Args:
        endpoint: Where to publish.
        lossless: Wait for slow subscribers instead of dropping messages: for replays faster than real time.

    Raises:
        ConfigError: the endpoint cannot be bound.
    """

    def __init__(self, endpoint: str, lossless: bool = False) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.XPUB)
        self._socket.setsockopt(zmq.XPUB_VERBOSE, 1)
        self._socket.setsockopt(zmq.SNDHWM, PUBLISH_HWM)
        self._socket.setsockopt(zmq.LINGER, _LINGER_MS)
        self._socket.setsockopt(zmq.SNDTIMEO, _SEND_TIMEOUT_MS)
        self._socket.setsockopt(zmq.XPUB_NODROP, int(lossless))
        self._status: dict[bytes, list[bytes]] = {}
        self._subscribed: set[bytes] = set()
        self.dropped = 0
        self._claim: PathClaim | None = None
        try:
            _, self._claim = bind(self._socket, endpoint, "--endpoint")
        except ConfigError:
            self.close()
            raise

    def wait_for_subscriber(self, path: Path, stopped: Callable[[], bool] = lambda: False) -> None:
        """Wait for a subscription to more than status messages, from which subscribers learn the streams.

        Raises:
            RecordError: there is no recording.
        """
        readdress = Readdress()
        for recorded in read_recording(path):
            if recorded.kind == "status":
                self._status.setdefault(recorded.topic, self._parts(recorded, readdress))
            elif recorded.kind == "masks" and len(self._status) > 1:
                break
        while not stopped() and all(name.endswith(b"/status/") for name in self._subscribed):
            self._answer_subscriptions(_POLL_S)
        self._status.clear()

    def play(
        self, path: Path, *, speed: float = 1.0, start_s: float = 0.0, stopped: Callable[[], bool] = lambda: False
    ) -> int:
        """Publish a recording once and return the number of messages.

        Args:
            path: Its folder, or one of its segments.
            speed: Relative to the recorded pace; 0: as fast as possible.
            start_s: Where to begin, in seconds from its start.
            stopped: Whether to end early; called for each message and several times a second.

        Raises:
            RecordError: there is no recording, or it ends before ``start_s``.
        """
        readdress, count, previous_ns = Readdress(), 0, 0
        due_s = time.monotonic()
        for recorded in _from(read_recording(path), start_s, path):
            if speed and previous_ns:
                gap_s = min(max(0, recorded.t_received_ns - previous_ns) / 1e9, MAX_GAP_S)
                due_s = max(due_s + gap_s / speed, time.monotonic() - 1.0)  # late: catch up, but not for long
            previous_ns = recorded.t_received_ns
            while not stopped() and (left_s := due_s - time.monotonic()) > 0:
                self._answer_subscriptions(min(left_s, _POLL_S))
            if stopped():
                break
            self._answer_subscriptions(0)
            parts = self._parts(recorded, readdress)
            if recorded.kind == "status":
                self._status[recorded.topic] = parts
            self._send(parts)
            count += 1
        return count

    @staticmethod
    def _parts(recorded: Recorded, readdress: Readdress) -> list[bytes]:
        header = readdress.header(recorded.parts[0], time.monotonic_ns())
        if recorded.topic == _DAEMON_STATUS:
            header = _RATES.sub(b"", header, count=1)
        return [recorded.topic, header, *recorded.parts[1:]]

    def _send(self, parts: list[bytes]) -> None:
        try:
            self._socket.send_multipart(parts)
        except zmq.Again:  # lossless, and a subscriber has not read for 10 s
            self.dropped += 1

    def _answer_subscriptions(self, wait_s: float) -> None:
        """Record subscriptions, and answer one for status with the newest status, as a daemon does."""
        while self._socket.poll(int(wait_s * 1000)):
            wait_s = 0
            change = self._socket.recv()
            name = change[1:]
            if change[:1] != b"\x01":
                self._subscribed.discard(name)
                continue
            self._subscribed.add(name)
            if name in self._status:
                self._send(self._status[name])

    def close(self) -> None:
        """Send queued messages, for 2 s at most, and close."""
        self._socket.close()
        self._context.term()
        if self._claim is not None:
            self._claim.release()
            self._claim = None


def _from(messages: Iterator[Recorded], start_s: float, path: Path) -> Iterator[Recorded]:
    """Yield the messages from a time on, after the daemon's newest status before it, which lists the streams."""
    first_ns: int | None = None
    status: Recorded | None = None
    for recorded in messages:
        first_ns = recorded.t_received_ns if first_ns is None else first_ns
        if recorded.t_received_ns - first_ns >= start_s * 1e9:
            if status is not None:
                yield status
            yield recorded
            yield from messages
            return
        if recorded.topic == _DAEMON_STATUS:
            status = recorded
    if first_ns is None:
        raise RecordError(f"{path}: the recording has no messages")
    raise RecordError(f"{path}: the recording ends before {start_s:g} s")
