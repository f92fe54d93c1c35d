"""Decides which of the masks that a look has found are new objects. Pure functions over masks on the grid.

The rules are those that public systems agree on: a mask is new if it barely overlaps any tracked one and most of it is
uncovered (SAM-Track, SAM 3), of masks inside each other one stays (AutoSeg-SAM2), and an object is tentative until it
has been seen several times (DEVA; ultralytics after complaints about ghosts).
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
"""IoU with a tracked object from which a mask is not new."""
_MIN_UNCOVERED: Final = 0.8
"""Share of a new mask that no tracked object covers."""
_MIN_ALLOWED: Final = 0.5
"""Share of a new mask inside the region."""
_SAME: Final = 0.6
"""IoU of two masks of one look from which they are one object."""
_INSIDE: Final = 0.8
"""Share of a mask inside a larger one from which it is a part of it."""
_SEEN_AGAIN: Final = 0.5
"""IoU with its earlier mask from which a tentative object was seen again."""
_SAME_SIZE: Final = 0.6
"""Ratio of two areas from which a mask close by is the object that has moved."""
_MAX_MISSED: Final = 2
"""Looks in a row without a tentative object after which it is dropped."""
_DUPLICATE: Final = 0.7
"""IoU from which two tracked masks are one object, if that lasts."""

_MAX_TENTATIVE: Final = 64


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """A mask of one look.

    Attributes:
        mask: ``bool [GRID, GRID]``.
        score: The better of two masks has the higher score.
        number: Its place among the look's candidates.
        label: Name of the object, if a prompter gave one.
        key: The prompter's own name of the object, if it has one.
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
    """An object that was seen, but not often enough to be tracked.

    Attributes:
        sight: How it was seen last.
        seen: How many times it was seen.
        missed: How many looks in a row did not see it.
    """

    sight: Sight
    seen: int = 1
    missed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Rules:
    """What may be found.

    Attributes:
        level: Of masks inside each other: the largest, the smallest, or all.
        min_area: Smallest mask, as a share of the picture.
        max_area: Largest mask.
        confirm: How many times an object must be seen.
        allowed: ``bool [GRID, GRID]``: where.
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
        confirmed: Objects that have been seen often enough, the best first.
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
    """Compare what a look has found with what is tracked, and with what earlier looks have found.

    Args:
        sights: What the look has found.
        tracked: Masks of the tracked objects on the look's frame.
        tentative: Objects of earlier looks.
        rules: What may be found.
        dismissed: Masks of objects that a user has removed: they are not new.
        only_known: The look was about tentative objects alone: what else it has found is not used.
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
    """Return one sight of each object: of equal masks the best, of masks inside each other what ``level`` says."""
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
    """Return whether a mask is one of those."""
    return any(iou(mask, other) >= _SEEN_AGAIN for other in others)


def duplicates(tracked: Sequence[tuple[int, bool, BoolMask]]) -> dict[int, int]:
    """Return removable objects that show the same as another one, with the id of that one.

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
    """Return whether a mask is as large as an earlier one, and within its radius: thin things soon lose their IoU."""
    sizes = sorted((int(before.mask.sum()), int(now.mask.sum())))
    if sizes[0] < _SAME_SIZE * sizes[1]:
        return False
    places = [np.argwhere(mask).mean(axis=0) for mask in (before.mask, now.mask)]
    return float(np.hypot(*(places[1] - places[0]))) <= float(np.sqrt(sizes[0] / np.pi))


def _are_one(one: Sight, other: Sight, level: Level) -> bool:
    if iou(one.mask, other.mask) >= _SEEN_AGAIN:
        return True
    return level != "all" and inside(one.mask, other.mask) >= _INSIDE
