"""Motion in composed clips: smooth paths, quadrilaterals that turn, grow and lean, and bending bodies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from training.material import Picture

Floats = NDArray[np.float32]

_UNIT_SQUARE: Final = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32) / 2
# Time constants, in frames, of changes in velocity and of leans.
_VELOCITY_FRAMES, _LEAN_FRAMES = 24.0, 20.0
_MAX_LOG_GROWTH = 0.7
# Largest relative movement of an object's parts, as a share of its extent, and the margin it needs.
_BEND, BEND_MARGIN = 0.09, 0.14


@dataclass(frozen=True, slots=True)
class Shot:
    """Properties shared by all parts of a clip.

    Attributes:
        frames: Its length.
        side_px: Side of its square frames.
        gap: Time between its frames: 1 is the pace of a video, 4 is fast.
        squeeze: Aspect ratio of the camera's picture, which is squeezed into square frames.
    """

    frames: int
    side_px: int
    gap: float
    squeeze: float

    def squeezed(self, corners: Floats) -> Floats:
        """Return ``corners [..., 2]`` with their distance from the middle column shrunk."""
        x = self.side_px / 2 + (corners[..., 0] - self.side_px / 2) / self.squeeze
        return np.stack([x, corners[..., 1]], -1).astype(np.float32)


def path(rng: np.random.Generator, frames: int, step: float, wobble: float) -> Floats:
    """Return ``[T, 2]``: an offset that starts at 0, with a slowly changing velocity."""
    keep = 1 - 1 / _VELOCITY_FRAMES
    change = step * (1 - keep**2) ** 0.5
    velocity = np.empty((frames, 2))
    velocity[0] = rng.normal(0, step, 2)
    pushes = rng.normal(0, change, (frames, 2))
    for t in range(1, frames):
        velocity[t] = keep * velocity[t - 1] + pushes[t]
    steps = velocity[:-1] + rng.normal(0, wobble, (frames - 1, 2))
    return np.concatenate([np.zeros((1, 2)), np.cumsum(steps, 0)]).astype(np.float32)


def fold(values: Floats, low: float, high: float) -> Floats:
    """Return the values reflected at both limits, like a ball between two walls."""
    width = high - low
    return (low + np.abs((values - low + width) % (2 * width) - width)).astype(np.float32)


def quads(rng: np.random.Generator, shot: Shot, size: Floats, places: Floats, angle: float, gap: float) -> Floats:
    """Return ``[T, 4, 2]``: the corners of a picture that moves along ``places [T, 2]``, turns, grows and leans."""
    frames, diameter = shot.frames, float(size.max())
    turn = angle + path(rng, frames, 0.05 * gap, 0.03)[:, 0]
    growth = fold(path(rng, frames, 0.04 * gap, 0.03), -_MAX_LOG_GROWTH, _MAX_LOG_GROWTH)
    growth = np.exp(growth)
    growth = 0.3 * growth + 0.7 * growth.mean(1, keepdims=True)
    cos, sin = np.cos(turn), np.sin(turn)
    rotation = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
    square = _UNIT_SQUARE * size * growth[:, None]
    return (square @ rotation.transpose(0, 2, 1) + places[:, None] + _lean(rng, frames) * diameter).astype(np.float32)


def _lean(rng: np.random.Generator, frames: int) -> Floats:
    """Return ``[T, 4, 2]``: displacements of the corners that drift and return."""
    pushes = rng.normal(0, 0.025, (frames, 4, 2))
    lean = np.empty((frames, 4, 2), np.float32)
    lean[0] = pushes[0]
    for t in range(1, frames):
        lean[t] = (1 - 1 / _LEAN_FRAMES) * lean[t - 1] + pushes[t]
    return lean


def bends(rng: np.random.Generator, frames: int, gap: float) -> Floats:
    """Return ``[T, k, k, 2]``: each part swings like a limb and drifts a little; frame 0 is not displaced."""
    parts = int(rng.integers(3, 6))
    shape = (parts, parts, 2)
    strength = rng.uniform(0.2, 1) * _BEND
    pace, phase = rng.uniform(0.1, 0.9, shape) * min(gap, 2.0), rng.uniform(0, 2 * np.pi, shape)
    times = np.arange(frames).reshape(-1, 1, 1, 1)
    swing = np.sin(phase + pace * times) - np.sin(phase)
    wander = np.cumsum(rng.normal(0, 0.15, (frames, *shape)), 0)
    wander -= wander[0]
    return np.clip(strength * (0.7 * swing + wander), -BEND_MARGIN, BEND_MARGIN).astype(np.float32)


def bend(rgba: Picture, displaced: Floats) -> Picture:
    """Return the picture with its parts displaced by one frame of :func:`bends`."""
    height, width = rgba.shape[:2]
    field = cv2.resize(displaced, (width, height), interpolation=cv2.INTER_CUBIC) * max(height, width)
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    return cv2.remap(rgba, field[..., 0] + x, field[..., 1] + y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def view_order(rng: np.random.Generator, frames: int, views: int, gap: float) -> NDArray[np.int64]:
    """Return ``[T]``: the view of an orbit that each frame shows, back and forth."""
    pace = float(rng.uniform(0.05, 0.35)) * min(gap, 2.0)
    start = rng.uniform(0, 2 * (views - 1))
    position = fold((start + pace * np.arange(frames)).astype(np.float32), 0, views - 1)
    return np.round(position).astype(np.int64)
