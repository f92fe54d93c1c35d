"""The subscriber without I/O: handles topics, malformed, lost and stale messages, and chooses what to deliver next.

:mod:`streamseg.client.subscriber` and :mod:`streamseg.client.async_subscriber` are thin layers around it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Generic, get_args

from streamseg.client.adaptive_rate import AdaptiveRate
from streamseg.client.assembly import assemble
from streamseg.client.continuity import Continuity
from streamseg.client.inbox import AllInbox, Inbox, Result_co
from streamseg.client.results import DaemonStatusMessage, FrameMessage, FramePair, Message
from streamseg.errors import ConfigError, ProtocolError, SubscribeTimeoutError
from streamseg.protocol.topics import DAEMON, RATED_KINDS, STREAM_ID, Kind, topic

log = logging.getLogger(__name__)

MAX_BEHIND_NS: Final = 2_000_000_000
"""Mode ``all``: a reader further behind loses its backlog, since it would never catch up."""

_SHED_PAUSE_NS: Final = 5_000_000_000
_MAX_STREAMS: Final = 1024
_DAEMON_KINDS: Final = ("events", "status")
_DISCOVERY: Final = topic(DAEMON, "status")
# The clocks of two machines drift apart by less than this.
_DRIFT: Final = 1e-3


@dataclass
class SubscriberStats:
    """Counters of a subscriber since it was created.

    Attributes:
        received: Messages received.
        malformed: Messages skipped because they violate the protocol.
        stale: Messages skipped because a newer one had already arrived.
        backlogs_shed: Reconnects of mode ``all`` that dropped a backlog of more than 2 s.
    """

    received: int = 0
    malformed: int = 0
    stale: int = 0
    backlogs_shed: int = 0


class SubscriberCore(Generic[Result_co]):
    """Turns received bytes into results.

    Args:
        endpoint: For error messages.
        streams: Ids of the streams; None for all, including streams added later.
        kinds: Kinds of messages.
        inbox: Decides which messages are delivered, and in which order.
        rate: Chooses the rate of frames; None: every frame.

    Attributes:
        stats: Counters.

    Raises:
        ConfigError: a stream id or kind is invalid.
    """

    def __init__(
        self,
        endpoint: str,
        streams: Iterable[str] | None,
        kinds: Iterable[Kind],
        inbox: Inbox[Result_co],
        rate: AdaptiveRate | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._kinds = _checked_kinds(kinds)
        self._streams = None if streams is None else _checked_streams(streams)
        self._inbox = inbox
        self._sheds_backlog = isinstance(inbox, AllInbox) and inbox.sheds_backlog
        self._rate = rate
        self._topics: dict[bytes, Continuity] = {}
        self._fresh_topics: list[bytes] = []
        self._old_topics: list[bytes] = []
        self._lag = _Lag()
        self._shed_again_ns = 0
        self._daemon_streams: list[str] | None = None
        self._shed = False
        self.stats = SubscriberStats()
        if self._streams is None:
            self._add_streams([DAEMON])
        else:
            self._add_streams(self._streams)

    def topics(self) -> list[bytes]:
        """Return all topics for a new connection, including the daemon's status, which lists the streams."""
        self._fresh_topics.clear()
        self._old_topics.clear()
        return [*dict.fromkeys((*self._topics, _DISCOVERY))]

    def take_fresh_topics(self) -> list[bytes]:
        """Return the topics added since the last call."""
        fresh, self._fresh_topics = self._fresh_topics, []
        return fresh

    def take_old_topics(self) -> list[bytes]:
        """Return the topics dropped since the last call."""
        old, self._old_topics = self._old_topics, []
        return old

    @property
    def rate_hz(self) -> float | None:
        """The requested rate of frames; None: every frame."""
        return self._rate.rate_hz if self._rate else None

    def feed(self, parts: Sequence[bytes]) -> None:
        """Process a message from the socket, well-formed or not."""
        self.stats.received += 1
        continuity = self._topics.get(parts[0]) if parts else None
        if continuity is None and not (parts and parts[0] == _DISCOVERY):
            return  # a longer topic that begins with one of ours
        try:
            message = assemble(parts)
        except ProtocolError as error:
            self.stats.malformed += 1
            if self.stats.malformed == 1:
                log.warning("%s sent a malformed message; further ones are only counted: %s", self._endpoint, error)
            return
        if isinstance(message, DaemonStatusMessage):
            self._learn_rates(message)
            self._learn_streams(message.streams)
        if continuity is not None and not self._is_backlog(message):
            self._deliver(message, continuity)

    def _deliver(self, message: Message, continuity: Continuity) -> None:
        missing = continuity.follow(message)
        if missing is None:
            self.stats.stale += 1
            return
        gap, skipped = missing
        if isinstance(message, FrameMessage) and (gap or skipped):
            message = replace(message, gap=gap, skipped=skipped)
        elif gap:
            message = replace(message, gap=gap)
        self._inbox.put(message)

    def _learn_streams(self, streams: Iterable[str]) -> None:
        known = [stream for stream in streams if STREAM_ID.fullmatch(stream)]
        self._daemon_streams = known
        if self._streams is None:
            self._add_streams(known[:_MAX_STREAMS])

    def _add_streams(self, streams: Iterable[str]) -> None:
        for stream in streams:
            for kind in self._kinds:
                name = topic(stream, kind, self.rate_hz if kind in RATED_KINDS else None)
                if name in self._topics or (stream == DAEMON and kind not in _DAEMON_KINDS):
                    continue
                if len(self._topics) < _MAX_STREAMS * len(get_args(Kind)):
                    self._topics[name] = Continuity()
                    self._fresh_topics.append(name)

    def _learn_rates(self, daemon: DaemonStatusMessage) -> None:
        if self._rate is None or self.rate_hz is None or self.rate_hz in daemon.rates:
            return
        log.warning(
            "%s (streamseg %s) has no rate of %g Hz: every frame is received",
            self._endpoint,
            daemon.version,
            self.rate_hz,
        )
        self._rate = None
        self._change_rate()

    def _change_rate(self) -> None:
        """Replace the topics of frames with topics of the current rate."""
        topics, self._topics = self._topics, {}
        for name, continuity in topics.items():
            stream, kind = name.decode().split("/")[-3:-1]
            new = topic(stream, kind, self.rate_hz) if kind in RATED_KINDS else name
            self._topics[new] = continuity if new == name else Continuity(continuity)
            if new != name:
                self._fresh_topics.append(new)
                self._old_topics.append(name)

    def asked(self) -> None:
        """Note that the caller requests a result."""
        if self._rate is not None and self._rate.asked():
            self._change_rate()

    def take(self) -> Result_co | None:
        """Return the next result to deliver, if any."""
        result = self._inbox.take()
        if self._rate is not None and isinstance(result, FramePair):
            self._rate.delivered(result.stream, "pair", result.masks.gap)
        elif self._rate is not None and isinstance(result, FrameMessage):
            self._rate.delivered(result.stream, result.kind, result.gap)
        return result

    def wants_more(self) -> bool:
        """Return whether to read more from the socket before the next delivery."""
        return self._inbox.wants_more() and not self._shed

    def _is_backlog(self, message: Message) -> bool:
        """Return whether the message is so old that the caller must reconnect to drop the queue."""
        if self._shed:
            return True
        if not (self._sheds_backlog and isinstance(message, FrameMessage)) or message.t_source == "file":
            return False  # masks of a file need to be complete, not fresh
        now_ns = time.monotonic_ns()
        behind_ns = self._lag.measure(message, now_ns)
        if behind_ns <= MAX_BEHIND_NS or now_ns < self._shed_again_ns:
            return False
        self._shed = True
        self._shed_again_ns = now_ns + _SHED_PAUSE_NS
        self.stats.backlogs_shed += 1
        log.warning(
            "%s: %.1f s behind, the backlog is dropped; `gap` of the next message says how much was lost",
            self._endpoint,
            behind_ns / 1e9,
        )
        return True

    def take_shed(self) -> bool:
        """Return whether the caller must reconnect now."""
        shed, self._shed = self._shed, False
        return shed

    def timeout_error(self, timeout_s: float, problem: str = "") -> SubscribeTimeoutError:
        """Return the error that says what did not arrive, and why, if known.

        Args:
            timeout_s: How long the caller waited.
            problem: Why the connection failed, if it did.
        """
        wanted = "/".join(self._kinds)
        of = f" of {', '.join(self._streams)}" if self._streams else ""
        why = problem or self.silence_reason()
        return SubscribeTimeoutError(f"no {wanted}{of} arrived from {self._endpoint} within {timeout_s:g} s: {why}")

    def silence_reason(self) -> str:
        """Return why no message may have arrived over a connection without a problem."""
        if self._daemon_streams is None:
            return "nothing was received: is streamseg running, and is this its publish.endpoints?"
        if unknown := [stream for stream in self._streams or () if stream not in (*self._daemon_streams, DAEMON)]:
            return f"the daemon has no stream {unknown[0]!r}; streams: {', '.join(self._daemon_streams) or 'none'}"
        return "the daemon is up: `streamseg subscribe` with kind status shows the state of its streams"


