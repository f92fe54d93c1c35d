"""From a configured prompt to the tracker's prompt, on a frame of known size."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from streamseg.config.schema import PromptConfig
from streamseg.errors import PromptError
from streamseg.tracker.types import BoolMask, Point, Prompt


def build_prompt(config: PromptConfig, size: tuple[int, int]) -> Prompt:
    """Turn a configured prompt into pixels of a frame.

    Args:
        config: The prompt; its points and box in pixels or normalized.
        size: (width, height) of the frame in pixels.

    Raises:
        PromptError: its parts do not go together, or the mask cannot be read or has another size. Whether it fits
            the frame is the tracker's to say.
    """
    width, height = size
    scale_x, scale_y = (width, height) if config.coords == "normalized" else (1, 1)
    points = tuple(
        Point(point[0] * scale_x, point[1] * scale_y, int(point[2]) if len(point) == 3 else 1)
        for point in config.points
    )
    box = None
    if config.box is not None:
        x0, y0, x1, y1 = config.box
        box = (x0 * scale_x, y0 * scale_y, x1 * scale_x, y1 * scale_y)
    mask = None if config.mask is None else read_mask(config.object, Path(config.mask), size)
    return Prompt(config.object, points=points, box=box, mask=mask)


def read_mask(obj_id: int, path: Path, size: tuple[int, int]) -> BoolMask:
    """Read a mask picture: every pixel that is not black belongs to the object.

    Returns:
        ``bool [height, width]``.

    Raises:
        PromptError: it cannot be read, has another size than the video, or is all black.
    """
    import cv2  # 0.1 s, and only a mask prompt needs it

    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise PromptError(f"object {obj_id}: mask {path} cannot be read: give a PNG of the video's size")
    if picture.ndim == 3:  # an alpha channel says nothing about the object
        picture = picture[..., :3].max(axis=2)
    height, width = picture.shape
    if (width, height) != size:
        raise PromptError(
            f"object {obj_id}: mask {path} is {width}x{height}, the video {size[0]}x{size[1]}: give it at video size"
        )
    mask: BoolMask = np.asarray(picture) > 0
    if not mask.any():
        raise PromptError(f"object {obj_id}: mask {path} is all black: paint the object in any other colour")
    return mask
