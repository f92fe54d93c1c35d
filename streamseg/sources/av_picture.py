"""Convert decoded FFmpeg pictures to planes for the ring, without a copy if the ring supports the pixel format."""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from typing import Any, Final

import numpy as np
from av import VideoFrame
from av.sidedata.sidedata import Type
from av.video.format import VideoFormat
from av.video.reformatter import ColorRange, VideoReformatter

from streamseg.frame import SQUARE, ColorMatrix, FrameFormat, PixelFormat, Plane

_NATIVE: Final[dict[str, PixelFormat]] = {
    "yuv420p": "yuv420p",
    "yuvj420p": "yuv420p",
    "nv12": "nv12",
    "rgb24": "rgb24",
    "bgr24": "bgr24",
    "gray": "gray8",
}
_DISPLAY_MATRIX: Final = "DISPLAYMATRIX"
_MATRIX: Final = struct.Struct("=9i")
_FFMPEG_NAME: Final[dict[PixelFormat, str]] = {"yuv420p": "yuv420p", "rgb24": "rgb24", "gray8": "gray"}

# AVColorSpace. Everything else, in particular unspecified, is BT.601 at every size, as in FFmpeg's scaler, and so in
# `to_ndarray("rgb24")` and in images extracted by `ffmpeg`, on which SAM 2 usually runs.
_MATRICES: Final[dict[int, ColorMatrix]] = {1: "bt709", 9: "bt2020", 10: "bt2020"}


def _unknown_side_data(kinds: type[Any], number: int) -> Any:
    kind = object.__new__(kinds)
    kind._name_, kind._value_ = f"UNKNOWN_{number}", number
    return kind


# PyAV refuses to read all side data of a picture if it does not know one kind, such as EXIF, which tells that a JPEG,
# PNG, WebP or TIFF is mirrored.
Type._missing_ = classmethod(_unknown_side_data)  # type: ignore[method-assign, assignment]


class PictureReader:
    """Converts FFmpeg's pictures to planes. Used by one thread."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def read(
        self, picture: VideoFrame, sample_aspect: tuple[int, int] = SQUARE
    ) -> tuple[FrameFormat, tuple[Plane, ...]]:
        """Return a picture's format and planes, turned upright according to its display matrix.

        Pixel formats that the ring does not carry are converted to the nearest: RGB kinds to ``rgb24``, gray kinds to
        ``gray8``, all others to ``yuv420p`` of the same matrix and range.

        Lifetime: the planes are views of the picture's memory (which they keep alive) or of a converted copy.
        """
        full_range = picture.color_range == ColorRange.JPEG or picture.format.name.startswith("yuvj")
        matrix = _MATRICES.get(picture.colorspace, "bt601")
        flip, quarter_turns = _orientation(picture)
        pixel_format = _NATIVE.get(picture.format.name)
        if pixel_format is None or (pixel_format == "nv12" and (flip or quarter_turns)):
            pixel_format = _nearest(picture.format)
            target_range = ColorRange.JPEG if full_range else ColorRange.MPEG
            picture = self._reformatter.reformat(
                picture,
                format=_FFMPEG_NAME[pixel_format],
                src_color_range=target_range,
                dst_color_range=ColorRange.JPEG if pixel_format != "yuv420p" else target_range,
                threads=1,
            )
        frame_format = FrameFormat(picture.width, picture.height, pixel_format, matrix, full_range, sample_aspect)
        planes = tuple(_plane(picture, index, shape) for index, shape in enumerate(frame_format.plane_shapes))
        if flip:
            planes = tuple(_flipped(plane, frame_format) for plane in planes)
        if quarter_turns:
            return _turned(frame_format, planes, quarter_turns)
        return frame_format, planes


def _orientation(picture: VideoFrame) -> tuple[bool, int]:
    """Return how to turn a picture for display: whether to mirror it left to right first, then the quarter turns.

    Like FFmpeg's own autorotation, this uses the whole display matrix. ``picture.rotation`` only has an angle, which is
    wrong for mirrored pictures.
    """
    side_data: Any = picture.side_data.get(_DISPLAY_MATRIX)
    if side_data is None:
        return False, 0
    a, b, _, c, d, *_ = _MATRIX.unpack(bytes(side_data)[: _MATRIX.size])
    # The picture's x axis is displayed along (a, b) and its y axis along (c, d), y pointing down.
    flip = a * d - b * c < 0
    if flip:
        a, b = -a, -b
    return flip, round(-math.degrees(math.atan2(b, a)) / 90) % 4


def _flipped(plane: Plane, frame_format: FrameFormat) -> Plane:
    if frame_format.pixel_format in ("rgb24", "bgr24"):
        rows, row_bytes = plane.shape
        return plane.reshape(rows, row_bytes // 3, 3)[:, ::-1].reshape(rows, row_bytes)
    return plane[:, ::-1]


def _nearest(video_format: VideoFormat) -> PixelFormat:
    if video_format.is_rgb or video_format.has_palette:
        return "rgb24"
    return "gray8" if len(video_format.components) <= 2 else "yuv420p"


def _plane(picture: VideoFrame, index: int, shape: tuple[int, int]) -> Plane:
    rows, row_bytes = shape
    plane: Any = picture.planes[index]  # PyAV's type stubs do not say that it is a buffer
    pixels: Plane = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    return pixels[:rows, :row_bytes]


def _turned(
    frame_format: FrameFormat, planes: tuple[Plane, ...], quarter_turns: int
) -> tuple[FrameFormat, tuple[Plane, ...]]:
    """Rotate a picture counterclockwise by quarter turns."""
    width, height, aspect = frame_format.width, frame_format.height, frame_format.sample_aspect
    if quarter_turns % 2:
        width, height, aspect = height, width, aspect[::-1]
    turned = replace(frame_format, width=width, height=height, sample_aspect=aspect)
    if frame_format.pixel_format in ("rgb24", "bgr24"):
        pixels = planes[0].reshape(frame_format.height, frame_format.width, 3)
        return turned, (np.rot90(pixels, quarter_turns).reshape(height, 3 * width),)
    return turned, tuple(np.rot90(plane, quarter_turns) for plane in planes)