class _Lag:
    """Measures the time from publishing to reading; on another machine, relative to the shortest time seen."""

    def __init__(self) -> None:
        self._least_ns: float | None = None
        self._clock_of = ""
        self._seen_ns = 0

    def measure(self, message: FrameMessage, now_ns: int) -> float:
        lag_ns: float = now_ns - message.t_published_ns
        if message.same_clock:
            return lag_ns
        # The clocks' difference is unknown: the fastest message counts as "not behind". The minimum rises slowly,
        # because clocks drift.
        if self._least_ns is None or self._clock_of != message.session:
            self._least_ns = lag_ns
        self._least_ns = min(lag_ns, self._least_ns + (now_ns - self._seen_ns) * _DRIFT)
        self._clock_of, self._seen_ns = message.session, now_ns
        return lag_ns - self._least_ns


def _checked_kinds(kinds: Iterable[Kind]) -> tuple[Kind, ...]:
    known: tuple[Kind, ...] = get_args(Kind)
    given = {kinds} if isinstance(kinds, str) else set(kinds)
    if unknown := given - set(known):
        raise ConfigError(f"kinds: {min(unknown)!r} is unknown: choose from {', '.join(known)}")
    if not given:
        raise ConfigError(f"kinds: give at least one of {', '.join(known)}")
    return tuple(kind for kind in known if kind in given)


def _checked_streams(streams: Iterable[str]) -> tuple[str, ...]:
    given = (streams,) if isinstance(streams, str) else tuple(dict.fromkeys(streams))
    for stream in given:
        if not STREAM_ID.fullmatch(stream):
            raise ConfigError(f"streams: {stream!r} is not a stream id: use a-z, 0-9, _ and -, at most 64 characters")
    if not given:
        raise ConfigError("streams: give at least one id, or leave streams out for all")
    return given
