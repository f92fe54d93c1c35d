"""Converts any pixel layout of the ring to 8-bit RGB, on the CPU. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from streamseg.frame import Frame, FrameFormat, Plane, yuv_to_rgb_matrix


class RgbConverter:
    """Converts frames of any layout to 8-bit RGB on the CPU.

    Keeps scratch memory for the largest frame so far: a new 6 MB array for each 1080p frame would cost more in page
    faults than the conversion.
    """

    def __init__(self) -> None:
        self._scratch: dict[str, Plane] = {}

    def __call__(self, frame: Frame) -> Plane:
        """Return ``uint8 [height, width, 3]`` RGB.

        Lifetime: valid until the next call, and no longer than the frame: an ``rgb24`` frame is not copied.
        """
        fmt = frame.format
        h, w = fmt.height, fmt.width
        match fmt.pixel_format:
            case "rgb24":
                return frame.planes[0].reshape(h, w, 3)
            case "bgr24":
                rgb = self._take("rgb", (h, w, 3))
                return _array(cv2.cvtColor(frame.planes[0].reshape(h, w, 3), cv2.COLOR_BGR2RGB, rgb))
            case "gray8":
                return _array(cv2.cvtColor(frame.planes[0], cv2.COLOR_GRAY2RGB, self._take("rgb", (h, w, 3))))
            case "yuv420p" | "nv12":
                luma, *chroma = _yuv_planes(fmt, frame.planes)
                wide = [self._double(name, plane)[:, :w] for name, plane in zip("uv", chroma, strict=True)]
                yuv = self._take("yuv", (h, w, 3))
                for rows in (slice(0, h, 2), slice(1, h, 2)):  # two rows share their chroma
                    if count := len(luma[rows]):
                        cv2.merge((luma[rows], *(plane[:count] for plane in wide)), yuv[rows])
                matrix = yuv_to_rgb_matrix(fmt.matrix, fmt.full_range)
                return _array(cv2.transform(yuv, matrix, self._take("rgb", (h, w, 3))))

    def _double(self, name: str, plane: Plane) -> Plane:
        """Duplicate each sample of a row. A 16-bit multiplication writes two equal bytes at once."""
        rows, columns = plane.shape
        out = self._take(name, (rows, 2 * columns))
        np.multiply(plane, 257, out=out.view(np.uint16), dtype=np.uint16)
        return out

    def _take(self, name: str, shape: tuple[int, ...]) -> Plane:
        size = int(np.prod(shape))
        if name not in self._scratch or self._scratch[name].size < size:
            self._scratch[name] = np.empty(size, dtype=np.uint8)
        return self._scratch[name][:size].reshape(shape)


def sample_rgb(frame: Frame, step: int) -> Plane:
    """Return a coarse picture: one pixel per ``step x step`` block, without filtering.

    Returns:
        ``uint8 [ceil(height / step), ceil(width / step), 3]`` RGB, a new array.
    """
    fmt = frame.format
    rows = np.minimum(np.arange(0, fmt.height, step) + step // 2, fmt.height - 1)
    columns = np.minimum(np.arange(0, fmt.width, step) + step // 2, fmt.width - 1)
    match fmt.pixel_format:
        case "rgb24" | "bgr24":
            picture = frame.planes[0].reshape(fmt.height, fmt.width, 3).take(rows, axis=0).take(columns, axis=1)
            return picture if fmt.pixel_format == "rgb24" else _array(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
        case "gray8":
            gray = frame.planes[0].take(rows, axis=0).take(columns, axis=1)
            return _array(cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB))
        case "yuv420p" | "nv12":
            luma, *chroma = _yuv_planes(fmt, frame.planes)
            sampled = [luma.take(rows, axis=0).take(columns, axis=1)]
            sampled += [plane.take(rows // 2, axis=0).take(columns // 2, axis=1) for plane in chroma]
            return _array(cv2.transform(cv2.merge(sampled), yuv_to_rgb_matrix(fmt.matrix, fmt.full_range)))


def _yuv_planes(fmt: FrameFormat, planes: Sequence[Plane]) -> tuple[Plane, Plane, Plane]:
    if fmt.pixel_format == "nv12":
        return planes[0], planes[1][:, 0::2], planes[1][:, 1::2]
    return planes[0], planes[1], planes[2]


def _array(mat: cv2.typing.MatLike) -> Plane:
    return np.asarray(mat, dtype=np.uint8)
