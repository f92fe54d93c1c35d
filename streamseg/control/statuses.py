"""The last status of the daemon and of each stream, for ``get_status``."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from streamseg.protocol.text import encode_json
from streamseg.protocol.topics import DAEMON


class _Status(msgspec.Struct):
    paused: bool = False


class Statuses:
    """Statuses that the publisher sent, corrected by what clients were told since.

    The publisher hears of a pause later than the client that asked for it, so a confirmed pause or resume counts
    until a status agrees with it.
    """

    def __init__(self) -> None:
        self._by_stream: dict[str, bytes] = {}
        self._paused: dict[str, bool] = {}

    def take(self, stream: str, status: bytes) -> None:
        """Keep a status that the publisher sent.

        Raises:
            msgspec.DecodeError: it is not a JSON object.
        """
        if self._paused.get(stream) == msgspec.json.decode(status, type=_Status).paused:
            del self._paused[stream]
        self._by_stream[stream] = status

    def confirm_paused(self, stream: str, paused: bool) -> None:
        """Record that a pause or resume was executed."""
        self._paused[stream] = paused

    def forget_paused(self, streams: Iterable[str]) -> None:
        """Trust the publisher alone, since the worker may pause or resume these streams without a reply."""
        for stream in streams:
            self._paused.pop(stream, None)

    def keep_only(self, streams: Iterable[str]) -> None:
        """Forget all other streams."""
        kept = set(streams)
        self._by_stream = {stream: status for stream, status in self._by_stream.items() if stream in kept}
        self._paused = {stream: paused for stream, paused in self._paused.items() if stream in kept}

    def of_daemon(self) -> bytes | None:
        """Return the daemon's status; None if the publisher has not sent one yet."""
        return self._by_stream.get(DAEMON)

    def of_stream(self, stream: str, starting: bytes) -> bytes:
        """Return the status of a stream; from ``starting`` if the publisher has not sent one yet."""
        status, paused = self._by_stream.get(stream, starting), self._paused.get(stream)
        if paused is None:
            return status
        return encode_json({**msgspec.json.decode(status), "paused": paused})
