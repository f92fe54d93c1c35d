"""Finds the objects of one stream without a prompt: looks, confirms, starts and retires.

A look segments points that no tracked mask covers, piece by piece (``Tracker.candidates``). Its frame is the newest one
when its first piece runs: what it finds there is compared with what is tracked there. What is new is tentative; short
looks at its place follow until it was seen often enough. Then it starts on the frame on which it was seen last, like a
prompt that names its frame, unless something has started there meanwhile.
"""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Iterator
from typing import Final

import msgspec
import numpy as np

from streamseg.config.schema import FindConfig
from streamseg.errors import FrameExpiredError, PromptError
from streamseg.frame import Frame
from streamseg.protocol.published import FindCounts
from streamseg.tracker.types import BoolMask, Candidate, ObjectResult, Tracker
from streamseg.worker.find.association import (
    Rules,
    Sight,
    Tentative,
    associate,
    duplicates,
    is_known,
    is_uncovered,
    new_sights,
)
from streamseg.worker.find.grid import allowed_cells, deepest_point, free_points, to_grid
from streamseg.worker.find.movement import Movement
from streamseg.worker.stream_objects import Latest, StreamObjects
from streamseg.worker.track_errors import raise_if_device_lost

log = logging.getLogger(__name__)

_POINTS_PER_SIDE: Final = 12
"""Of a look. The next look's points lie between them."""
_CHECKS_PER_LOOK: Final = 20
"""How often tentative objects are looked at, within the time between two looks."""
_MAX_DISMISSED: Final = 32
_EARLY: Final = 0.25
"""Share of the time between two looks after which movement makes the next one due."""


