"""Checks what a prompter returns, in its own process, so that only valid proposals reach the worker."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import cv2
import numpy as np

from streamseg.ipc.prompters import MAX_MASK_BYTES, MAX_PROPOSALS, CheckedProposal, ProposedMask
from streamseg.prompters.proposal import Proposal
from streamseg.protocol.prompt_rules import label_problem, start_problems

_MAX_READ: Final = 1000
"""Maximum number of proposals per picture that are checked."""
_MAX_TEXT: Final = 100
_MAX_POINTS: Final = 32
_MAX_SHOWN: Final = 80


class InvalidProposalError(ValueError):
    """A proposal cannot be used. The message names the field, the value and the fix."""


def checked(returned: object, size: tuple[int, int], min_score: float = 0.0) -> tuple[list[CheckedProposal], int, str]:
    """Check what a prompter returned.

    Args:
        returned: The value, of any type.
        size: (width, height) of the picture.
        min_score: Proposals with a lower score are dropped.

    Returns:
        The valid proposals, best first; the number refused; and why the first one was, empty if none.
    """
    if not isinstance(returned, list | tuple):
        return [], 1, f"it returned {_shown(returned)}: return a list of Proposal"
    valid: list[CheckedProposal] = []
    reasons = []
    for place, one in enumerate(returned[:_MAX_READ]):
        try:
            valid.append(_check(one, size))
        except Exception as error:  # noqa: BLE001 - attributes of foreign objects may raise anything
            reasons.append(f"proposal {place}: {error}")
    valid = sorted((one for one in valid if one.score >= min_score), key=lambda one: -one.score)
    excess = len(valid) - MAX_PROPOSALS if len(returned) <= _MAX_READ else len(returned) - _MAX_READ
    if excess > 0:
        reasons.append(
            f"it returned {len(returned)} proposals: the best {MAX_PROPOSALS} of the first {_MAX_READ} are used"
        )
    refused = len(reasons) - (excess > 0) + max(excess, 0)
    best = valid[:MAX_PROPOSALS]
    small = _that_fit(best)
    if len(small) < len(best):
        reasons.append(f"its masks have more than {MAX_MASK_BYTES >> 20} MiB: the best {len(small)} proposals are used")
    return small, refused + len(best) - len(small), reasons[0] if reasons else ""


def _that_fit(proposals: list[CheckedProposal]) -> list[CheckedProposal]:
    """Return as many of the first proposals as fit into one message."""
    left = MAX_MASK_BYTES
    for place, one in enumerate(proposals):
        left -= 0 if one.mask is None else one.mask.bits.nbytes
        if left < 0:
            return proposals[:place]
    return proposals


def _check(one: object, size: tuple[int, int]) -> CheckedProposal:
    if not isinstance(one, Proposal):
        raise InvalidProposalError(f"it is {_shown(one)}: return Proposal(box=..., label=...)")
    given = [name for name in ("box", "mask") if getattr(one, name) is not None] + ["points"] * (len(one.points) > 0)
    if len(given) != 1:
        raise InvalidProposalError(f"it has {' and '.join(given) or 'nothing'}: give one of box, points and mask")
    score = _number(one.score, "score")
    if not 0 <= score <= 1:
        raise InvalidProposalError(f"score: {score:g} is outside 0..1")
    return CheckedProposal(
        score=score,
        label=_text(one.label, "label"),
        key=_text(one.key, "key"),
        box=None if one.box is None else _box(one.box, size),
        points=_points(one.points, size),
        mask=None if one.mask is None else _mask(one.mask, size),
    )


def _text(value: object, field: str) -> str:
    if not isinstance(value, str):
        raise InvalidProposalError(f"{field}: {_shown(value)} is not text")
    if len(value) > _MAX_TEXT:
        raise InvalidProposalError(f"{field}: {_shown(value)} has {len(value)} characters: at most {_MAX_TEXT}")
    if problem := label_problem(value):
        raise InvalidProposalError(f"{field}: {problem.removeprefix('label: ')}")
    return value


def _number(value: Any, field: str) -> float:
    try:
        number = math.nan if isinstance(value, str | bytes) else float(value)
    except Exception as error:  # noqa: BLE001 - of a foreign object
        raise InvalidProposalError(f"{field}: {_shown(value)} is not a number: {error}") from None
    if isinstance(value, str | bytes):
        raise InvalidProposalError(f"{field}: {_shown(value)} is not a number")
    if not math.isfinite(number):
        raise InvalidProposalError(f"{field}: {number} is not a finite number")
    return number


def _box(value: Any, size: tuple[int, int]) -> tuple[float, float, float, float]:
    if len(value) != 4:
        raise InvalidProposalError(f"box: {_shown(value)} has {len(value)} numbers: give (x0, y0, x1, y1) in pixels")
    x0, y0, x1, y1 = (_number(part, "box") for part in value)
    inside = max(x0, 0.0), max(y0, 0.0), min(x1, float(size[0])), min(y1, float(size[1]))
    if inside[2] - inside[0] < 1 or inside[3] - inside[1] < 1:
        raise InvalidProposalError(
            f"box: {_shown([x0, y0, x1, y1])} has less than a pixel inside the picture, {size[0]}x{size[1]}: give "
            "(x0, y0, x1, y1) in pixels"
        )
    return inside


def _points(value: Any, size: tuple[int, int]) -> list[tuple[float, float, int]]:
    if len(value) > _MAX_POINTS:
        raise InvalidProposalError(f"points: {len(value)} points: at most {_MAX_POINTS}")
    points = []
    for point in value:
        if len(point) not in (2, 3):
            raise InvalidProposalError(f"points: {_shown(point)}: give (x, y) or (x, y, label)")
        x, y, label = (_number(part, "points") for part in (*point, 1)[:3])
        if not (0 <= x < size[0] and 0 <= y < size[1]):
            raise InvalidProposalError(f"points: ({x:g}, {y:g}) is outside the picture, which is {size[0]}x{size[1]}")
        if label not in (0, 1):
            raise InvalidProposalError(f"points: label {label:g} is invalid: 1 is on the object, 0 is off")
        points.append((x, y, int(label)))
    if problem := next(start_problems(points, None), None):
        raise InvalidProposalError(f"points: {problem.message}")
    return points


def _mask(value: Any, size: tuple[int, int]) -> ProposedMask:
    mask = np.asarray(value)
    if mask.shape != (size[1], size[0]):
        shape = " x ".join(map(str, mask.shape)) or "a single value"
        raise InvalidProposalError(f"mask: it is {shape}: give bool [{size[1]}, {size[0]}], the size of the picture")
    if mask.dtype.kind not in "bui":
        raise InvalidProposalError(f"mask: it is of {mask.dtype}: give bool")
    bits = np.ascontiguousarray(mask != 0)
    x, y, w, h = cv2.boundingRect(bits.view(np.uint8))
    if not w:
        raise InvalidProposalError("mask: it is empty")
    return ProposedMask((x, y, w, h), memoryview(np.packbits(bits[y : y + h, x : x + w], axis=1).tobytes()))


def _shown(value: object) -> str:
    try:
        text = (
            repr(value)
            if isinstance(value, str | int | float | Sequence) and _is_short(value)
            else type(value).__name__
        )
    except Exception:  # noqa: BLE001 - of a foreign object
        text = type(value).__name__
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def _is_short(value: object) -> bool:
    return not isinstance(value, Sequence) or len(value) <= _MAX_SHOWN
