"""Draw a received picture with its masks, undistorted."""

from __future__ import annotations

from streamseg.client import FramePair
from streamseg.common.draw import Picture, draw_masks, resized


def draw_pair(pair: FramePair) -> Picture:
    """Return the picture with its masks, ``uint8 [H, W, 3]``, stretched if its pixels are not square."""
    return resized(draw_masks(pair.image.rgb, pair.masks.objects), pair.masks.display_size)
