"""Tracks which zones an object's mask is in, for how long, and which lines it crosses.

A zone is a polygon of the picture. An object enters when at least ``share`` of its mask lies inside, and leaves when
less than half of that does, so that a mask that jitters on the border causes one event, not one per frame.

A line has two ends, and a forward direction: from its left to its right, as seen from ``start`` towards ``end``. An
object crosses it when the centroid of its mask passes between the ends. A band along the line counts as neither side,
for the same reason.

Occluded objects keep their zones and their side, so that an object that crosses behind an obstacle is counted when it
reappears. At a new epoch, such as the seam of a looping file, an object has not moved from its old to its new place: it
keeps its zones until it is seen outside them, but its side is forgotten.

Ours because ``supervision`` tests anchor points of boxes, not shares of masks, and knows no dwell time.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from streamseg.config.schema import LineConfig, ZoneConfig
from streamseg.protocol.published import EventKind, Region, RegionCounts
from streamseg.tracker.types import ObjectResult
from streamseg.worker.polygon_mask import polygon_mask

log = logging.getLogger(__name__)

Point = tuple[float, float]
"""x, y in pixels."""
Direction = Literal["forward", "backward"]
LeaveReason = Literal["moved", "lost", "removed", "reset"]

_LEAVE_BELOW: Final = 0.5
"""An object has left a zone when less than this share of the zone's ``share`` is inside."""

_BAND: Final = 0.005
"""Half width of the band along a line that counts as neither side, as a share of the picture's diagonal."""


@dataclass(frozen=True, slots=True)
class ZoneEntered:
    """An object is in a zone now."""

    zone: str
    obj_id: int

    def published(self) -> tuple[EventKind, Region]:
        """Return the event's kind and region as they are published."""
        return "zone_entered", Region(self.zone)

    def text(self, label: str) -> str:
        """Return it as readable text."""
        return f"{_name(self.obj_id, label)} entered {self.zone}"


@dataclass(frozen=True, slots=True)
class ZoneLeft:
    """An object was in a zone.

    Attributes:
        zone: The zone.
        obj_id: The object.
        dwell_s: How long, in the stream's own time.
        reason: Whether it moved out, is no longer tracked, or the zone was removed or changed.
    """

    zone: str
    obj_id: int
    dwell_s: float
    reason: LeaveReason

    def published(self) -> tuple[EventKind, Region]:
        """Return the event's kind and region as they are published."""
        return "zone_left", Region(self.zone, dwell_s=round(self.dwell_s, 3), reason=self.reason)

    def text(self, label: str) -> str:
        """Return it as readable text."""
        reason = "" if self.reason == "moved" else f" ({self.reason})"
        return f"{_name(self.obj_id, label)} left {self.zone} after {self.dwell_s:.1f} s{reason}"


@dataclass(frozen=True, slots=True)
class LineCrossed:
    """An object passed from one side of a line to the other."""

    line: str
    obj_id: int
    direction: Direction

    def published(self) -> tuple[EventKind, Region]:
        """Return the event's kind and region as they are published."""
        return "line_crossed", Region(self.line, direction=self.direction)

    def text(self, label: str) -> str:
        """Return it as readable text."""
        return f"{_name(self.obj_id, label)} crossed {self.line} {self.direction}"


RegionEvent = ZoneEntered | ZoneLeft | LineCrossed


class RegionMonitor:
    """Zones and lines of one stream.

    Args:
        zones: By name.
        lines: By name.
    """

    def __init__(self, zones: Mapping[str, ZoneConfig], lines: Mapping[str, LineConfig]) -> None:
        self._zone_settings = dict(zones)
        self._line_settings = dict(lines)
        self._size = (0, 0)
        self._zones: dict[str, _Zone] = {}
        self._lines: dict[str, _Line] = {}
        self._counts: dict[str, Counter[str]] = {kind: Counter() for kind in ("entered", "left", "forward", "backward")}

    def update(self, result: ObjectResult, now_ns: int) -> list[RegionEvent]:
        """Take an object that is seen on a frame.

        Args:
            result: Its mask, not empty.
            now_ns: The frame's time on the stream's own clock.
        """
        self._rasterize(result.size)
        events: list[RegionEvent] = []
        for name, zone in self._zones.items():
            events += zone.update(name, result, now_ns)
        for name, line in self._lines.items():
            events += line.update(name, result)
        return self._counted(events)

    def forget(self, obj_id: int, now_ns: int, reason: LeaveReason) -> list[RegionEvent]:
        """Drop an object that is lost or removed: it leaves the zones that it is in."""
        for line in self._lines.values():
            line.seen.pop(obj_id, None)
        holding = [(name, zone) for name, zone in self._zones.items() if obj_id in zone.inside]
        return self._counted([zone.leave(name, obj_id, now_ns, reason) for name, zone in holding])

    def clear(self, now_ns: int) -> list[RegionEvent]:
        """Drop all objects."""
        objects = {obj_id for zone in self._zones.values() for obj_id in zone.inside}
        for line in self._lines.values():
            line.seen.clear()
        return [event for obj_id in sorted(objects) for event in self.forget(obj_id, now_ns, "reset")]

    def cut(self) -> None:
        """Begin a new epoch: positions before and after it are unrelated, so no object crosses a line."""
        for line in self._lines.values():
            line.seen.clear()

    def counts(self) -> RegionCounts | None:
        """Return what happened since the worker started; None without zones and lines."""
        if not self._zone_settings and not self._line_settings:
            return None
        zones, lines, counts = self._zone_settings, self._line_settings, self._counts
        return RegionCounts(
            inside={name: len(self._zones[name].inside) if name in self._zones else 0 for name in zones},
            entered={name: counts["entered"][name] for name in zones},
            left={name: counts["left"][name] for name in zones},
            forward={name: counts["forward"][name] for name in lines},
            backward={name: counts["backward"][name] for name in lines},
        )

    def change(
        self, zones: Mapping[str, ZoneConfig], lines: Mapping[str, LineConfig], now_ns: int
    ) -> list[RegionEvent]:
        """Switch to other settings. Unchanged zones and lines keep their objects; objects leave the other zones."""
        gone = [(name, zone) for name, zone in self._zones.items() if zones.get(name) != self._zone_settings[name]]
        left: list[RegionEvent] = [
            zone.leave(name, obj_id, now_ns, "removed") for name, zone in gone for obj_id in sorted(zone.inside)
        ]
        self._zones = {name: kept for name, kept in self._zones.items() if zones.get(name) == self._zone_settings[name]}
        self._lines = {name: kept for name, kept in self._lines.items() if lines.get(name) == self._line_settings[name]}
        self._zone_settings, self._line_settings = dict(zones), dict(lines)
        if self._size != (0, 0):
            self._build(self._size)
        return self._counted(left)

    def _rasterize(self, size: tuple[int, int]) -> None:
        """Make zones and lines for frames of a size. Zones keep their objects; positions of the old size are void."""
        if size == self._size:
            return
        self._size = size
        inside = {name: zone.inside for name, zone in self._zones.items()}
        self._zones.clear()
        self._lines.clear()
        self._build(size)
        for name, zone in self._zones.items():
            zone.inside = inside.get(name, {})

    def _build(self, size: tuple[int, int]) -> None:
        """Make the zones and lines that do not exist yet."""
        for name, zone in self._zone_settings.items():
            if name not in self._zones:
                self._zones[name] = _Zone(polygon_mask([zone], size), zone.share)
                if not self._zones[name].mask.any():
                    log.warning(
                        "zone %s is outside the frame, which is %dx%d pixels: nothing can enter it", name, *size
                    )
        for name, line in self._line_settings.items():
            if name not in self._lines:
                self._lines[name] = _Line(*_ends(line, size), band_px=_BAND * float(np.hypot(*size)))

    def _counted(self, events: list[RegionEvent]) -> list[RegionEvent]:
        for event in events:
            kind, name = _count_of(event)
            self._counts[kind][name] += 1
        return events


