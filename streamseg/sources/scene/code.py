"""A machine-readable frame number drawn into a picture, which identifies the frame after any amount of coding.

Two rows of 24 black or white square cells in the upper left corner: 32 bits of the number, then 16 bits of
CRC-16/CCITT (initial value 0xFFFF, so that neither a black nor a white picture is a number), highest bit first. A
cell is ``height // 45`` pixels wide (8 at 640x360), enough for JPEG and H.264 at any usable quality. Ours because a
QR or ArUco code is larger, and slower to read in every test frame.
"""

from __future__ import annotations

import binascii
from typing import Final

import numpy as np
from numpy.typing import NDArray

_ROWS: Final = 2
_COLUMNS: Final = 24
_LEAST_CONTRAST: Final = 64


def code_rectangle(width: int, height: int) -> tuple[int, int]:
    """Return (width, height) in pixels of the code, whose corner is (0, 0), in a picture of that size."""
    cell = _cell_px(width, height)
    return _COLUMNS * cell, _ROWS * cell


def draw_frame_code(image: NDArray[np.uint8], number: int) -> None:
    """Draw a number into a picture, in place.

    Args:
        image: ``uint8 [H, W, 3]``.
        number: Its lower 32 bits are drawn.
    """
    cell = _cell_px(image.shape[1], image.shape[0])
    number &= 0xFFFFFFFF
    word = (number << 16) | _checksum(number)
    bits = [(word >> shift) & 1 for shift in range(_ROWS * _COLUMNS - 1, -1, -1)]
    cells = (np.array(bits, dtype=np.uint8) * 255).reshape(_ROWS, _COLUMNS, 1)
    strip = np.repeat(np.repeat(cells, cell, axis=0), cell, axis=1)
    image[: strip.shape[0], : strip.shape[1]] = strip


def read_frame_code(image_rgb: NDArray[np.uint8]) -> int | None:
    """Return the number that :func:`draw_frame_code` drew into a picture of this size; None without one.

    Args:
        image_rgb: ``uint8 [H, W, 3]``, in either order of channels.
    """
    cell = _cell_px(image_rgb.shape[1], image_rgb.shape[0])
    if image_rgb.shape[0] < _ROWS * cell or image_rgb.shape[1] < _COLUMNS * cell:
        return None
    strip = image_rgb[: _ROWS * cell, : _COLUMNS * cell].reshape(_ROWS, cell, _COLUMNS, cell, 3)
    margin = cell // 4  # coding blurs the edges of a cell into its neighbors
    means = strip[:, margin : cell - margin, :, margin : cell - margin].mean(axis=(1, 3, 4)).ravel()
    if means.max() - means.min() < _LEAST_CONTRAST:
        return None
    word = 0
    for bright in means > 128:
        word = (word << 1) | int(bright)
    number, checksum = word >> 16, word & 0xFFFF
    return number if _checksum(number) == checksum else None


def _cell_px(width: int, height: int) -> int:
    return max(4, min(height // 45, width // _COLUMNS))


def _checksum(number: int) -> int:
    return binascii.crc_hqx(number.to_bytes(4, "big"), 0xFFFF)
