"""Converts the messages of a daemon to MQTT publications. No I/O."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from streamseg.bridges.home_assistant import (
    ORIGIN,
    Component,
    components_of,
    device_id,
    device_payload,
    discovery_topic,
    removed_components,
)
from streamseg.bridges.mqtt_topics import MqttTopics
from streamseg.client import DaemonStatusMessage, EventMessage, Message, ObjectsFrame, StatusMessage
from streamseg.protocol.published import ObjectInfo, RegionCounts
from streamseg.protocol.text import encode_json
from streamseg.protocol.topics import DAEMON

ONLINE: Final = b"online"
OFFLINE: Final = b"offline"

_SILENT_S: Final = 3.0
"""A daemon that has not sent its status, due each second, for this long is offline."""
_FIGURES_S: Final = 10.0
"""If only rates and latencies change, they are published this often."""
_MISSING_S: Final = 3.0
"""An object missing from frames for this long was removed. (A new worker begins without objects.)"""
_MAX_LEFTOVERS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Publication:
    """One MQTT message.

    Attributes:
        topic: Its topic.
        payload: Its content; empty: the broker drops the retained message.
        retain: Whether the broker keeps it for new subscribers.
    """

    topic: str
    payload: bytes
    retain: bool = True


@dataclass(slots=True)
class _Object:
    info: ObjectInfo
    published_s: float
    seen_s: float


@dataclass(slots=True)
class _Stream:
    status: StatusMessage | None = None
    status_s: float = -float("inf")
    objects: dict[int, _Object] = field(default_factory=dict)
    components: dict[str, Component] = field(default_factory=dict)


class MqttState:
    """The retained state of one daemon, updated from its messages.

    Args:
        topics: Where to publish.
        discovery_prefix: Home Assistant's; None: no discovery.
        interval_s: Shortest time between two messages about an object if only place and confidence change.
        streams: Ids of the streams to publish; None: all.
        now_s: The monotonic clock.
    """

    def __init__(
        self,
        topics: MqttTopics,
        discovery_prefix: str | None,
        interval_s: float,
        streams: tuple[str, ...] | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topics = topics
        self._discovery_prefix = discovery_prefix
        self._interval_s = interval_s
        self._wanted = streams
        self._now_s = now_s
        self._daemon: DaemonStatusMessage | None = None
        self._daemon_s = -float("inf")
        self._streams: dict[str, _Stream] = {}
        self._retained: dict[str, bytes] = {topics.available: OFFLINE}
        self._leftovers: dict[str, str] = {}
        self._former: set[str] = set()

    @property
    def streams(self) -> frozenset[str]:
        """Ids of the streams it publishes."""
        return frozenset(self._streams)

    def has_stream(self, stream: str) -> bool:
        """Return whether the daemon has a stream."""
        return stream in self._streams

    def everything(self) -> Iterator[Publication]:
        """Yield the whole retained state, for a new connection: the broker may have lost it."""
        for topic, payload in self._retained.items():
            yield Publication(topic, payload)

    def found_retained(self, topic: str, payload: bytes) -> None:
        """Record a message retained by the broker, so that :meth:`remove_leftovers` can remove it if it is outdated.

        Only topics of streams that the daemon has, or that an earlier bridge named, are removed: other programs may
        use similar topics below the prefix.
        """
        if not payload:
            return
        if topic == self._topics.daemon:
            self._former.update(_streams_of(payload))
            return
        stream = self._discovered(topic, payload)
        if stream is not None:
            self._former.add(stream)
        else:
            stream = self._topics.stream_of(topic)
        if stream is not None and topic not in self._retained and len(self._leftovers) < _MAX_LEFTOVERS:
            self._leftovers[topic] = stream

    def remove_leftovers(self) -> Iterator[Publication]:
        """Yield publications that remove outdated messages of an earlier bridge."""
        if self._daemon is None:
            return
        for topic, stream in list(self._leftovers.items()):
            if stream not in self._former and stream not in self._streams:
                continue
            if topic in self._retained:
                del self._leftovers[topic]
            elif not self._may_be_current(topic, stream):
                del self._leftovers[topic]
                yield Publication(topic, b"")

    def feed(self, message: Message) -> Iterator[Publication]:
        """Yield the publications that a message causes."""
        match message:
            case DaemonStatusMessage():
                yield from self._daemon_status(message)
            case StatusMessage() if message.stream in self._streams:
                yield from self._stream_status(self._streams[message.stream], message)
            case ObjectsFrame() if message.stream in self._streams:
                yield from self._frame(self._streams[message.stream], message)
            case EventMessage():
                yield from self._event(message)

    def check(self) -> Iterator[Publication]:
        """Yield the publications that are due; call it several times a second."""
        silent = self._now_s() - self._daemon_s > _SILENT_S
        yield from self._retain(self._topics.available, OFFLINE if silent else ONLINE)

    def _daemon_status(self, message: DaemonStatusMessage) -> Iterator[Publication]:
        self._daemon, self._daemon_s = message, self._now_s()
        streams = [name for name in message.streams if self._wanted is None or name in self._wanted]
        for stream in set(self._streams) - set(streams):
            yield from self._forget(stream)
        for stream in streams:
            if stream not in self._streams:
                self._streams[stream] = _Stream()
                yield from self._discover(stream)
        yield from self._retain(
            self._topics.daemon,
            encode_json(
                {
                    "version": message.version,
                    "model": message.model,
                    "device": message.device,
                    "engine": message.engine,
                    "streams": message.streams,
                    "restarts": message.restarts,
                    "recording_stopped": message.recording_stopped,
                }
            ),
        )

    def _forget(self, stream: str) -> Iterator[Publication]:
        del self._streams[stream]
        ours = self._topics.of_stream(stream, "")
        for topic in [topic for topic in self._retained if topic.startswith(ours)]:
            yield from self._retain(topic, b"")
        if self._discovery_prefix is not None:
            yield from self._retain(discovery_topic(self._discovery_prefix, self._topics.prefix, stream), b"")

    def _stream_status(self, stream: _Stream, message: StatusMessage) -> Iterator[Publication]:
        old, stream.status = stream.status, message
        changed = old is None or _summary(old) != _summary(message)
        if changed or self._now_s() - stream.status_s >= _FIGURES_S:
            stream.status_s = self._now_s()
            yield from self._retain(self._topics.of_stream(message.stream, "state"), encode_json(_state(message)))
        online = ONLINE if message.state == "streaming" else OFFLINE
        yield from self._retain(self._topics.of_stream(message.stream, "available"), online)
        yield from self._regions(message.stream, message.regions or RegionCounts())
        if old is None or _names(old.regions) != _names(message.regions):
            yield from self._discover(message.stream)

    def _regions(self, stream: str, regions: RegionCounts) -> Iterator[Publication]:
        counts = {
            self._topics.of_stream(stream, "zones", zone): {
                "zone": zone,
                "inside": inside,
                "entered": regions.entered.get(zone, 0),
                "left": regions.left.get(zone, 0),
            }
            for zone, inside in regions.inside.items()
        } | {
            self._topics.of_stream(stream, "lines", line): {
                "line": line,
                "forward": forward,
                "backward": regions.backward.get(line, 0),
            }
            for line, forward in regions.forward.items()
        }
        for kind in ("zones", "lines"):
            ours = self._topics.of_stream(stream, kind, "")
            for topic in [topic for topic in self._retained if topic.startswith(ours) and topic not in counts]:
                yield from self._retain(topic, b"")
        for topic, count in counts.items():
            yield from self._retain(topic, encode_json(count))

    def _frame(self, stream: _Stream, frame: ObjectsFrame) -> Iterator[Publication]:
        now_s = self._now_s()
        before = _labels(stream)
        for info in frame.objects:
            known = stream.objects.get(info.id)
            if known is not None:
                known.seen_s = now_s
                same_state = (known.info.label, known.info.state) == (info.label, info.state)
                if known.info == info or (same_state and now_s - known.published_s < self._interval_s):
                    continue
            stream.objects[info.id] = _Object(info, now_s, now_s)
            topic = self._topics.of_stream(frame.stream, "objects", str(info.id))
            yield from self._retain(topic, encode_json(_object(info, frame)))
        # A paused stream sends frames without objects, but keeps its objects.
        if stream.status is not None and not stream.status.paused:
            missing = [key for key, known in stream.objects.items() if now_s - known.seen_s > _MISSING_S]
            for obj_id in missing:
                yield from self._remove(stream, frame.stream, obj_id)
        if _labels(stream) != before:
            yield from self._discover(frame.stream)

    def _remove(self, stream: _Stream, name: str, obj_id: int) -> Iterator[Publication]:
        stream.objects.pop(obj_id, None)
        yield from self._retain(self._topics.of_stream(name, "objects", str(obj_id)), b"")

    def _event(self, event: EventMessage) -> Iterator[Publication]:
        own = event.stream != DAEMON
        topic = self._topics.of_stream(event.stream, "events") if own else self._topics.daemon_events
        yield Publication(topic, encode_json(_event(event)), retain=False)
        stream = self._streams.get(event.stream)
        if stream is not None and event.event == "object_removed" and event.object in stream.objects:
            yield from self._remove(stream, event.stream, event.object)
            yield from self._discover(event.stream)

    def _discover(self, name: str) -> Iterator[Publication]:
        """Yield the discovery payload of a stream, if it has changed.

        To remove components, an additional payload lists them with their platform alone.
        """
        if self._discovery_prefix is None:
            return
        stream = self._streams[name]
        regions = stream.status.regions if stream.status else None
        components = components_of(self._topics, name, _labels(stream), regions)
        removed = removed_components(stream.components, components)
        stream.components = components
        topic = discovery_topic(self._discovery_prefix, self._topics.prefix, name)
        for gone in ([removed] if removed else []) + [{}]:
            payload = device_payload(
                self._topics,
                name,
                version=self._daemon.version if self._daemon else "",
                model=self._daemon.model if self._daemon else "",
                components=components,
                removed=gone,
            )
            yield from self._retain(topic, encode_json(payload))

    def _retain(self, topic: str, payload: bytes) -> Iterator[Publication]:
        if not payload:
            if self._retained.pop(topic, None) is not None:
                yield Publication(topic, b"")
        elif self._retained.get(topic) != payload:
            self._retained[topic] = payload
            self._leftovers.pop(topic, None)
            yield Publication(topic, payload)

    def _discovered(self, topic: str, payload: bytes) -> str | None:
        """Return the stream of a discovery payload, if a bridge with this prefix wrote it."""
        if self._discovery_prefix is None:
            return None
        try:
            config = msgspec.json.decode(payload)
            stream = str(config["dev"]["ids"]).removeprefix(device_id(self._topics.prefix, ""))
            ours = config["o"]["name"] == ORIGIN and config["avty"][0]["t"] == self._topics.available
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, IndexError, TypeError):
            return None
        expected = discovery_topic(self._discovery_prefix, self._topics.prefix, stream)
        return stream if ours and topic == expected else None

    def _may_be_current(self, topic: str, stream: str) -> bool:
        """Return whether a retained message may belong to a stream whose state is not known yet."""
        known = self._streams.get(stream)
        return known is not None and (known.status is None or self._topics.stream_of(topic) is None)


def _streams_of(payload: bytes) -> list[str]:
    """Return the daemon's streams from a bridge's payload; empty if it is another program's."""
    try:
        daemon = msgspec.json.decode(payload)
        ours = {"version", "model", "engine", "recording_stopped"} <= daemon.keys()
        return [name for name in daemon["streams"] if isinstance(name, str)] if ours else []
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, AttributeError, TypeError):
        return []


