"""A frame of the ring as JPEG, in the right colours."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from streamseg.frame import ColourMatrix, Frame, FrameFormat, Plane

Bgr = NDArray[np.uint8]

# Kr and Kb: what red and blue contribute to luma (ITU-R BT.601, BT.709, BT.2020).
_LUMA_SHARES: Final[dict[ColourMatrix, tuple[float, float]]] = {
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
}


def encode_jpeg(frame: Frame, quality: int) -> bytes:
    """Return the frame's picture.

    Args:
        frame: Of any pixel format.
        quality: 1..100.

    Raises:
        cv2.error: OpenCV cannot encode it.
    """
    picture = frame.planes[0] if frame.format.pixel_format == "gray8" else to_bgr(frame)
    encoded, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not encoded:
        raise cv2.error(f"no JPEG of a {frame.format.width}x{frame.format.height} picture")
    return data.tobytes()


def to_bgr(frame: Frame) -> Bgr:
    """Return ``uint8 [height, width, 3]``, blue first, as OpenCV wants it."""
    width, height = frame.format.width, frame.format.height
    planes = frame.planes
    match frame.format.pixel_format:
        case "bgr24":
            return planes[0].reshape(height, width, 3)
        case "rgb24":
            return _as_uint8(cv2.cvtColor(planes[0].reshape(height, width, 3), cv2.COLOR_RGB2BGR))
        case "gray8":
            return _as_uint8(cv2.cvtColor(planes[0], cv2.COLOR_GRAY2BGR))
        case "yuv420p":
            chroma = cv2.merge([planes[1], planes[2]])
        case "nv12":
            chroma = planes[1].reshape(planes[1].shape[0], -1, 2)
    return _yuv_to_bgr(frame.format, planes[0], _as_uint8(chroma))


def _yuv_to_bgr(frame_format: FrameFormat, luma: Plane, chroma: NDArray[np.uint8]) -> Bgr:
    """Convert by the frame's own matrix and range: OpenCV's converters know only BT.601 in video range.

    Args:
        frame_format: Names matrix and range.
        luma: ``uint8 [height, width]``.
        chroma: ``uint8 [ceil(height / 2), ceil(width / 2), 2]``: Cb, Cr.
    """
    height, width = luma.shape
    full = cv2.resize(chroma, (2 * chroma.shape[1], 2 * chroma.shape[0]), interpolation=cv2.INTER_NEAREST)
    yuv = np.empty((height, width, 3), np.uint8)
    cv2.mixChannels([luma, np.ascontiguousarray(full[:height, :width])], [yuv], [0, 0, 1, 1, 2, 2])
    return _as_uint8(cv2.transform(yuv, yuv_to_bgr_matrix(frame_format.matrix, full_range=frame_format.full_range)))


def yuv_to_bgr_matrix(matrix: ColourMatrix, *, full_range: bool) -> NDArray[np.float32]:
    """Return ``float32 [3, 4]`` that takes (Y, Cb, Cr, 1) of 8 bits to (B, G, R) of 0..255."""
    kr, kb = _LUMA_SHARES[matrix]
    kg = 1.0 - kr - kb
    luma_gain, luma_zero, chroma_gain = (1.0, 0.0, 2.0) if full_range else (255 / 219, 16.0, 2.0 * 255 / 224)
    rows = np.array(
        [
            [luma_gain, chroma_gain * (1 - kb), 0.0],
            [luma_gain, -chroma_gain * kb * (1 - kb) / kg, -chroma_gain * kr * (1 - kr) / kg],
            [luma_gain, 0.0, chroma_gain * (1 - kr)],
        ]
    )
    offsets = -rows @ np.array([luma_zero, 128.0, 128.0])
    return np.column_stack([rows, offsets]).astype(np.float32)


def _as_uint8(array: object) -> NDArray[np.uint8]:
    """Give OpenCV's result its type, which its stubs leave open."""
    return np.asarray(array, dtype=np.uint8)
