"""Decides which masks of a look are new objects. Pure functions over masks on the grid.

The rules follow published systems: a mask is new if it barely overlaps any tracked one and most of it is uncovered
(SAM-Track, SAM 3), only one of several nested masks is kept (AutoSeg-SAM2), and an object is tentative until it has
been seen several times (DEVA; ultralytics after complaints about ghosts).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from streamseg.tracker.types import BoolMask

Level = Literal["whole", "part", "all"]

MAX_OVERLAP: Final = 0.15
"""A mask with at least this IoU with a tracked object is not new."""
_MIN_UNCOVERED: Final = 0.8
"""Minimum share of a new mask that no tracked object covers."""
_MIN_ALLOWED: Final = 0.5
"""Minimum share of a new mask inside the region."""
_SAME: Final = 0.6
"""Two masks of one look with at least this IoU are one object."""
_INSIDE: Final = 0.8
"""A mask with at least this share inside a larger one is a part of it."""
_SEEN_AGAIN: Final = 0.5
"""A mask with at least this IoU with a tentative object's earlier one shows it again."""
_SAME_SIZE: Final = 0.6
"""A mask nearby with at least this area ratio is the object after a move."""
_MAX_MISSED: Final = 2
"""A tentative object is dropped after this many looks in a row without it."""
_DUPLICATE: Final = 0.7
"""Two tracked masks with at least this IoU are one object, if that lasts."""

_MAX_TENTATIVE: Final = 64


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """A mask of one look.

    Attributes:
        mask: ``bool [GRID, GRID]``.
        score: The better of two masks has the higher score.
        number: Its index among the look's candidates.
        label: Name of the object, if a prompter gave one.
        key: The prompter's id for the object, if it has one.
    """

    mask: BoolMask
    score: float
    number: int
    label: str = ""
    key: str = ""

    @property
    def area(self) -> float:
        """Share of the picture."""
        return float(self.mask.mean())


@dataclass(frozen=True, slots=True, eq=False)
class Tentative:
    """An object that was not yet seen often enough to be tracked.

    Attributes:
        sight: Its last sighting.
        seen: How many times it was seen.
        missed: Number of looks in a row that did not see it.
    """

    sight: Sight
    seen: int = 1
    missed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Rules:
    """What may be found.

    Attributes:
        level: Which of several nested masks to keep: the largest, the smallest, or all.
        min_area: Smallest mask, as a share of the picture.
        max_area: Largest mask.
        confirm: How many times an object must be seen before it is tracked.
        allowed: ``bool [GRID, GRID]``: where objects may be found.
    """

    level: Level
    min_area: float
    max_area: float
    confirm: int
    allowed: BoolMask


@dataclass(frozen=True, slots=True, eq=False)
class Association:
    """The outcome of a look.

    Attributes:
        confirmed: Objects that have been seen often enough, best first.
        tentative: The others.
    """

    confirmed: list[Sight]
    tentative: list[Tentative]


def associate(
    sights: Sequence[Sight],
    tracked: Sequence[BoolMask],
    tentative: Sequence[Tentative],
    rules: Rules,
    *,
    dismissed: Sequence[BoolMask] = (),
    only_known: bool = False,
) -> Association:
    """Match the masks of a look with the tracked objects and with those of earlier looks.

    Args:
        sights: Masks that the look found.
        tracked: Masks of the tracked objects on the look's frame.
        tentative: Objects of earlier looks.
        rules: What may be found.
        dismissed: Masks of objects that a user has removed: they are not new.
        only_known: The look checked tentative objects only: its other masks are ignored.
    """
    possible = [sight for sight in new_sights(sights, tracked, rules) if not is_known(sight.mask, dismissed)]
    again: list[Tentative] = []
    claimed: list[Sight] = []
    for one in sorted(tentative, key=lambda one: -one.seen):
        found = _seen_again(one, [sight for sight in possible if sight not in claimed])
        if found is not None:
            claimed.append(found)
            named = replace(found, label=found.label or one.sight.label, key=found.key or one.sight.key)
            again.append(Tentative(named, one.seen + 1))
        elif one.missed + 1 < _MAX_MISSED:
            again.append(replace(one, missed=one.missed + 1))
    known = [one.sight for one in again]
    fresh: list[Tentative] = []
    if not only_known:
        rest = [sight for sight in possible if not any(_are_one(sight, other, rules.level) for other in known)]
        fresh = [Tentative(sight) for sight in suppress(rest, rules.level)]
    every = [*again, *fresh]
    # Two tentative objects may have grown into one.
    distinct = suppress([one.sight for one in every if not one.missed], rules.level)
    every = [one for one in every if one.missed or one.sight in distinct]
    confirmed = [one.sight for one in every if one.seen >= rules.confirm and not one.missed]
    waiting = [one for one in every if one.sight not in confirmed]
    return Association(sorted(confirmed, key=lambda sight: -sight.score), waiting[:_MAX_TENTATIVE])


