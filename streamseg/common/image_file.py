"""Reads image files, after a check of the size in their header, before anything is decoded."""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

MAX_PIXELS: Final = 64 * 1024 * 1024
"""Twice 8K. A PNG of a hundred kilobytes can claim a billion pixels."""

MAX_BYTES: Final = 512 * 1024 * 1024
_MAGIC: Final = re.compile(
    b"|".join(
        (
            rb"\xff\xd8\xff",  # JPEG
            rb"\x89PNG\r\n",
            rb"II\*\0|MM\0\*",  # TIFF
            rb"GIF8[79]a",
            rb"BM.{4}\0\0\0\0",
            rb"RIFF.{4}WEBP",
            rb"P[1-7]\s",  # PPM and its kin
            rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",  # JPEG 2000
            rb"\xff\x0a|\0\0\0\x0cJXL ",
            rb"\x76\x2f\x31\x01",  # OpenEXR
            rb"8BPS|SDPX|XPDS|qoif|DDS ",
            rb"\x01\xda[\0\x01]",  # SGI
            rb"\x59\xa6\x6a\x95",  # Sun raster
            rb"\x0a[\x02-\x05]\x01",  # PCX
        )
    ),
    re.DOTALL,
)
"""Magic bytes of single images, for every format that FFmpeg decodes and that has them."""

_AVIF: Final = re.compile(rb".{4}ftypavi[fs]", re.DOTALL)
_FORMATS: Final = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "PPM", "AVIF", "GIF")


class ImageError(Exception):
    """An image cannot be read, or is too large. The message does not name the file."""


def header_size(data: bytes) -> tuple[int, int] | None:
    """Return the (width, height) in the header of an image; None if its format is unknown.

    Raises:
        ImageError: it has more than :data:`MAX_PIXELS` pixels.
    """
    return _header_size(io.BytesIO(data))


def check_size(path: Path) -> None:
    """Check the size of an image file and of its picture, without reading more than its header.

    Raises:
        ImageError: it has more than :data:`MAX_PIXELS` pixels or :data:`MAX_BYTES` bytes. An unreadable file is not an
            error here.
    """
    try:
        if _size_of_file(path) > 0:
            with path.open("rb") as file:
                _header_size(file)
    except OSError:
        return


def _header_size(file: IO[bytes]) -> tuple[int, int] | None:
    from PIL import Image  # most processes never read an image file

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            size: tuple[int, int] = Image.open(file, formats=_FORMATS).size
    except Image.DecompressionBombError:
        raise ImageError(f"it has more than {MAX_PIXELS:,} pixels, which is refused: use a smaller image") from None
    except Exception:  # noqa: BLE001 - on a broken header, the plugins raise anything
        return None
    if size[0] * size[1] > MAX_PIXELS:
        raise ImageError(
            f"it has {size[0]}x{size[1]} pixels, more than {MAX_PIXELS:,}, which is refused: use a smaller image"
        )
    return size


def is_image(data: bytes) -> bool:
    """Whether a file is an image, or several in a row, by its first bytes."""
    return _MAGIC.match(data) is not None


def decode_image(data: bytes, flags: int) -> NDArray[Any]:
    """Decode an image.

    Args:
        data: Content of the file.
        flags: Flags of ``cv2.imdecode``.

    Returns:
        As ``cv2.imdecode``: BGR, or as ``flags`` say.

    Raises:
        ImageError: it is too large, or cannot be read.
    """
    import cv2  # takes 0.1 s to import

    try:
        # Not imread, which prints to stderr and does not accept every path.
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if header_size(data) is not None else None
    except cv2.error:
        image = None
    if image is None:
        raise ImageError("it is not a readable image" if data else "the file is empty")
    if _AVIF.match(data) and flags >= 0 and not flags & cv2.IMREAD_IGNORE_ORIENTATION:
        return _upright(np.asarray(image), data)
    return np.asarray(image)


def _upright(image: NDArray[Any], data: bytes) -> NDArray[Any]:
    """Apply the orientation in an image's file. OpenCV does this for all formats but AVIF."""
    from PIL import ExifTags, Image

    orientation = Image.open(io.BytesIO(data), formats=("AVIF",)).getexif().get(ExifTags.Base.Orientation, 1)
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)


def read_image(path: Path, flags: int) -> NDArray[Any]:
    """Read and decode an image file.

    Raises:
        ImageError: it cannot be read, or is too large.
    """
    return decode_image(read_bytes(path), flags)


def read_bytes(path: Path) -> bytes:
    """Return the content of an image file.

    Raises:
        ImageError: it is not a file, cannot be read, or is larger than :data:`MAX_BYTES`.
    """
    try:
        if not path.is_file():
            raise ImageError("it is not a file" if path.exists() else "there is no such file")
        return path.read_bytes() if _size_of_file(path) > 0 else b""
    except OSError as error:
        raise ImageError(error.strerror or str(error)) from None


def _size_of_file(path: Path) -> int:
    """Return the size of a file in bytes; 0 for virtual files (``/proc/kmsg``), whose read may never end."""
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ImageError(f"it is larger than {MAX_BYTES >> 20} MiB: use a smaller image")
    return size
