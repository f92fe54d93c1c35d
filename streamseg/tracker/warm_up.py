"""Frames and prompts that exercise every path of a tracker before the first real frame."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final, get_args

import numpy as np

from streamseg.frame import Frame, FrameFormat, FrameStamps, PixelFormat
from streamseg.tracker.types import Point, Prompt

SIZE: Final = (640, 360)
"""(width, height) of the frames in pixels."""

PIXEL_FORMATS: Final[tuple[PixelFormat, ...]] = get_args(PixelFormat)


def gray_frames() -> Iterator[Frame]:
    """Yield gray frames without end, each pixel format in turn."""
    width, height = SIZE
    for frame_id, pixel_format in enumerate(itertools.cycle(PIXEL_FORMATS)):
        fmt = FrameFormat(width, height, pixel_format)
        planes = tuple(np.full(shape, 128, dtype=np.uint8) for shape in fmt.plane_shapes)
        yield Frame(frame_id, 0, fmt, planes, FrameStamps(0, "file", 0, 0, None, (1, 25)))


def prompts(obj_id: int) -> tuple[Prompt, Prompt, Prompt]:
    """Return one prompt of each kind: a click, a box, a mask."""
    width, height = SIZE
    inside = np.zeros((height, width), dtype=np.bool_)
    inside[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] = True
    return (
        Prompt(obj_id, points=(Point(width / 2, height / 2),)),
        Prompt(obj_id, box=(width / 4, height / 4, 3 * width / 4, 3 * height / 4)),
        Prompt(obj_id, mask=inside),
    )
