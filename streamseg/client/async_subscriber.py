"""Receive results with asyncio."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from types import TracebackType
from typing import Generic, Self, TypeVar, overload

import zmq
import zmq.asyncio

from streamseg.client.connect import Connection
from streamseg.client.core import SubscriberCore, SubscriberStats
from streamseg.client.inbox import Inbox, PairInbox
from streamseg.client.keys import KeyFile, load_keys
from streamseg.client.results import FramePair, MaskFrame, Message
from streamseg.client.subscriber import MAX_POLL_S, Mode, inbox_of, longest_wait_s, rate_of
from streamseg.errors import StreamsegError
from streamseg.protocol.topics import DEFAULT_ENDPOINT, Kind

R = TypeVar("R")

_MAX_DRAINED = 1000


class _AsyncReceiver(Generic[R]):
    """A socket and the core that reads it. Used by one task at a time, within a running event loop."""

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
        self._context = zmq.asyncio.Context()
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

    async def receive(self, timeout_s: float | None = None) -> R:
        """Return the next result.

        Args:
            timeout_s: Longest wait, ``math.inf`` for no limit; None for the constructor's, or 30 s if it has none.

        Raises:
            SubscribeTimeoutError: none arrived in time; the message says why, if known.
            StreamsegError: the subscriber is closed.
        """
        if self._closed:
            raise StreamsegError("the subscriber is closed")
        return await self._receive(longest_wait_s(timeout_s, self._timeout_s))

    async def _receive(self, limit_s: float) -> R:
        self._core.asked()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + limit_s
        while True:
            await self._drain()
            result = self._core.take()
            if result is not None:
                return result
            remaining_s = deadline - loop.time()
            if remaining_s <= 0:
                raise self._core.timeout_error(limit_s, self._connection.problem)
            await self._connection.socket.poll(int(min(remaining_s, MAX_POLL_S) * 1000) + 1)

    async def _drain(self) -> None:
        for _ in range(_MAX_DRAINED):
            if not self._core.wants_more():
                break
            try:
                parts = await self._connection.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            self._core.feed(parts)
        self._connection.update()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> R:
        if self._closed:
            raise StopAsyncIteration
        return await self._receive(math.inf if self._timeout_s is None else self._timeout_s)

    def close(self) -> None:
        """Disconnect. Safe to call twice."""
        if not self._closed:
            self._closed = True
            self._connection.close()
            self._context.term()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncSubscriber(_AsyncReceiver[R]):
    """:class:`streamseg.client.Subscriber` for asyncio: ``async for`` over it, or ``await`` :meth:`receive`.

    Used by one task at a time, within a running event loop.

    Args:
        endpoint: Where the daemon publishes.
        streams: Ids of the streams; default: all, including streams added later.
        kinds: Any of ``masks``, ``objects``, ``image``, ``events``, ``status``.
        mode: ``latest`` or ``all``, as in :class:`streamseg.client.Subscriber`.
        timeout_s: Longest wait for a result, in :meth:`receive` and in iteration. Default: iteration waits without
            limit, so that an outage of a camera does not end it, and :meth:`receive` waits for 30 s.
        min_rate_hz: Lowest rate of frames, as in :class:`streamseg.client.Subscriber`.
        max_rate_hz: Highest rate of frames, likewise.
        key_file: File with the key, likewise.
        server_key: The daemon's public key, likewise.

    Raises:
        ConfigError: the endpoint, a stream id, a kind or a rate is invalid.
    """

    @overload
    def __init__(
        self: AsyncSubscriber[MaskFrame],
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
        self: AsyncSubscriber[Message],
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


class AsyncPairedSubscriber(_AsyncReceiver[FramePair]):
    """:class:`streamseg.client.PairedSubscriber` for asyncio.

    Args:
        endpoint: Where the daemon publishes.
        streams: Ids of the streams; default: all.
        timeout_s: Longest wait for a pair, as in :class:`AsyncSubscriber`.
        min_rate_hz: As there.
        max_rate_hz: As there.
        key_file: As there.
        server_key: As there.

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