def _labels(stream: _Stream) -> dict[int, str]:
    """Return id -> name of the objects with an entity in Home Assistant: not found objects, which come and go."""
    return {key: known.info.label for key, known in stream.objects.items() if known.info.origin != "auto"}


def _names(regions: RegionCounts | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return (tuple(regions.inside), tuple(regions.forward)) if regions else ((), ())


def _summary(status: StatusMessage) -> tuple[Any, ...]:
    """Return the part of a status whose changes are published at once."""
    return status.state, status.paused, status.objects, status.last_error, status.reconnects, bool(status.no_masks_s)


def _state(status: StatusMessage) -> dict[str, Any]:
    return {
        "state": status.state,
        "paused": status.paused,
        "objects": status.objects,
        "fps_in": round(status.fps_in, 1),
        "fps_out": round(status.fps_out, 1),
        "latency_ms": round(status.latency_ms.get("total", 0.0), 1),
        "dropped": sum(status.drops.values()),
        "reconnects": status.reconnects,
        "no_masks_s": status.no_masks_s,
        "last_error": status.last_error,
        "size": status.size,
    }


def _object(info: ObjectInfo, frame: ObjectsFrame) -> dict[str, Any]:
    return {
        **msgspec.structs.asdict(info),
        "visible": info.area > 0,
        "frame": frame.frame,
        "size": frame.size,
        "t_wall_ns": str(frame.t_wall_ns),
    }


def _event(event: EventMessage) -> dict[str, Any]:
    return {
        "event_type": event.event,
        "stream": event.stream,
        "object": event.object,
        "label": event.label,
        "region": event.region,
        "frame": event.frame,
        "detail": event.detail,
        "t_wall_ns": str(event.t_wall_ns),
        "session": event.session,
        "seq": event.seq,
    }
