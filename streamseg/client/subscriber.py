"""Receive results in a blocking loop."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Final, Generic, Literal, Self, TypeVar, overload

import zmq

from streamseg.client.adaptive_rate import AdaptiveRate
from streamseg.client.connect import Connection
from streamseg.client.core import SubscriberCore, SubscriberStats
from streamseg.client.inbox import AllInbox, Inbox, LatestInbox, PairInbox
from streamseg.client.keys import KeyFile, load_keys
from streamseg.client.results import FramePair, MaskFrame, Message
from streamseg.errors import ConfigError, StreamsegError
from streamseg.protocol.topics import DEFAULT_ENDPOINT, Kind

Mode = Literal["latest", "all"]
R = TypeVar("R")

DEFAULT_TIMEOUT_S: Final = 30.0
"""Longest wait of ``receive()`` by default."""
MAX_POLL_S: Final = 2.0
"""A refused connection is retried after this time."""

_MAX_DRAINED: Final = 1000


class _Receiver(Generic[R]):
    """A socket and the core that reads it. Used by one thread."""

    def __init__(
        self,
        endpoint: str,
        streams: Iterable[str] | None,
        kinds: Iterable[Kind],
        inbox: Inbox[R],
        timeout_s: float | None,
        rates: tuple[float | None, float | None],
        key_file: KeyFile | None,
        server_key: str | bytes | None,
    ) -> None:
        keys = load_keys(key_file, server_key)
        self._timeout_s = timeout_s
        self._core: SubscriberCore[R] = SubscriberCore(endpoint, streams, kinds, inbox, rate_of(*rates))
        self._closed = False
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            self._connection = Connection(self._context, endpoint, self._core, keys)
        except StreamsegError:
            self._context.term()
            raise

    @property
    def rate_hz(self) -> float | None:
        """Frames per second and stream currently requested from the daemon; None: every frame."""
        return self._core.rate_hz

    @property
    def problem(self) -> str:
        """Why the daemon does not let this subscriber in, for example since it asks for a key; else empty."""
        return self._connection.problem

    @property
    def stats(self) -> SubscriberStats:
        """Counters since this subscriber was created."""
        return self._core.stats

    def receive(self, timeout_s: float | None = None) -> R:
        """Return the next result.

        Args:
            timeout_s: Longest wait, ``math.inf`` for no limit; None for the constructor's, or 30 s if it has none.

        Blocks: until there is one, up to ``timeout_s``.

        Raises:
            SubscribeTimeoutError: none arrived in time; the message says why, if known.
            StreamsegError: the subscriber is closed.
        """
        if self._closed:
            raise StreamsegError("the subscriber is closed")
        return self._receive(longest_wait_s(timeout_s, self._timeout_s))

    def _receive(self, limit_s: float) -> R:
        self._core.asked()
        deadline = time.monotonic() + limit_s
        while True:
            self._drain()
            result = self._core.take()
            if result is not None:
                return result
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                raise self._core.timeout_error(limit_s, self._connection.problem)
            self._connection.socket.poll(int(min(remaining_s, MAX_POLL_S) * 1000) + 1)

    def _drain(self) -> None:
        for _ in range(_MAX_DRAINED):
            if not self._core.wants_more():
                break
            try:
                parts = self._connection.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            self._core.feed(parts)
        self._connection.update()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> R:
        if self._closed:
            raise StopIteration
        return self._receive(math.inf if self._timeout_s is None else self._timeout_s)

    def close(self) -> None:
        """Disconnect. Safe to call twice."""
        if not self._closed:
            self._closed = True
            self._connection.close()
            self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class Subscriber(_Receiver[R]):
    """Receives a daemon's messages: iterate over it, or call :meth:`receive`. Used by one thread.

    It connects in the background, and reconnects when the daemon comes back. Malformed messages are counted
    (``stats.malformed``) and skipped.

    Args:
        endpoint: Where the daemon publishes.
        streams: Ids of the streams; default: all, including streams added later.
        kinds: Any of ``masks``, ``objects``, ``image``, ``events``, ``status``.
        mode: ``latest``: the newest message of each stream and kind, and every event; replaced older messages are
            counted in ``superseded``. ``all``: every message in order; a reader more than 2 s behind loses its
            backlog, counted in ``gap`` and ``stats.backlogs_shed``.
        timeout_s: Longest wait for a result, in :meth:`receive` and in iteration. Default: iteration waits without
            limit, so that an outage of a camera does not end it, and :meth:`receive` waits for 30 s.
        min_rate_hz: Lowest rate of frames to fall back to when the caller is too slow to process all frames. None: the
            rate does not adapt.
        max_rate_hz: Receive at most this many frames a second of each stream; the daemon skips the others, and they
            count as ``skipped``. The nearest lower of :data:`streamseg.protocol.topics.RATES_HZ` is used. None: every
            frame.
        key_file: File with the key, for daemons that require one (``streamseg keys authorize`` makes it).
        server_key: The daemon's public key, if it is not in the file.

    Raises:
        ConfigError: the endpoint, a stream id, a kind, a rate or a key is invalid.
    """

    @overload
    def __init__(
        self: Subscriber[MaskFrame],
        endpoint: str = ...,
        *,
        streams: Iterable[str] | None = ...,
        mode: Mode = ...,
        timeout_s: float | None = ...,
        min_rate_hz: float | None = ...,
        max_rate_hz: float | None = ...,
        key_file: KeyFile | None = ...,
        server_key: str | bytes | None = ...,
    ) -> None: ...

    @overload
    def __init__(
        self: Subscriber[Message],
        endpoint: str = ...,
        *,
        streams: Iterable[str] | None = ...,
        kinds: Iterable[Kind],
        mode: Mode = ...,
        timeout_s: float | None = ...,
        min_rate_hz: float | None = ...,
        max_rate_hz: float | None = ...,
        key_file: KeyFile | None = ...,
        server_key: str | bytes | None = ...,
    ) -> None: ...

    def __init__(
        self,
        endpoint: str = DEFAULT_ENDPOINT,
        *,
        streams: Iterable[str] | None = None,
        kinds: Iterable[Kind] = ("masks",),
        mode: Mode = "latest",
        timeout_s: float | None = None,
        min_rate_hz: float | None = None,
        max_rate_hz: float | None = None,
        key_file: KeyFile | None = None,
        server_key: str | bytes | None = None,
    ) -> None:
        rates = (min_rate_hz, max_rate_hz)
        super().__init__(endpoint, streams, kinds, inbox_of(mode), timeout_s, rates, key_file, server_key)


class PairedSubscriber(_Receiver[FramePair]):
    """Receives pictures with the masks of the same frame: the newest frame of each stream that has both.

    Args:
        endpoint: Where the daemon publishes.
        streams: Ids of the streams; default: all.
        timeout_s: Longest wait for a pair, in :meth:`receive` and in iteration. Default: iteration waits without
            limit, so that an outage of a camera does not end it, and :meth:`receive` waits for 30 s.
        min_rate_hz: As in :class:`Subscriber`.
        max_rate_hz: As in :class:`Subscriber`.
        key_file: As in :class:`Subscriber`.
        server_key: As in :class:`Subscriber`.

    Raises:
        ConfigError: the endpoint, a stream id or a rate is invalid.
    """

    def __init__(
        self,
        endpoint: str = DEFAULT_ENDPOINT,
        *,
        streams: Iterable[str] | None = None,
        timeout_s: float | None = None,
        min_rate_hz: float | None = None,
        max_rate_hz: float | None = None,
        key_file: KeyFile | None = None,
        server_key: str | bytes | None = None,
    ) -> None:
        rates = (min_rate_hz, max_rate_hz)
        super().__init__(endpoint, streams, ("masks", "image"), PairInbox(), timeout_s, rates, key_file, server_key)


def longest_wait_s(timeout_s: float | None, constructor_s: float | None) -> float:
    """Return how long ``receive`` may wait, given its own argument and the constructor's."""
    if timeout_s is not None:
        return timeout_s
    return DEFAULT_TIMEOUT_S if constructor_s is None else constructor_s


def rate_of(min_rate_hz: float | None, max_rate_hz: float | None) -> AdaptiveRate | None:
    """Return the controller of the rate between two limits; None for every frame.

    Raises:
        ConfigError: a rate is out of range, or the limits contradict each other.
    """
    if min_rate_hz is None and max_rate_hz is None:
        return None
    return AdaptiveRate(min_rate_hz, max_rate_hz)


def inbox_of(mode: Mode) -> Inbox[Any]:
    """Return the inbox of a mode.

    Raises:
        ConfigError: there is no such mode.
    """
    match mode:
        case "latest":
            return LatestInbox()
        case "all":
            return AllInbox()
    raise ConfigError(f"mode: {mode!r} is unknown: choose latest or all")
