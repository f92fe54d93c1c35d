"""Decode a received JPEG, after a check of the size in its header.

OpenCV decodes if it is installed, or else Pillow, which is a tenth of its size. The size is read here because OpenCV
would first allocate what the header claims, up to a billion pixels.
"""

from __future__ import annotations

import io
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from streamseg.errors import ConfigError, ProtocolError

# Start-of-frame segments contain the size: SOF0..SOF15 without DHT (C4), JPG (C8) and DAC (CC).
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def decode_jpeg(data: bytes, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Decode a picture.

    Args:
        data: JPEG.
        size: (width, height) that it must have.

    Returns:
        ``uint8 [height, width, 3]``, red first.

    Raises:
        ProtocolError: the bytes are not a JPEG of that size.
        ConfigError: neither OpenCV nor Pillow is installed.
    """
    announced = jpeg_size(data)
    if announced != size:  # checked before memory is allocated
        raise ProtocolError(f"a JPEG of {announced[0]}x{announced[1]} pixels for a frame of {size[0]}x{size[1]}")
    picture = _decode(data)
    if picture.shape != (size[1], size[0], 3):
        raise ProtocolError("not a JPEG that can be read")
    return picture


def _decode(data: bytes) -> NDArray[np.uint8]:
    if find_spec("cv2") is not None:
        return _decode_with_opencv(data)
    if find_spec("PIL") is not None:
        return decode_with_pillow(data)
    raise ConfigError("pictures need Pillow or OpenCV: pip install 'streamseg-client[image]'")


def _decode_with_opencv(data: bytes) -> NDArray[np.uint8]:
    import cv2

    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ProtocolError(f"not a JPEG that OpenCV can read: {error}") from None
    if picture is None:
        raise ProtocolError("not a JPEG that OpenCV can read")
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def decode_with_pillow(data: bytes) -> NDArray[np.uint8]:
    """Decode a picture of a checked size as ``uint8 [height, width, 3]``.

    Raises:
        ProtocolError: the bytes are not a JPEG.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as opened:
            return np.array(opened.convert("RGB"), dtype=np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ProtocolError(f"not a JPEG that Pillow can read: {error}") from None


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Return (width, height) from the header of a JPEG.

    Raises:
        ProtocolError: there is no such header.
    """
    at = 2
    if data[:2] == b"\xff\xd8":
        while at + 9 <= len(data) and data[at] == 0xFF:
            if data[at + 1] in _START_OF_FRAME:
                return int.from_bytes(data[at + 7 : at + 9]), int.from_bytes(data[at + 5 : at + 7])
            at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4]))
    raise ProtocolError("not a JPEG: its header has no size")
