"""Scores ``find`` on a generated scene: births, deaths, identity switches, duplicates.

A visit is a stretch of frames in which an object is visible: at least ``MIN_AREA`` of the picture, whether it touches
the border or not. It is found if a tracked object covers it within two looks of its beginning. All frames are checked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streamseg.config.schema import StreamConfig

BoolMask = NDArray[np.bool_]

SAME_IOU = 0.5
"""IoU from which a tracked mask shows an object."""
LOST_AFTER_S = StreamConfig(source="").lost_after_s
"""A tracked object that is not seen for so long is retired."""
MIN_AREA = 0.005
"""Smallest visible part of an object that counts, as a share of the picture."""


@dataclass(slots=True)
class Visit:
    """One stretch of frames in which an object is visible.

    Attributes:
        began: First frame.
        found: First frame on which a tracked object showed it; None if none did.
        ids: Ids of the tracked objects that showed it, in their order.
    """

    began: int
    found: int | None = None
    ids: list[int] = field(default_factory=list)


class FindScore:
    """Compares tracked masks with the truth, frame by frame.

    Args:
        within: Frames within which a visit has to be found: those of two looks.
        retired_within: Frames after a visit's end after which no tracked object may be left of it.
    """

    def __init__(self, within: int, retired_within: int) -> None:
        self.visits: list[Visit] = []
        self.duplicate_frames = 0
        self.ghost_frames = 0
        self.late_deaths = 0
        self.frames = 0
        self._within = within
        self._retired_within = retired_within
        self._open: dict[int, Visit] = {}
        self._ended: dict[int, tuple[int, int]] = {}
        self._duplicates: Counter[tuple[int, int]] = Counter()

    @classmethod
    def of(cls, every_s: float, step: int, fps: int) -> FindScore:
        """Return a score for looks every so many seconds, where every ``step``-th frame of a scene is tracked."""
        return cls(within=int(2 * every_s * fps), retired_within=int(LOST_AFTER_S * fps) + step)

    def add(self, n: int, truth: Mapping[int, BoolMask], tracked: Mapping[int, BoolMask], ids: set[int]) -> None:
        """Take a frame.

        Args:
            n: Its number.
            truth: Object -> its exact mask.
            tracked: Id of a tracked object -> its mask.
            ids: Ids of all tracked objects, visible or not.
        """
        self.frames += 1
        shown: set[int] = set()
        for obj, mask in truth.items():
            if mask.mean() < MIN_AREA:
                shown.update(obj_id for obj_id, other in tracked.items() if _is_part(other, mask))
                self._close(obj, n)
                if mask.any():  # not gone yet
                    self._ended |= {obj_id: (obj, n) for obj_id, (of, _) in self._ended.items() if of == obj}
                continue
            visit = self._open.get(obj)
            if visit is None:
                visit = self._open[obj] = Visit(n)
                self.visits.append(visit)
            by = [obj_id for obj_id, other in tracked.items() if _iou(mask, other) >= SAME_IOU]
            shown.update(by)
            if by and visit.found is None:
                visit.found = n
            if by and (not visit.ids or visit.ids[-1] not in by):
                visit.ids.append(by[0])
            if len(by) > 1:
                self.duplicate_frames += 1
                self._duplicates[min(by), max(by)] += 1
        self.ghost_frames += len({obj_id for obj_id, mask in tracked.items() if mask.any()} - shown)
        for obj_id, (_, since) in list(self._ended.items()):
            if obj_id not in ids or obj_id in shown:
                del self._ended[obj_id]
            elif n - since > self._retired_within:
                self.late_deaths += 1
                del self._ended[obj_id]

    def _close(self, obj: int, n: int) -> None:
        visit = self._open.pop(obj, None)
        if visit is not None:
            if n - visit.began <= self._within and visit.found is None:
                self.visits.remove(visit)  # too short to be found in time
            self._ended |= dict.fromkeys(visit.ids[-1:], (obj, n))

    @property
    def duplicates(self) -> int:
        """Pairs of tracked objects that showed one object on some frame."""
        return len(self._duplicates)

    def recall(self, last: int) -> float:
        """Return the share of visits that were found in time, of those that began early enough before ``last``."""
        counted = [visit for visit in self.visits if visit.began + self._within <= last]
        found = [visit for visit in counted if visit.found is not None and visit.found - visit.began <= self._within]
        return len(found) / len(counted) if counted else float("nan")

    @property
    def switches(self) -> int:
        """How often another tracked object took over a visit."""
        return sum(len(visit.ids) - 1 for visit in self.visits if visit.ids)


def _iou(one: BoolMask, other: BoolMask) -> float:
    both = int((one | other).sum())
    return int((one & other).sum()) / both if both else 0.0


def _is_part(one: BoolMask, other: BoolMask) -> bool:
    return bool(one.any()) and int((one & other).sum()) >= 0.5 * int(one.sum())
