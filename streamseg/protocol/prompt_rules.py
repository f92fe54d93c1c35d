"""The rules for prompts, one place for all who check them: configuration, control process, worker and tracker.

Each function yields the problems that it finds, so that a caller can report all of them or raise the first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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


def part_problems(points: Sequence[Point], box: Box | None, *, has_mask: bool) -> Iterator[PromptProblem]:
    """Check that points, box and mask go together and have valid values."""
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
    """Check that a prompt can start an object; a correction of one may consist of negative points alone."""
    if points and box is None and all(len(point) == 3 and point[2] == 0 for point in points):
        yield PromptProblem(("points",), "all points are off the object: a new object needs one on it, or a box")


def range_problems(points: Sequence[Point], box: Box | None, *, coords: str) -> Iterator[PromptProblem]:
    """Check coordinates before the size of the frame is known.

    Args:
        points: As given.
        box: As given.
        coords: Their unit, ``normalized`` or ``pixels``.
    """
    highest = 1.0 if coords == "normalized" else math.inf
    allowed = "within 0..1, since coords is normalized" if coords == "normalized" else "0 or more pixels"
    for field, values in _coordinates(points, box):
        # No pixel is at infinity; the comparison is false for NaN.
        if not all(0 <= value <= highest and value != math.inf for value in values):
            yield PromptProblem(field, f"{list(values)} is outside the picture: coordinates are {allowed}")


def frame_problems(points: Sequence[Point], box: Box | None, size: tuple[int, int]) -> Iterator[PromptProblem]:
    """Check that coordinates in pixels lie inside a frame of this (width, height)."""
    width, height = size
    for field, values in _coordinates(points, box):
        for x, y in zip(values[::2], values[1::2], strict=True):
            if not (0 <= x <= width and 0 <= y <= height):  # also refuses NaN
                yield PromptProblem(
                    field, f"({x:g}, {y:g}) is outside the frame, which is {width}x{height}: give pixels of the frame"
                )


def _coordinates(points: Sequence[Point], box: Box | None) -> Iterator[tuple[tuple[str | int, ...], tuple[float, ...]]]:
    """Yield each point and the box: its field, and its coordinates as x, y, ..."""
    for index, point in enumerate(points):
        yield ("points", index), tuple(point[:2])
    if box is not None:
        yield ("box",), box
