"""Finds the objects of one stream without a prompt: looks, confirms, starts and retires.

A look segments points that no tracked mask covers, piece by piece (``Tracker.candidates``). Its frame is the newest
one when its first piece runs; the tracker holds that frame until the look ends. The resulting masks are compared with
the tracked objects on that frame. A new object is tentative; short looks at its position follow until it was seen often
enough. It then starts on the frame of its last sighting, like a prompt that names its frame, unless another object
has started there meanwhile.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final

import msgspec
import numpy as np

from streamseg.config.schema import FindConfig
from streamseg.frame import Frame
from streamseg.protocol.published import FindCounts
from streamseg.tracker.types import BoolMask, Candidate, Tracker
from streamseg.worker.find.association import (
    Rules,
    Sight,
    Tentative,
    associate,
    new_sights,
)
from streamseg.worker.find.found_objects import FoundObjects
from streamseg.worker.find.grid import allowed_cells, deepest_point, free_points, to_grid
from streamseg.worker.find.movement import Movement
from streamseg.worker.find.pieces import Pieces, milliseconds
from streamseg.worker.stream_objects import Latest
from streamseg.worker.track_errors import logged_only

_POINTS_PER_SIDE: Final = 12
"""Of a look. The next look's points lie between them."""
_CHECKS_PER_LOOK: Final = 20
"""How often tentative objects are looked at, within the time between two looks."""
_HOLDER: Final = "find"
_EARLY: Final = 0.25
"""Share of the time between two looks after which movement makes the next one due."""