def new_sights(sights: Sequence[Sight], tracked: Sequence[BoolMask], rules: Rules) -> list[Sight]:
    """Return the masks of an allowed size and place that no tracked object explains."""
    if not sights:
        return []
    masks = np.stack([sight.mask for sight in sights])
    areas = masks.mean(axis=(1, 2))
    fits = (areas >= rules.min_area) & (areas <= rules.max_area) & (areas > 0)
    filled = np.maximum(masks.sum(axis=(1, 2)), 1)
    fits &= (masks & rules.allowed).sum(axis=(1, 2)) >= _MIN_ALLOWED * filled
    fits &= _uncovered(masks, tracked)
    return [sight for sight, fit in zip(sights, fits, strict=True) if fit]


def is_uncovered(mask: BoolMask, tracked: Sequence[BoolMask]) -> bool:
    """Return whether no tracked object explains a mask."""
    return bool(_uncovered(mask[None], tracked)[0])


def _uncovered(masks: NDArray[np.bool_], tracked: Sequence[BoolMask]) -> NDArray[np.bool_]:
    """Return ``bool [N]``: which of ``[N, GRID, GRID]`` masks no tracked object explains."""
    if not tracked:
        return np.ones(len(masks), np.bool_)
    covered = np.logical_or.reduce(tracked)
    open_share = (masks & ~covered).sum(axis=(1, 2)) >= _MIN_UNCOVERED * masks.sum(axis=(1, 2))
    return np.asarray(open_share & (ious(masks, np.stack(tracked)).max(axis=1) < MAX_OVERLAP), dtype=np.bool_)


def suppress(sights: Sequence[Sight], level: Level) -> list[Sight]:
    """Return one sight per object: the best of equal masks, and the one of nested masks that ``level`` selects."""
    kept: list[Sight] = []
    for sight in sorted(sights, key=lambda sight: -sight.score):
        if all(iou(sight.mask, other.mask) < _SAME for other in kept):
            kept.append(sight)
    if level == "all":
        return kept
    kept.sort(key=lambda sight: -sight.area if level == "whole" else sight.area)
    chosen: list[Sight] = []
    for sight in kept:
        if all(inside(sight.mask, other.mask) < _INSIDE for other in chosen):
            chosen.append(sight)
    return chosen


def is_known(mask: BoolMask, others: Sequence[BoolMask]) -> bool:
    """Return whether a mask shows the same as one of the others."""
    return any(iou(mask, other) >= _SEEN_AGAIN for other in others)


def duplicates(tracked: Sequence[tuple[int, bool, BoolMask]]) -> dict[int, int]:
    """Return the removable objects that show the same as another one: id -> id of the other.

    Args:
        tracked: Id, whether it may be removed, and mask of each object, oldest first.
    """
    found: dict[int, int] = {}
    for place, (obj_id, removable, mask) in enumerate(tracked):
        for other_place, (other_id, other_removable, other) in enumerate(tracked):
            stays = other_place < place or not other_removable
            if not removable or other_id == obj_id or other_id in found or not stays:
                continue
            if iou(mask, other) >= _DUPLICATE:
                found[obj_id] = other_id
                break
    return found


def iou(one: BoolMask, other: BoolMask) -> float:
    """Return the IoU of two masks; 0 if both are empty."""
    common = int((one & other).sum())
    both = int(one.sum()) + int(other.sum()) - common
    return common / both if both else 0.0


def inside(one: BoolMask, other: BoolMask) -> float:
    """Return the share of the smaller mask that lies in the larger one; 0 if it is empty."""
    smaller = min(int(one.sum()), int(other.sum()))
    return int((one & other).sum()) / smaller if smaller else 0.0


def ious(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return ``float32 [N, M]``: the IoU of each of ``[N, GRID, GRID]`` with each of ``[M, GRID, GRID]``."""
    first, second = (masks.reshape(len(masks), -1).astype(np.float32) for masks in (one, other))
    common = first @ second.T
    both = first.sum(axis=1)[:, None] + second.sum(axis=1)[None] - common
    result: NDArray[np.float32] = common / np.maximum(both, 1)
    return result


def _seen_again(one: Tentative, sights: Sequence[Sight]) -> Sight | None:
    """Return the sight that shows a tentative object: by its key, else by its mask."""
    if one.sight.key:
        return next((sight for sight in sights if sight.key == one.sight.key), None)
    best = max(sights, key=lambda sight: iou(sight.mask, one.sight.mask), default=None)
    if best is not None and (iou(best.mask, one.sight.mask) >= _SEEN_AGAIN or _moved(one.sight, best)):
        return best
    return None


def _moved(before: Sight, now: Sight) -> bool:
    """Return whether a mask is about as large as an earlier one and within its radius: thin objects soon lose IoU."""
    sizes = sorted((int(before.mask.sum()), int(now.mask.sum())))
    if sizes[0] < _SAME_SIZE * sizes[1]:
        return False
    places = [np.argwhere(mask).mean(axis=0) for mask in (before.mask, now.mask)]
    return float(np.hypot(*(places[1] - places[0]))) <= float(np.sqrt(sizes[0] / np.pi))


def _are_one(one: Sight, other: Sight, level: Level) -> bool:
    if iou(one.mask, other.mask) >= _SEEN_AGAIN:
        return True
    return level != "all" and inside(one.mask, other.mask) >= _INSIDE