class ObjectFinder:
    """Finds objects of one stream. Does nothing unless its settings are enabled.

    Args:
        objects: The stream's objects.
        tracker: The stream is open on it.

    Attributes:
        stream: Id of the stream.
        config: The settings.
    """

    def __init__(self, objects: StreamObjects, tracker: Tracker) -> None:
        self.stream = objects.name
        self.config = FindConfig(enabled=False)
        self._objects = objects
        self._tracker = tracker
        self._movement = Movement()
        self._counts = FindCounts()
        self._dismissed: deque[BoolMask] = deque(maxlen=_MAX_DISMISSED)
        self._allowed: tuple[tuple[int, int], BoolMask] | None = None
        self._on_grid: dict[int, tuple[ObjectResult, BoolMask]] = {}
        self._overlapping: dict[int, int] = {}
        self._looks = 0
        self._spent_s = 0.0
        self.forget()

    @property
    def share(self) -> float:
        """Share of the device's time that looks may take."""
        return self.config.share

    @property
    def has_work(self) -> bool:
        """Whether a piece of a look can run.

        None can while prompts wait for the next frame: what they start has no mask to compare with yet.
        """
        return self._work is not None and not self._objects.table.has_pending

    def counts(self) -> FindCounts | None:
        """Return what was done; None if it is off."""
        if not self.config.enabled:
            return None
        return msgspec.structs.replace(self._counts, tentative=len(self._tentative))

    def change(self, config: FindConfig) -> None:
        """Switch to other settings. What is tracked stays."""
        if config != self.config:
            self.config = config
            self._allowed = None
            self.forget()

    def forget(self) -> None:
        """Drop the look that is under way and what is tentative. The next tracked frame is looked at."""
        self._work: Iterator[None] | None = None
        self._tentative: list[Tentative] = []
        self._looked_ns: int | None = None
        self._checked_ns = 0
        self._movement.forget()

    def start_over(self) -> None:
        """The same, and what users dismissed may be found again."""
        self.forget()
        self._dismissed.clear()

    def dismiss(self, obj_id: int) -> None:
        """Note that a user removes an object: if it was found, it is not found again where it is."""
        known, latest = self._objects.table.objects.get(obj_id), self._objects.latest
        if known is not None and known.is_found and latest is not None and obj_id in latest.results:
            self._dismissed.append(to_grid(latest.results[obj_id].full_mask))

    # --- frames -----------------------------------------------------------------------------------------------------

    def note_tracked(self, frame: Frame) -> None:
        """Take a tracked frame: retire what is lost, and begin a look if one is due."""
        if not self.config.enabled:
            return
        self._retire_lost()
        latest, now_ns = self._objects.latest, frame.stamps.stream_time_ns
        if self._work is not None or latest is None or latest.frame_id != frame.frame_id:
            return
        since_ns = None if self._looked_ns is None else now_ns - self._looked_ns
        every_ns = self.config.every_s * 1e9
        if since_ns is None or not 0 <= since_ns < every_ns or self._moves(frame, latest, since_ns):
            self._looked_ns = self._checked_ns = now_ns
            self._movement.take_reference(frame, self._free(latest))
            self._begin(self._look())
        elif self._tentative and now_ns - self._checked_ns >= every_ns / _CHECKS_PER_LOOK:
            self._checked_ns = now_ns
            self._begin(self._check())

    def _moves(self, frame: Frame, latest: Latest, since_ns: int) -> bool:
        """Return whether more moves outside of all masks than when the last look was due."""
        if since_ns < _EARLY * self.config.every_s * 1e9:
            return False
        return self._movement.grows(frame, lambda: self._free(latest))

    def _retire_lost(self) -> None:
        for obj in list(self._objects.table.objects.values()):
            if obj.is_found and self._objects.states.state(obj.obj_id) == "lost":
                self._retire(obj.obj_id, f"not seen for {self._objects.states.lost_after_ns / 1e9:g} s")

    def _retire(self, obj_id: int, why: str) -> None:
        self._objects.retire(obj_id, why)
        self._count(retired=self._counts.retired + 1)

    # --- looks ------------------------------------------------------------------------------------------------------

    def work(self) -> None:
        """Do one piece of the look that is under way. An error ends the look; the worker goes on.

        Raises:
            Exception: the device is lost.
        """
        assert self._work is not None
        try:
            next(self._work)
        except StopIteration:
            self._work = None
        except FrameExpiredError:
            self._work = None
            self._count(expired=self._counts.expired + 1)
        except Exception as error:
            raise_if_device_lost(error)
            self._work = None
            self._count(failed=self._counts.failed + 1)
            if self._counts.failed.bit_count() == 1:  # the first, second, fourth, ...: a look may fail every time
                log.exception("stream %s: a look for objects failed, %d so far", self.stream, self._counts.failed)
        if self._work is None:
            self._count(look_ms=round(1000 * self._spent_s, 2))

    def note_run(self, seconds: float) -> None:
        """Note how long pieces of work took between two frames."""
        self._spent_s += seconds
        self._count(longest_delay_ms=round(max(self._counts.longest_delay_ms, 1000 * seconds), 2))

    def _begin(self, work: Iterator[None]) -> None:
        self._work, self._spent_s = work, 0.0

    def _newest(self) -> Latest:
        """Return the frame of a look, in its first piece: the one that ``Tracker.candidates`` segments."""
        latest = self._objects.latest
        assert latest is not None  # a look begins after a tracked frame
        return latest

    def _look(self) -> Iterator[None]:
        """Look at the whole picture."""
        self._looks += 1
        latest = self._newest()
        tracked = self._tracked(latest)
        self._remove_duplicates(latest, tracked)
        free = self._free(latest)
        for one in self._tentative:
            free &= ~one.sight.mask
        points = [deepest_point(one.sight.mask) for one in self._tentative]
        points += free_points(_POINTS_PER_SIDE, free, shifted=self._looks % 2 == 0)
        yield from self._see(latest, points, only_known=False)
        self._count(looks=self._counts.looks + 1)

    def _check(self) -> Iterator[None]:
        """Look at the tentative objects."""
        points = [deepest_point(one.sight.mask) for one in self._tentative]
        yield from self._see(self._newest(), points, only_known=True)

    def _see(self, latest: Latest, points: list[tuple[float, float]], *, only_known: bool) -> Iterator[None]:
        """Segment points, decide what is new, and start what has been seen often enough."""
        tracked, rules = list(self._tracked(latest).values()), self._rules(latest)
        sights: list[Sight] = []
        found: dict[int, Candidate] = {}  # those of the sights alone: logits at 1024 px take 256 kB each
        count = itertools.count()
        if points:
            for part in self._tracker.candidates(self.stream, points, self.config.quality):
                seen = {next(count): one for one in part}
                new = new_sights([_sight(one, number) for number, one in seen.items()], tracked, rules)
                sights += new
                found.update({sight.number: seen[sight.number] for sight in new})
                yield
        outcome = associate(
            sights,
            tracked,
            self._tentative,
            rules,
            dismissed=tuple(self._dismissed),
            only_known=only_known,
        )
        self._follow_dismissed(sights)
        self._tentative = outcome.tentative
        started: set[int] = set()
        for sight in outcome.confirmed:
            yield  # each start is a piece of its own
            if not self._has_room():
                return
            if self._is_new(sight.mask, started):
                self._start(found[sight.number].full_mask(latest.size), latest.frame_id, sight.label, started)

    def _start(self, mask: BoolMask, frame_id: int, label: str, started: set[int]) -> None:
        """Start an object, unless it turns out to be tracked; add its id to what the look has started."""
        try:
            obj_id = self._objects.start_found(
                mask,
                frame_id,
                label=label,
                origin="auto",
                accept=lambda current: self._is_new(to_grid(current.full_mask), started),
            )
        except FrameExpiredError:
            raise
        except PromptError as error:
            log.info("stream %s: a found object was not started: %s", self.stream, error)
        else:
            if obj_id is not None:
                started.add(obj_id)
                self._count(found=self._counts.found + 1)

    def _is_new(self, mask: BoolMask, started: set[int]) -> bool:
        """Return whether a mask is new among the objects of the newest frame.

        They may have changed during the look. What the look itself has started was compared already.
        """
        present = self._tracked(self._newest())
        return is_uncovered(mask, [other for obj_id, other in present.items() if obj_id not in started])

    def _has_room(self) -> bool:
        found = sum(obj.is_found for obj in self._objects.table.objects.values())
        return found < self.config.max_objects and not self._objects.suspended  # those would be found again

    def _follow_dismissed(self, sights: list[Sight]) -> None:
        """Let dismissed objects move a little from look to look."""
        for place, mask in enumerate(self._dismissed):
            seen = next((sight.mask for sight in sights if is_known(sight.mask, (mask,))), None)
            if seen is not None:
                self._dismissed[place] = seen

    def _remove_duplicates(self, latest: Latest, tracked: dict[int, BoolMask]) -> None:
        """Retire found objects that have shown the same as another object in two looks."""
        table = self._objects.table.objects
        found = duplicates(
            [(obj_id, table[obj_id].is_found, mask) for obj_id, mask in tracked.items() if obj_id in table]
        )
        again = {obj_id: other for obj_id, other in found.items() if self._overlapping.get(obj_id) == other}
        self._overlapping = found
        for obj_id, other in again.items():
            self._retire(obj_id, f"it shows the same as object {other}")

    # --- masks ------------------------------------------------------------------------------------------------------

    def _tracked(self, latest: Latest) -> dict[int, BoolMask]:
        """Return the masks of the visible objects. Each is kept until its result changes: it takes 8 ms for 1080p."""
        visible = {obj_id: result for obj_id, result in latest.results.items() if result.area}
        known = self._on_grid
        self._on_grid = {
            obj_id: known[obj_id]
            if obj_id in known and known[obj_id][0] is result
            else (result, to_grid(result.full_mask))
            for obj_id, result in visible.items()
        }
        return {obj_id: mask for obj_id, (_, mask) in self._on_grid.items()}

    def _free(self, latest: Latest) -> BoolMask:
        """Return the allowed cells that no tracked object covers, as a new array."""
        covered = [*self._tracked(latest).values(), np.zeros_like(self._cells(latest))]
        return np.asarray(self._cells(latest) & ~np.logical_or.reduce(covered), dtype=np.bool_)

    def _cells(self, latest: Latest) -> BoolMask:
        if self._allowed is None or self._allowed[0] != latest.size:
            self._allowed = latest.size, allowed_cells(self.config.region, self.config.ignore, latest.size)
        return self._allowed[1]

    def _rules(self, latest: Latest) -> Rules:
        config = self.config
        return Rules(config.level, config.min_area, config.max_area, config.confirm, self._cells(latest))

    def _count(self, **changed: float) -> None:
        self._counts = msgspec.structs.replace(self._counts, **changed)


def _sight(one: Candidate, number: int) -> Sight:
    return Sight(to_grid(one.logits > 0), one.iou_prediction * one.stability, number)