def _name(obj_id: int, label: str) -> str:
    return f"{label} ({obj_id})" if label else f"object {obj_id}"


def _count_of(event: RegionEvent) -> tuple[str, str]:
    match event:
        case ZoneEntered(zone=zone):
            return "entered", zone
        case ZoneLeft(zone=zone):
            return "left", zone
        case LineCrossed(line=line, direction=direction):
            return direction, line


@dataclass(slots=True)
class _Zone:
    """A zone at the size of a frame.

    Attributes:
        mask: ``bool [H, W]``.
        share: An object is inside if at least this share of its mask is.
        inside: Object -> when it entered, ns.
    """

    mask: NDArray[np.bool_]
    share: float
    inside: dict[int, int] = field(default_factory=dict)

    def update(self, name: str, result: ObjectResult, now_ns: int) -> Iterator[RegionEvent]:
        x, y, w, h = result.roi
        share = np.count_nonzero(self.mask[y : y + h, x : x + w] & result.mask) / result.area
        if result.obj_id not in self.inside:
            if share >= self.share:
                self.inside[result.obj_id] = now_ns
                yield ZoneEntered(name, result.obj_id)
        elif share < self.share * _LEAVE_BELOW:
            yield self.leave(name, result.obj_id, now_ns, "moved")

    def leave(self, name: str, obj_id: int, now_ns: int, reason: LeaveReason) -> ZoneLeft:
        # A looping file starts over: time that runs backwards is not dwell time.
        dwell_s = max(now_ns - self.inside.pop(obj_id), 0) / 1e9
        return ZoneLeft(name, obj_id, dwell_s, reason)


@dataclass(slots=True)
class _Line:
    """A line at the size of a frame.

    Attributes:
        start: x, y in pixels.
        end: x, y in pixels.
        band_px: Half width of the band that counts as neither side.
        seen: Object -> its side and centroid when it was last seen outside the band.
    """

    start: Point
    end: Point
    band_px: float
    seen: dict[int, tuple[bool, Point]] = field(default_factory=dict)

    def update(self, name: str, result: ObjectResult) -> Iterator[RegionEvent]:
        distance = _signed_distance(self.start, self.end, result.centroid)
        if abs(distance) <= self.band_px:
            return
        right = distance > 0
        before = self.seen.get(result.obj_id)
        self.seen[result.obj_id] = right, result.centroid
        if before is not None and before[0] != right and self._between_ends(before[1], result.centroid):
            yield LineCrossed(name, result.obj_id, "forward" if right else "backward")

    def _between_ends(self, before: Point, after: Point) -> bool:
        """Whether the path from one side to the other passes between the ends."""
        return _signed_distance(before, after, self.start) * _signed_distance(before, after, self.end) <= 0


def _signed_distance(start: Point, end: Point, point: Point) -> float:
    """Distance of a point from the endless line through two others, > 0 on its right; y points down."""
    (x0, y0), (x1, y1) = start, end
    cross = (x1 - x0) * (point[1] - y0) - (y1 - y0) * (point[0] - x0)
    return cross / float(np.hypot(x1 - x0, y1 - y0))


def _ends(line: LineConfig, size: tuple[int, int]) -> tuple[Point, Point]:
    return _pixels(line.start, line.coords, size), _pixels(line.end, line.coords, size)


def _pixels(point: Point, coords: str, size: tuple[int, int]) -> Point:
    return (point[0] * size[0], point[1] * size[1]) if coords == "normalized" else point
