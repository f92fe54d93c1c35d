"""A decoded FFmpeg picture as planes that the ring carries, without a copy where its layout is one of ours."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from av import VideoFrame
from av.video.format import VideoFormat
from av.video.reformatter import ColorRange, VideoReformatter

from streamseg.frame import ColorMatrix, FrameFormat, PixelFormat, Plane

_NATIVE: Final[dict[str, PixelFormat]] = {
    "yuv420p": "yuv420p",
    "yuvj420p": "yuv420p",
    "nv12": "nv12",
    "rgb24": "rgb24",
    "bgr24": "bgr24",
    "gray": "gray8",
}
_FFMPEG_NAME: Final[dict[PixelFormat, str]] = {"yuv420p": "yuv420p", "rgb24": "rgb24", "gray8": "gray"}

# AVColorSpace. Everything else, unspecified above all, is BT.601 at every size: that is what FFmpeg's scaler takes it
# for, hence what `to_ndarray("rgb24")` and pictures extracted with `ffmpeg` look like, on which SAM 2 is run elsewhere.
_MATRICES: Final[dict[int, ColorMatrix]] = {1: "bt709", 9: "bt2020", 10: "bt2020"}


class PictureReader:
    """Turns FFmpeg's pictures into planes. Used by one thread."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def read(self, picture: VideoFrame) -> tuple[FrameFormat, tuple[Plane, ...]]:
        """Return a picture's format and planes, turned upright if its display matrix says so.

        Pixel formats that the ring does not carry become the nearest that it does: RGB kinds ``rgb24``, grey kinds
        ``gray8``, all others ``yuv420p`` of the same matrix and range.

        Lifetime: the planes are views of the picture's memory (which they keep alive) or of a converted copy.
        """
        full_range = picture.color_range == ColorRange.JPEG or picture.format.name.startswith("yuvj")
        matrix = _MATRICES.get(picture.colorspace, "bt601")
        quarter_turns = round(picture.rotation / 90) % 4
        pixel_format = _NATIVE.get(picture.format.name)
        if pixel_format is None or (pixel_format == "nv12" and quarter_turns):
            pixel_format = _nearest(picture.format)
            colour_range = ColorRange.JPEG if full_range else ColorRange.MPEG
            picture = self._reformatter.reformat(
                picture,
                format=_FFMPEG_NAME[pixel_format],
                src_color_range=colour_range,
                dst_color_range=ColorRange.JPEG if pixel_format != "yuv420p" else colour_range,
                threads=1,
            )
        frame_format = FrameFormat(picture.width, picture.height, pixel_format, matrix, full_range)
        planes = tuple(_plane(picture, index, shape) for index, shape in enumerate(frame_format.plane_shapes))
        if quarter_turns:
            return _turned(frame_format, planes, quarter_turns)
        return frame_format, planes


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
    """Turn a picture by quarter turns anticlockwise."""
    width, height = frame_format.width, frame_format.height
    if quarter_turns % 2:
        width, height = height, width
    turned = FrameFormat(width, height, frame_format.pixel_format, frame_format.matrix, frame_format.full_range)
    if frame_format.pixel_format in ("rgb24", "bgr24"):
        pixels = planes[0].reshape(frame_format.height, frame_format.width, 3)
        return turned, (np.rot90(pixels, quarter_turns).reshape(height, 3 * width),)
    return turned, tuple(np.rot90(plane, quarter_turns) for plane in planes)
