"""Video frames from the decoder to the tracker: geometry, pixel layout, time stamps.

Pure types that every stage shares: no I/O, no dependency except numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

PixelFormat = Literal["rgb24", "bgr24", "gray8", "yuv420p", "nv12"]
"""Layouts that the frame ring carries. A source converts any other layout to the nearest one."""

ColorMatrix = Literal["bt601", "bt709", "bt2020"]

StampSource = Literal["rtcp", "arrival", "file"]
"""Clock of a wall-clock stamp: the camera's (RTCP sender reports), ours when the packet arrived, or ours when a frame
of a file was released."""

Plane = NDArray[np.uint8]

SQUARE: Final = (1, 1)
"""The sample aspect ratio of square pixels."""


@dataclass(frozen=True, slots=True)
class FrameFormat:
    """Geometry and pixel layout of a frame.

    Attributes:
        width: Width in pixels.
        height: Height in pixels.
        pixel_format: Memory layout.
        matrix: YUV only: the matrix that converts it to RGB.
        full_range: YUV only: luma spans 0..255 (JPEG) rather than 16..235 (video).
        sample_aspect: Width to height of a pixel as displayed, in lowest terms. Only for display: masks and prompts are
            in stored pixels.
    """

    width: int
    height: int
    pixel_format: PixelFormat
    matrix: ColorMatrix = "bt601"
    full_range: bool = False
    sample_aspect: tuple[int, int] = SQUARE

    @property
    def plane_shapes(self) -> tuple[tuple[int, int], ...]:
        """(rows, bytes per row) of each plane, without padding."""
        w, h = self.width, self.height
        half_w, half_h = (w + 1) // 2, (h + 1) // 2
        match self.pixel_format:
            case "rgb24" | "bgr24":
                return ((h, 3 * w),)
            case "gray8":
                return ((h, w),)
            case "yuv420p":
                return ((h, w), (half_h, half_w), (half_h, half_w))
            case "nv12":
                return ((h, w), (half_h, 2 * half_w))

    @property
    def nbytes(self) -> int:
        """Total bytes of all planes."""
        return sum(rows * row_bytes for rows, row_bytes in self.plane_shapes)


@dataclass(frozen=True, slots=True)
class FrameStamps:
    """Time stamps of a frame.

    Attributes:
        t_wall_ns: Capture time since the Unix epoch.
        t_source: Clock of ``t_wall_ns``.
        t_captured_ns: ``time.monotonic_ns()`` when the data reached this machine, before decoding.
        t_decoded_ns: ``time.monotonic_ns()`` after decoding.
        pts: Presentation time stamp in units of ``time_base``; None if the source has none.
        time_base: Seconds per unit of ``pts`` as (numerator, denominator).
    """

    t_wall_ns: int
    t_source: StampSource
    t_captured_ns: int
    t_decoded_ns: int
    pts: int | None
    time_base: tuple[int, int]

    @property
    def stream_time_ns(self) -> int:
        """Position in the stream: a file's own time (it may be read faster than it plays), otherwise capture time."""
        if self.t_source == "file" and self.pts is not None:
            numerator, denominator = self.time_base
            return self.pts * numerator * 1_000_000_000 // denominator
        return self.t_captured_ns


@dataclass(frozen=True, slots=True)
class SourceFrame:
    """A decoded frame as returned by a source, before it has an id.

    Attributes:
        format: Geometry and layout.
        planes: ``uint8 [rows, bytes per row]`` each, shaped as ``format.plane_shapes``; rows may be strided.
            Lifetime: valid until the source's next ``read()``.
        stamps: Time stamps.
        discontinuity: Why this frame does not follow the previous one, if the source knows; otherwise empty.
    """

    format: FrameFormat
    planes: tuple[Plane, ...]
    stamps: FrameStamps
    discontinuity: str = ""


@dataclass(frozen=True, slots=True)
class Frame:
    """A captured frame.

    Attributes:
        frame_id: Number of the frame in its stream, from 0; assigned at capture, never reused in a session.
        epoch: Incremented by each reconnect, size change or time jump of the source.
        format: Geometry and layout.
        planes: Contiguous ``uint8 [rows, bytes per row]`` each. Lifetime: planes read from a ring are views of
            shared memory, valid until the frame is released.
        stamps: Time stamps.
    """

    frame_id: int
    epoch: int
    format: FrameFormat
    planes: tuple[Plane, ...]
    stamps: FrameStamps


_LUMA_WEIGHTS: Final[dict[ColorMatrix, tuple[float, float]]] = {
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
}
"""Weights of red and blue in luma (ITU-R BT.601, BT.709, BT.2020 non-constant luminance)."""


def yuv_to_rgb_matrix(matrix: ColorMatrix, full_range: bool) -> NDArray[np.float32]:
    """Return ``float32 [3, 4]``: RGB = result @ (Y, U, V, 1), all in 0..255."""
    red, blue = _LUMA_WEIGHTS[matrix]
    green = 1.0 - red - blue
    luma, chroma, black = (1.0, 1.0, 0.0) if full_range else (255 / 219, 255 / 224, 16.0)
    coefficients = np.array(
        [
            [1.0, 0.0, 2 * (1 - red)],
            [1.0, -2 * (1 - blue) * blue / green, -2 * (1 - red) * red / green],
            [1.0, 2 * (1 - blue), 0.0],
        ]
    ) * (luma, chroma, chroma)
    offset = -coefficients @ (black, 128.0, 128.0)
    return np.concatenate([coefficients, offset[:, None]], axis=1).astype(np.float32)
