"""Whether a frame shows what the last tracked one showed, so that its masks can be repeated in place of being computed.

A picture is compared by the means of its blocks: noise averages out in a block of 64 pixels, and a block is still small
enough for a small thing that moves to change it. What counts is the block that changed most, never the mean of the
picture; and the last frame that was *tracked*, never the one before, so that slow changes add up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from streamseg.frame import Frame, Plane

_HALVINGS: Final = 3
"""Blocks are 8x8 pixels of the video. Of 16x16, a square of 16 pixels that is 30 levels off its surroundings would have
to move 10 pixels to be seen with the same threshold, in place of 3."""

_MAX_DIFFERENCE: Final = 8
"""Levels (of 255) by which the mean of a block may differ in a picture that has not changed. Measured on still pictures
of real cameras with Gaussian noise of sigma 6 on each pixel and colour, through H.264 at CRF 30: no frame differs by
more, key frames among them; of the worst picture, one in twelve differs by more than 6. docs/tracker.md has what moves
without being seen."""

SETTLED: Final = 12
"""Frames of a picture that has come to rest that are tracked after the first, before it is repeated. The first mask may
be a prompt's, or of a thing that still moved; tracking refines it, and with it the memory. On still pictures with noise
the mean IoU with what tracking every frame gave was 0.81 to 0.90 with 0, 0.93 to 0.97 with 6, 0.96 to 0.98 with 12,
where two draws of the noise differ as much."""

_MAX_NS: Final = 1_000_000_000
"""Stream time after which a frame is tracked whatever it shows: what changes by less than can be told from noise is
wrong for no longer, and the objects' memory does not age."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What is kept of a frame: block means of its planes, and what else must be the same."""

    frame: tuple[int, int]
    likeness: tuple[object, ...]
    thumbnails: tuple[Plane, ...]
    now_ns: int


class StaticFrames:
    """Compares the frames of one stream with the last that were tracked. Holds no frame, only block means."""

    def __init__(self) -> None:
        self._tracked: _Look | None = None
        self._newest: _Look | None = None
        self._settled = 0

    def unchanged(self, frame: Frame, now_ns: int) -> bool:
        """Whether a frame shows what the last tracked ones did, of the same epoch and format and not long ago.

        Args:
            frame: The frame; its planes are not kept.
            now_ns: The stream's time.
        """
        before = self._tracked
        if before is None:
            return False
        self._newest = now = _look(frame, now_ns)
        return (
            self._settled >= SETTLED
            and 0 <= now_ns - before.now_ns <= _MAX_NS  # a file that is looped begins again
            and _same(now, before)
        )

    def tracked(self, frame: Frame, now_ns: int) -> None:
        """Compare with this frame from now on, which was tracked."""
        newest, self._newest = self._newest, None
        if newest is None or newest.frame != (frame.epoch, frame.frame_id):
            newest = _look(frame, now_ns)
        still = self._tracked is not None and _same(newest, self._tracked)
        self._settled = min(self._settled + 1, SETTLED) if still else 0
        self._tracked = newest

    def unsettle(self) -> None:
        """Let masks settle anew: a prompt has changed them."""
        self._settled = 0

    def forget(self) -> None:
        """Forget what was tracked: the next frame counts as changed."""
        self._tracked = self._newest = None
        self._settled = 0


def _look(frame: Frame, now_ns: int) -> _Look:
    return _Look((frame.epoch, frame.frame_id), (frame.epoch, frame.format), block_means(frame), now_ns)


def _same(one: _Look, other: _Look) -> bool:
    return one.likeness == other.likeness and largest_difference(one.thumbnails, other.thumbnails) <= _MAX_DIFFERENCE


def block_means(frame: Frame) -> tuple[Plane, ...]:
    """Return the means of a frame's blocks of 8x8 pixels, in its own colour space and its own memory.

    0.15 ms for 1080p as yuv420p on one Zen 4 core (`bench/static_frames.py`).

    Returns:
        ``uint8 [ceil(height / 8), ceil(width / 8)]`` (``[..., 3]`` of RGB) for each plane, chroma of nv12 taken apart.
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
    # Chroma has half the rows and columns: the same blocks.
    return _halved(planes[0], _HALVINGS), *(_halved(plane, _HALVINGS - 1) for plane in chroma)


def largest_difference(one: tuple[Plane, ...], other: tuple[Plane, ...]) -> int:
    """Return the largest difference of any block in any plane, in levels."""
    return int(max(cv2.norm(a, b, cv2.NORM_INF) for a, b in zip(one, other, strict=True)))


def _halved(picture: Plane, times: int) -> Plane:
    """Average 2x2 pixels so many times: OpenCV has a fast path for that, 4 times as fast as 8x8 in one go."""
    height, width = picture.shape[:2]
    step = 1 << times
    below, right = -height % step, -width % step
    if below or right:
        picture = np.asarray(cv2.copyMakeBorder(picture, 0, below, 0, right, cv2.BORDER_REPLICATE), np.uint8)
    for _ in range(times):
        size = picture.shape[1] // 2, picture.shape[0] // 2
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    return picture
