"""Reads the metadata of an ONNX file, such as the names of a model's classes.

Ours because only one field of the outermost message is needed: the package `onnx` and protobuf are 60 MB, and OpenCV,
which runs the model, does not expose it. The file is in protobuf's wire format; the metadata is field 14 of
``ModelProto`` (``onnx.proto``).
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_METADATA: Final = 14
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT: Final = 10


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of an ONNX file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not a protobuf message.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        entries = [value for number, value in _fields(data) if number == _METADATA]
    pairs = [dict(_fields(entry)) for entry in entries]
    return {pair.get(1, b"").decode(): pair.get(2, b"").decode() for pair in pairs}


def _fields(data: bytes | mmap.mmap) -> Iterator[tuple[int, bytes]]:
    """Yield number and content of each field; the content of numeric and of large fields is empty."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind, length = tag & 7, 0
        if kind == _VARINT:
            _, at = _varint(data, at)
        elif kind == _BYTES:
            length, at = _varint(data, at)
        elif kind in (_FIXED32, _FIXED64):
            length = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"a field of type {kind} at byte {at}")
        if at + length > len(data):
            raise ValueError(f"a field of {length} bytes at byte {at} of {len(data)}")
        yield tag >> 3, bytes(data[at : at + length]) if kind == _BYTES and length < 1 << 20 else b""
        at += length


def _varint(data: bytes | mmap.mmap, at: int) -> tuple[int, int]:
    """Return the number at a place, and the place after it."""
    value = 0
    for place, byte in enumerate(data[at : at + _MAX_VARINT]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise ValueError(f"no number at byte {at}")
