"""A small copy of a stream's last tracked picture, to tell whether a place still looks the same after a gap."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from streamseg.frame import Frame

_SIZE: Final = (160, 90)
"""Width and height of the copy."""
_MARGIN: Final = 0.25
"""Margin on each side, as a share of the box: an object's surroundings are compared, too."""
_MIN_CORRELATION: Final = 0.8
_MAX_CHANGE: Final = 24.0
"""Largest mean difference of the gray values, of 255."""
_FLAT: Final = 4.0
"""Standard deviation below which there is nothing to correlate."""

_Gray = NDArray[np.float32]


class PictureMemory:
    """Remembers the gray values of the newest picture, about 14 kB."""

    def __init__(self) -> None:
        self._gray: _Gray | None = None

    def remember(self, frame: Frame) -> None:
        """Remember a frame. Its planes are not kept."""
        self._gray = _gray(frame)

    def agrees(self, frame: Frame, roi: tuple[int, int, int, int]) -> bool:
        """Return whether a rectangle of a frame shows what it showed on the remembered one.

        Args:
            frame: Of the same size as the remembered one.
            roi: x, y, w, h in pixels.
        """
        if self._gray is None:
            return False
        rows, columns = _cells(roi, (frame.format.width, frame.format.height))
        before, now = self._gray[rows, columns], _gray(frame)[rows, columns]
        if np.abs(before - now).mean() > _MAX_CHANGE:
            return False
        if before.std() < _FLAT and now.std() < _FLAT:
            return True
        return bool(np.corrcoef(before.ravel(), now.ravel())[0, 1] > _MIN_CORRELATION)


def _gray(frame: Frame) -> _Gray:
    """Return ``float32 [90, 160]``: luma, or the first channel of colors."""
    plane, width = frame.planes[0], frame.format.width
    channels = max(plane.shape[1] // width, 1)
    channel = np.ascontiguousarray(plane[: frame.format.height, : width * channels : channels])
    return np.asarray(cv2.resize(channel, _SIZE, interpolation=cv2.INTER_AREA), dtype=np.float32)


def _cells(roi: tuple[int, int, int, int], size: tuple[int, int]) -> tuple[slice, slice]:
    """Return the rows and columns of the copy that a rectangle of the frame and its margin cover, 3 at least."""
    x, y, w, h = roi
    spans = []
    for start, length, whole, cells in ((y, h, size[1], _SIZE[1]), (x, w, size[0], _SIZE[0])):
        first = int((start - _MARGIN * length) * cells / whole) - 1
        last = int((start + (1 + _MARGIN) * length) * cells / whole) + 2
        spans.append(slice(max(first, 0), min(last, cells)))
    return spans[0], spans[1]
