"""The rules for prompts, shared by configuration, control process, worker and tracker.

Each function yields the problems that it finds, so that a caller can report all of them or raise the first.
"""

from __future__ import annotations

import math
import operator
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

MAX_OBJECT_ID: Final = 2**31 - 1
_NOT_IN_LABELS: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
_TURNING: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

Point = Sequence[float]
"""(x, y) or (x, y, label)."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class PromptProblem:
    """Why a prompt is invalid.

    Attributes:
        field: Path of the field inside the prompt, for example ``("points", 2)``; empty for the prompt as a whole.
        message: The value and what to write instead.
    """

    field: tuple[str | int, ...]
    message: str


def id_problem(obj_id: object) -> str | None:
    """Return why a value cannot be an object id; None if it can."""
    if isinstance(obj_id, bool) or not hasattr(obj_id, "__index__") or not 1 <= operator.index(obj_id) <= MAX_OBJECT_ID:
        return f"object id {obj_id!r} is invalid: give a whole number from 1 to {MAX_OBJECT_ID}"
    return None


def label_problem(label: str) -> str | None:
    """Return why a text cannot be the name of an object; None if it can.

    Names are printed, logged and drawn, so they must not contain line breaks, terminal codes or bidi controls.
    """
    for character in label:
        if unicodedata.category(character) in _NOT_IN_LABELS or character in _TURNING:
            return f"label: {label!r} holds the character U+{ord(character):04X}, which is not for display: remove it"
    return None


def part_problems(points: Sequence[Point], box: Box | None, *, has_mask: bool) -> Iterator[PromptProblem]:
    """Check that points, box and mask can be combined and have valid values."""
    if has_mask and (points or box is not None):
        yield PromptProblem((), "a mask stands alone: leave out its points and box")
        return
    if not has_mask and box is None and not points:
        yield PromptProblem((), "the prompt is empty: give points, a box or a mask")
    for index, point in enumerate(points):
        if len(point) == 3 and point[2] not in (0, 1):
            yield PromptProblem(
                ("points", index), f"{list(point)}: label {point[2]:g} is invalid: 1 is on the object, 0 is off"
            )
    if box is not None and not (box[0] < box[2] and box[1] < box[3]):
        yield PromptProblem(("box",), f"the box {list(box)} is empty: give [x0, y0, x1, y1] with x0 < x1 and y0 < y1")


def start_problems(points: Sequence[Point], box: Box | None) -> Iterator[PromptProblem]:
    """Check that a prompt can start an object; a correction may consist of negative points alone."""
    if points and box is None and all(len(point) == 3 and point[2] == 0 for point in points):
        yield PromptProblem(("points",), "all points are off the object: a new object needs one on it, or a box")


def range_problems(points: Sequence[Point], box: Box | None, *, coords: str) -> Iterator[PromptProblem]:
    """Check coordinates before the size of the frame is known.

    Args:
        points: As given.
        box: As given.
        coords: Their unit, ``normalized`` or ``pixels``.
    """
    normalized = coords == "normalized"
    given = list(_coordinates(points, box))
    for field, values in given:
        # No pixel is at infinity; the comparison is false for NaN.
        if all(0 <= value <= (1.0 if normalized else math.inf) and value != math.inf for value in values):
            continue
        fix = (
            "within 0..1, since coords is normalized (for pixels set coords to pixels)"
            if normalized
            else "0 or more pixels"
        )
        yield PromptProblem(field, f"{list(values)} is outside the picture: coordinates are {fix}")
    every = [value for _, values in given for value in values]
    if not normalized and looks_normalized(every):
        # Never guess the unit: a whole prompt within the top left pixel of the frame is unlikely.
        yield PromptProblem(
            given[0][0], f"{list(given[0][1])} looks normalized, but coords is pixels: set coords to normalized"
        )


def looks_normalized(values: Sequence[float]) -> bool:
    """Return whether coordinates in pixels all lie in 0..1, with a fraction among them."""
    return all(0 <= value <= 1 for value in values) and any(value % 1 for value in values)


def request_problems(
    points: Sequence[Point], box: Box | None, *, has_mask: bool, coords: str
) -> Iterator[PromptProblem]:
    """Check everything about a prompt that does not depend on its frame."""
    yield from range_problems(points, box, coords=coords)
    yield from part_problems(points, box, has_mask=has_mask)


def frame_problems(points: Sequence[Point], box: Box | None, size: tuple[int, int]) -> Iterator[PromptProblem]:
    """Check that coordinates in pixels lie inside a frame of this (width, height)."""
    width, height = size
    for field, values in _coordinates(points, box):
        for x, y in zip(values[::2], values[1::2], strict=True):
            if not (0 <= x <= width and 0 <= y <= height):  # also refuses NaN
                yield PromptProblem(field, f"({x:g}, {y:g}) is outside the frame, which is {width}x{height} pixels")


def _coordinates(points: Sequence[Point], box: Box | None) -> Iterator[tuple[tuple[str | int, ...], tuple[float, ...]]]:
    """Yield each point and the box: its field, and its coordinates as x, y, ..."""
    for index, point in enumerate(points):
        yield ("points", index), tuple(point[:2])
    if box is not None:
        yield ("box",), box