class ObjectFinder:
    """Finds objects of one stream. Does nothing unless its settings are enabled.

    Args:
        found: The stream's found objects.
        tracker: The stream is open on it.

    Attributes:
        stream: Id of the stream.
        name: The same.
        config: The settings.
    """

    def __init__(self, found: FoundObjects, tracker: Tracker) -> None:
        self.stream = self.name = found.objects.name
        self.config = FindConfig(enabled=False)
        self._objects = found.objects
        self._found = found
        self._tracker = tracker
        self._movement = Movement()
        self._counts = FindCounts()
        self._looks = 0
        self._look_s = 0.0
        self._is_whole = False
        self._pieces = Pieces(f"stream {self.stream}: a look for objects", self._release)
        self._tentative: list[Tentative] = []
        self._looked_ns: int | None = None
        self._checked_ns = 0

    @property
    def share(self) -> float:
        """Share of the device's time that looks may take."""
        return self.config.share

    @property
    def has_work(self) -> bool:
        """Whether a piece of a look can run.

        None can while prompts wait for the next frame: their objects have no masks to compare with yet.
        """
        return self._pieces.under_way and not self._objects.table.has_pending

    def counts(self) -> FindCounts | None:
        """Return the counts of its work; None if it is off."""
        if not self.config.enabled:
            return None
        retired = self._found.retired["auto"]
        return msgspec.structs.replace(
            self._counts,
            tentative=len(self._tentative),
            retired=retired,
            expired=self._pieces.expired,
            failed=self._pieces.failed,
            look_ms=milliseconds(self._look_s),
            longest_delay_ms=milliseconds(self._pieces.longest_s),
        )

    def change(self, config: FindConfig) -> None:
        """Switch to other settings. Tracked objects stay."""
        if config != self.config:
            self.config = config
            self.forget()

    def forget(self) -> None:
        """Drop the current look and all tentative objects. The next tracked frame is looked at."""
        self._pieces.end()
        self._tentative = []
        self._looked_ns = None
        self._checked_ns = 0
        self._movement.forget()

    # --- frames -----------------------------------------------------------------------------------------------------

    def note_tracked(self, frame: Frame) -> None:
        """Process a tracked frame: retire lost objects, and begin a look if one is due."""
        if not self.config.enabled:
            return
        self._found.retire_lost("auto")
        latest, now_ns = self._objects.latest, frame.stamps.stream_time_ns
        if self._pieces.under_way or latest is None or latest.frame_id != frame.frame_id:
            return
        since_ns = None if self._looked_ns is None else now_ns - self._looked_ns
        every_ns = self.config.every_s * 1e9
        if since_ns is None or not 0 <= since_ns < every_ns or self._moves(frame, latest, since_ns):
            self._looked_ns = self._checked_ns = now_ns
            self._movement.take_reference(frame, self._free(latest))
            self._is_whole = True
            self._pieces.begin(self._look())
        elif self._tentative and now_ns - self._checked_ns >= every_ns / _CHECKS_PER_LOOK:
            self._checked_ns = now_ns
            self._is_whole = False
            self._pieces.begin(self._check())

    def _moves(self, frame: Frame, latest: Latest, since_ns: int) -> bool:
        """Return whether more moves outside of all masks than when the last look was due."""
        if since_ns < _EARLY * self.config.every_s * 1e9:
            return False
        return self._movement.grows(frame, lambda: self._free(latest))

    # --- looks ------------------------------------------------------------------------------------------------------

    def work(self) -> None:
        """Run one piece of the current look. An error ends the look; the worker goes on.

        Raises:
            Exception: The device is lost.
        """
        self._pieces.run()

    def note_run(self, seconds: float) -> None:
        """Note how long pieces of work took between two frames."""
        self._pieces.note_run(seconds)
        if self._is_whole and not self._pieces.under_way:
            self._look_s = self._pieces.spent_s

    def _release(self) -> None:
        with logged_only(self.stream, "a frame could not be released"):
            self._tracker.hold_frame(self.stream, _HOLDER, None)

    def _newest(self) -> Latest:
        """Return the newest frame and hold it for the look: ``candidates`` segments it."""
        latest = self._objects.latest
        assert latest is not None  # a look begins after a tracked frame
        self._tracker.hold_frame(self.stream, _HOLDER, latest.frame_id)
        return latest

    def _look(self) -> Iterator[None]:
        """Look at the whole picture."""
        self._looks += 1
        latest = self._newest()
        self._found.remove_duplicates()
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
        tracked, rules = list(self._found.tracked().values()), self._rules(latest)
        sights: list[Sight] = []
        found: dict[int, Candidate] = {}  # only those with a sight: logits at 1024 px take 256 kB each
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
            dismissed=tuple(self._found.dismissed),
            only_known=only_known,
        )
        self._found.follow_dismissed(sights)
        self._tentative = outcome.tentative
        started: set[int] = set()
        for sight in outcome.confirmed:
            yield  # each start is a separate piece
            if not self._found.has_room("auto", self.config.max_objects):
                return
            if not self._found.is_new(sight.mask, started):
                continue
            mask = found[sight.number].full_mask(latest.size)
            if self._found.start(mask, latest.frame_id, label=sight.label, origin="auto", started=started):
                self._count(found=self._counts.found + 1)

    # --- masks ------------------------------------------------------------------------------------------------------

    def _free(self, latest: Latest) -> BoolMask:
        """Return the allowed cells that no tracked object covers, as a new array."""
        covered = [*self._found.tracked().values(), np.zeros_like(self._cells(latest))]
        return np.asarray(self._cells(latest) & ~np.logical_or.reduce(covered), dtype=np.bool_)

    def _cells(self, latest: Latest) -> BoolMask:
        return allowed_cells(self.config.region, self.config.ignore, latest.size)

    def _rules(self, latest: Latest) -> Rules:
        config = self.config
        return Rules(config.level, config.min_area, config.max_area, config.confirm, self._cells(latest))

    def _count(self, **changed: float) -> None:
        self._counts = msgspec.structs.replace(self._counts, **changed)


def _sight(one: Candidate, number: int) -> Sight:
    return Sight(to_grid(one.logits > 0), one.iou_prediction * one.stability, number)
