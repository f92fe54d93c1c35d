"""Converts a frame to JPEG, with its own color matrix and range."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from streamseg.frame import Frame, FrameFormat, Plane, yuv_to_rgb_matrix

Bgr = NDArray[np.uint8]


def encode_jpeg(frame: Frame, quality: int) -> bytes:
    """Return the frame as JPEG.

    Args:
        frame: A frame of any pixel format.
        quality: 1..100.

    Raises:
        cv2.error: OpenCV cannot encode it.
    """
    picture = frame.planes[0] if frame.format.pixel_format == "gray8" else to_bgr(frame)
    encoded, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not encoded:
        raise cv2.error(f"OpenCV cannot encode a picture of {frame.format.width}x{frame.format.height} as JPEG")
    return data.tobytes()


def to_bgr(frame: Frame) -> Bgr:
    """Convert a frame to ``uint8 [height, width, 3]`` in BGR order, as OpenCV expects."""
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
    """Convert with the frame's own matrix and range: OpenCV's converters support only BT.601 in video range.

    Args:
        frame_format: Gives the matrix and range.
        luma: ``uint8 [height, width]``.
        chroma: ``uint8 [ceil(height / 2), ceil(width / 2), 2]``: Cb, Cr.
    """
    height, width = luma.shape
    full = cv2.resize(chroma, (2 * chroma.shape[1], 2 * chroma.shape[0]), interpolation=cv2.INTER_NEAREST)
    yuv = np.empty((height, width, 3), np.uint8)
    cv2.mixChannels([luma, np.ascontiguousarray(full[:height, :width])], [yuv], [0, 0, 1, 1, 2, 2])
    to_rgb = yuv_to_rgb_matrix(frame_format.matrix, frame_format.full_range)
    return _as_uint8(cv2.transform(yuv, to_rgb[::-1].copy()))  # reversed rows give BGR


def _as_uint8(array: object) -> NDArray[np.uint8]:
    """Cast an OpenCV result, which its stubs leave untyped."""
    return np.asarray(array, dtype=np.uint8)
