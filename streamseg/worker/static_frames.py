"""Detects static frames: frames that show the same as the last tracked one, so that its masks can be repeated.

Pictures are compared by their block means: noise averages out over the 64 pixels of a block, and a block is small
enough that a small moving object changes it. The block that changed most decides, not the mean of the picture.
The reference is the last *tracked* frame, not the previous one, so slow changes add up.

Ours because OpenCV's background subtractors learn what is usually there; here one frame is the reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from streamseg.frame import Frame, Plane

_HALVINGS: Final = 3
"""Blocks are 8x8 pixels of the video. With 16x16 blocks and the same threshold, a square of 16 pixels that is 30 levels
off its surroundings would have to move 10 pixels to be noticed instead of 3."""

_MAX_DIFFERENCE: Final = 8
"""Levels (of 255) by which a block mean may differ in a static picture. Measured on still pictures of real cameras with
Gaussian noise of sigma 6 on each pixel and color, through H.264 at CRF 30: no frame differs by more, including key
frames; of the worst picture, one frame in twelve differs by more than 6. docs/tracker.md shows which motion goes
unnoticed."""

SETTLED: Final = 12
"""Frames of a static picture that are tracked after the first before masks are repeated. The first mask may come from a
prompt or from an object that still moved; tracking refines it, and with it the memory. On still pictures with noise,
the mean IoU with tracking every frame was 0.81 to 0.90 with 0 frames, 0.93 to 0.97 with 6, and 0.96 to 0.98 with 12,
which is as close as two draws of the noise are to each other."""

_MAX_NS: Final = 1_000_000_000
"""Stream time after which even a static frame is tracked. It bounds how long a change too small to tell from noise
stays unnoticed, and keeps the objects' memory from aging."""


@dataclass(frozen=True, slots=True)
class _Look:
    """The part of a frame that is compared.

    Attributes:
        frame: Epoch and frame id.
        kind: Epoch and format; must be equal.
        means: Block means of each plane.
        now_ns: Stream time.
    """

    frame: tuple[int, int]
    kind: tuple[object, ...]
    means: tuple[Plane, ...]
    now_ns: int


class StaticFrames:
    """Compares the frames of one stream with the last tracked one. Keeps block means, never a frame."""

    def __init__(self) -> None:
        self._tracked: _Look | None = None
        self._newest: _Look | None = None
        self._settled = 0

    def unchanged(self, frame: Frame, now_ns: int) -> bool:
        """Whether a frame is static: recently tracked frames of the same epoch and format show the same.

        Args:
            frame: The frame; its planes are not kept.
            now_ns: Its stream time.
        """
        before = self._tracked
        if before is None:
            return False
        self._newest = now = _look(frame, now_ns)
        return (
            self._settled >= SETTLED
            and 0 <= now_ns - before.now_ns <= _MAX_NS  # a looped file starts over
            and _same(now, before)
        )

    def tracked(self, frame: Frame, now_ns: int) -> None:
        """Make a tracked frame the reference for the next ones."""
        newest, self._newest = self._newest, None
        if newest is None or newest.frame != (frame.epoch, frame.frame_id):
            newest = _look(frame, now_ns)
        still = self._tracked is not None and _same(newest, self._tracked)
        self._settled = min(self._settled + 1, SETTLED) if still else 0
        self._tracked = newest

    def unsettle(self) -> None:
        """Restart settling after a prompt has changed the masks."""
        self._settled = 0

    def forget(self) -> None:
        """Drop the reference: the next frame is not static."""
        self._tracked = self._newest = None
        self._settled = 0


def _look(frame: Frame, now_ns: int) -> _Look:
    return _Look((frame.epoch, frame.frame_id), (frame.epoch, frame.format), block_means(frame), now_ns)


def _same(one: _Look, other: _Look) -> bool:
    return one.kind == other.kind and largest_difference(one.means, other.means) <= _MAX_DIFFERENCE


def block_means(frame: Frame) -> tuple[Plane, ...]:
    """Return the means of a frame's blocks of 8x8 pixels in its own color space, in newly allocated memory.

    Takes 0.15 ms for 1080p yuv420p on one Zen 4 core (`bench/static_frames.py`).

    Returns:
        ``uint8 [ceil(height / 8), ceil(width / 8)]`` (RGB: ``[..., 3]``) for each plane; nv12 chroma is split in two.
    """
    fmt, planes = frame.format, frame.planes
    match fmt.pixel_format:
        case "rgb24" | "bgr24":
            return (_halved(planes[0].reshape(fmt.height, fmt.width, 3), _HALVINGS),)
        case "gray8":
            return (_halved(planes[0], _HALVINGS),)
        case "yuv420p":
            chroma = planes[1:]
        case "nv12":
            pairs = planes[1].reshape(planes[1].shape[0], -1, 2)
            chroma = tuple(np.ascontiguousarray(pairs[..., channel]) for channel in (0, 1))
    # Chroma has half the rows and columns, so one halving less gives the same blocks.
    return _halved(planes[0], _HALVINGS), *(_halved(plane, _HALVINGS - 1) for plane in chroma)


def largest_difference(one: tuple[Plane, ...], other: tuple[Plane, ...]) -> int:
    """Return the largest difference between corresponding blocks of all planes, in levels."""
    return int(max(cv2.norm(a, b, cv2.NORM_INF) for a, b in zip(one, other, strict=True)))


def _halved(picture: Plane, times: int) -> Plane:
    """Average 2x2 pixels ``times`` times. OpenCV has a fast path for it: 4 times as fast as 8x8 at once."""
    height, width = picture.shape[:2]
    step = 1 << times
    below, right = -height % step, -width % step
    if below or right:
        picture = np.asarray(cv2.copyMakeBorder(picture, 0, below, 0, right, cv2.BORDER_REPLICATE), np.uint8)
    for _ in range(times):
        size = picture.shape[1] // 2, picture.shape[0] // 2
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    return picture
