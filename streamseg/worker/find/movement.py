"""Detects increased movement outside of all masks: something may have entered.

Like ``static_frames.py``, it compares the block means of pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np

from streamseg.frame import Frame, Plane
from streamseg.tracker.types import BoolMask
from streamseg.worker.find.grid import GRID
from streamseg.worker.static_frames import block_means

_MOVED: Final = 24
"""Levels (of 255) by which a block's mean must have changed."""
_MIN_GROWTH: Final = 0.01
"""Share of the picture that must have changed outside of all masks."""


class Movement:
    """Compares frames with the one of the last look. Keeps its block means."""

    def __init__(self) -> None:
        self._reference: Plane | None = None
        self._free: BoolMask | None = None

    def take_reference(self, frame: Frame, free: BoolMask) -> None:
        """Compare the next frames with this one.

        Args:
            frame: The frame.
            free: ``bool [GRID, GRID]``: the cells that no object covers on it; elsewhere, movement is expected.
        """
        self._reference, self._free = block_means(frame)[0], free

    def forget(self) -> None:
        """Drop the reference: nothing has moved until the next one."""
        self._reference = self._free = None

    def grows(self, frame: Frame, free: Callable[[], BoolMask]) -> bool:
        """Return whether a frame has changed outside of all masks since the reference.

        Args:
            frame: The frame.
            free: Returns ``bool [GRID, GRID]``: the cells that count. Called only if enough has changed at all.
        """
        means = block_means(frame)[0]
        if self._reference is None or self._free is None or means.shape != self._reference.shape:
            return False
        change = cv2.absdiff(means, self._reference)
        moved = np.asarray(change.max(axis=2) if change.ndim == 3 else change) > _MOVED
        if moved.mean() < _MIN_GROWTH:
            return False
        cells = np.asarray(cv2.resize(moved.astype(np.uint8), (GRID, GRID), interpolation=cv2.INTER_NEAREST))
        return bool((cells.astype(np.bool_) & self._free & free()).mean() >= _MIN_GROWTH)
