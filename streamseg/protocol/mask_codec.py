"""Encodes and decodes masks, as described in ``docs/protocol.md``.

A mask is sent as the crop inside its ``roi``; everything outside is background. Our own masks are encoded in C by
pycocotools or rlemasklib (:mod:`~streamseg.protocol.rle_encoders`). The decoder is ours because it reads bytes from a
network: it checks every size before it allocates memory, while pycocotools accepts strings that end in the middle of a
number or whose runs do not add up to the mask. In numpy it is as fast as in C.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from streamseg.errors import ConfigError, ProtocolError
from streamseg.protocol.polygons import decode_polygons, encode_polygons
from streamseg.protocol.rle_encoders import encode_counts

if TYPE_CHECKING:
    from streamseg.protocol.arguments import Rle
    from streamseg.protocol.published import Encoding

BoolMask = NDArray[np.bool_]

MAX_PIXELS: Final = 2**26
"""Largest frame in pixels; 8K video has half as many."""

MAX_MASK_BYTES: Final = 2**23
"""Longest encoded mask in bytes. Real ones are a few kilobytes; noise at 4K just fits."""

_ZSTD_LEVEL = 1
_MAX_COUNT_CHARS = 7
_CHUNK_CHARS = 2**16


def require_encoding(encoding: Encoding) -> None:
    """Check that the packages of an encoding are installed.

    Raises:
        ConfigError: its package is not installed.
    """
    if encoding == "bits_zstd" and find_spec("zstandard") is None:
        raise ConfigError(
            "publish.encoding: 'bits_zstd' needs the package zstandard, which is not installed: "
            "pip install 'streamseg[fast]', or use 'coco_rle'"
        )


def encode_bits(bits: bytes, size: tuple[int, int], encoding: Encoding) -> bytes:
    """Encode a mask packed into bits.

    Args:
        bits: ``np.packbits(mask, axis=1).tobytes()``: ceil(width / 8) bytes a row.
        size: (width, height) of the mask, the ``roi``'s.
        encoding: ``coco_rle``, ``bits_zstd`` or ``polygons``.

    Raises:
        ProtocolError: the length of ``bits`` does not match ``size``, or the result is too long to send.
    """
    width, height = size
    row_bytes = _row_bytes(size)
    if len(bits) != row_bytes * height:
        raise ProtocolError(f"a {width}x{height} mask packs to {row_bytes * height} bytes, not {len(bits)}")
    match encoding:
        case "coco_rle":
            rows = np.frombuffer(bits, dtype=np.uint8).reshape(height, row_bytes)
            data = encode_counts(np.unpackbits(rows, axis=1, count=width))
        case "bits_zstd":
            data = _zstd_compress(bits)
        case "polygons":
            rows = np.frombuffer(bits, dtype=np.uint8).reshape(height, row_bytes)
            data = encode_polygons(np.unpackbits(rows, axis=1, count=width))
        case _:
            raise ProtocolError(f"masks cannot be encoded as {encoding!r}: coco_rle, bits_zstd or polygons")
    if len(data) > MAX_MASK_BYTES:
        raise ProtocolError(f"a mask of {len(data)} bytes is too long to send: at most {MAX_MASK_BYTES}")
    return data


def encode_rle(mask: BoolMask) -> bytes:
    """Return a mask's compressed COCO RLE counts, byte for byte as pycocotools writes them.

    Args:
        mask: ``bool [height, width]``.
    """
    return encode_counts(mask.view(np.uint8))


def decode_mask(data: bytes, size: tuple[int, int], encoding: str) -> BoolMask:
    """Decode a mask.

    Args:
        data: The message part.
        size: (width, height) of the mask's ``roi``, not of the frame.
        encoding: Name from the message.

    Returns:
        ``bool [height, width]``, contiguous.

    Raises:
        ProtocolError: the bytes are not a mask of that size, or the encoding is unknown.
        ConfigError: ``bits_zstd`` without the package zstandard, or ``polygons`` without OpenCV.
    """
    _row_bytes(size)
    if len(data) > MAX_MASK_BYTES:
        raise ProtocolError(f"a mask of {len(data)} bytes is too long: at most {MAX_MASK_BYTES}")
    match encoding:
        case "coco_rle":
            return _decode_rle(data, size)
        case "bits_zstd":
            return _decode_bits(data, size)
        case "polygons":
            return decode_polygons(data, size)
        case _:
            raise ProtocolError(
                f"mask encoding {encoding!r} is unknown to this version: coco_rle, bits_zstd or polygons"
            )


def decode_frame_rle(rle: Rle, size: tuple[int, int]) -> BoolMask:
    """Decode the mask of a whole frame.

    Args:
        rle: As in a control reply.
        size: (width, height) of the frame.

    Returns:
        ``bool [height, width]``.

    Raises:
        ProtocolError: The bytes are not a mask of that size.
    """
    height, width = rle.size
    if (width, height) != size:
        raise ProtocolError(f"the mask is {width}x{height}, the frame {size[0]}x{size[1]}")
    return decode_mask(rle.counts.encode(), size, "coco_rle")


def _row_bytes(size: tuple[int, int]) -> int:
    """Check the size and return the bytes of a packed row."""
    width, height = size
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise ProtocolError(f"a mask cannot be {width}x{height} pixels: at least 1x1, at most {MAX_PIXELS} pixels")
    return (width + 7) // 8


# --- COCO RLE -------------------------------------------------------------------------------------------------------
# Run lengths of the pixels read column by column, beginning with a (possibly empty) run of background. From the fourth
# run on, each is the difference to the run two before. Each number is written in groups of 5 bits, lowest first, as
# the character 48 + group; bit 5 means that more groups follow, bit 4 of the last group is the sign.


def _decode_rle(data: bytes, size: tuple[int, int]) -> BoolMask:
    width, height = size
    chunks = _checked_counts(data, size)  # before memory for the mask is allocated
    pixels = np.empty(width * height, np.bool_)
    at = run = 0
    for counts in chunks:
        is_object = np.arange(run, run + len(counts)) % 2 == 1
        filled = np.repeat(is_object, counts)
        pixels[at : at + len(filled)] = filled
        at, run = at + len(filled), run + len(counts)
    return _transposed(pixels.reshape(width, height))


def _transposed(pixels: BoolMask) -> BoolMask:
    """Return a contiguous transpose. Uses OpenCV, which is ten times faster, if the program has loaded it anyway."""
    transpose = getattr(sys.modules.get("cv2"), "transpose", None)
    if transpose is None:
        return np.ascontiguousarray(pixels.T)
    return np.asarray(transpose(pixels.view(np.uint8))).view(np.bool_)


def _checked_counts(data: bytes, size: tuple[int, int]) -> list[NDArray[np.uint32]]:
    """Return the run lengths in chunks. Bounds memory until it is known that they add up to the mask."""
    area = size[0] * size[1]
    chunks: list[NDArray[np.uint32]] = []
    total = runs = 0
    for counts in _run_lengths(data):
        total, runs = total + int(counts.sum()), runs + len(counts)
        # A mask has at most one run per pixel, plus a first one that may be empty.
        if counts.min() < 0 or counts.max() > area or total > area or runs > area + 1:
            break
        chunks.append(counts.astype(np.uint32))
    else:
        if total == area:
            return chunks
    raise ProtocolError(f"coco_rle: the runs do not add up to the {size[0]}x{size[1]} pixels of the mask")


def _run_lengths(data: bytes) -> Iterator[NDArray[np.int64]]:
    """Yield the run lengths in chunks, not yet checked against the size of the mask."""
    start = run = 0
    earlier = [0, 0]  # the last run of each parity; for even runs without the first one
    while start < len(data) or not data:
        groups = np.frombuffer(data[start : start + _CHUNK_CHARS], dtype=np.uint8) - np.uint8(48)
        ends = np.flatnonzero((groups & 0x20) == 0)
        is_last = start + len(groups) == len(data)
        if len(groups) == 0 or groups.max() > 63 or (is_last and groups[-1] & 0x20):
            raise ProtocolError("coco_rle: not a COCO counts string")
        chars = np.diff(ends, prepend=-1)
        if len(ends) == 0 or chars.max() > _MAX_COUNT_CHARS:
            raise ProtocolError(f"coco_rle: a run of more than {_MAX_COUNT_CHARS} characters")
        groups = groups[: ends[-1] + 1]
        numbers = _numbers(groups, ends, chars)
        for parity in (0, 1):
            own = numbers[(run + parity) % 2 :: 2]
            if run == 0 and parity == 0:
                own = own[1:]
            if len(own):
                own[0] += earlier[parity]
                np.cumsum(own, out=own)
                earlier[parity] = int(own[-1])
        yield numbers
        start, run = start + len(groups), run + len(numbers)


def _numbers(groups: NDArray[np.uint8], ends: NDArray[np.int64], chars: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the numbers encoded by the groups.

    Args:
        groups: ``[G]``, each 5 bits, plus a bit that is set if more follow.
        ends: ``[N]``, index of the last group of each number.
        chars: ``[N]``, number of groups of each number.
    """
    starts = ends - chars + 1
    place = 5 * (np.arange(len(groups)) - np.repeat(starts, chars))
    numbers = np.add.reduceat((groups & 0x1F).astype(np.int64) << place, starts)
    numbers -= np.where(groups[ends] & 0x10, np.int64(1) << (5 * chars), 0)
    return numbers


# --- packed bits with zstd ------------------------------------------------------------------------------------------


def _zstd_compress(bits: bytes) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(bits)


def _decode_bits(data: bytes, size: tuple[int, int]) -> BoolMask:
    width, height = size
    row_bytes = _row_bytes(size)
    require_encoding("bits_zstd")
    import zstandard

    try:
        # The library allocates what the frame announces, regardless of `max_output_size`: check first.
        announced = zstandard.get_frame_parameters(data).content_size
        if announced != row_bytes * height:
            raise ProtocolError(
                f"bits_zstd: announces {announced} bytes, a {width}x{height} mask has {row_bytes * height}"
            )
        bits = zstandard.ZstdDecompressor().decompress(data, max_output_size=row_bytes * height, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ProtocolError(f"bits_zstd: {error}") from None
    if len(bits) != row_bytes * height:
        raise ProtocolError(f"bits_zstd: holds {len(bits)} bytes, a {width}x{height} mask has {row_bytes * height}")
    rows = np.frombuffer(bits, dtype=np.uint8).reshape(height, row_bytes)
    return np.unpackbits(rows, axis=1, count=width).view(np.bool_)
