"""A daemon's streams and their objects as JSON. The memory of objects is in separate snapshots.

It contains the addresses of streams added at runtime, maybe with passwords, so its file is private.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

import msgspec

from streamseg.errors import StateError
from streamseg.protocol.text import encode_json
from streamseg.state.stream_snapshot import SavedObjects

VERSION: Final = 2
MAX_BYTES: Final = 256 * 1024 * 1024


class StreamRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One stream.

    Attributes:
        source: Digest of its source's address.
        settings: Its settings, if it was added on request; None: they are in the configuration file.
        configured: Ids of the objects that the settings name.
        saved: Its objects.
    """

    source: str
    settings: dict[str, Any] | None
    configured: tuple[int, ...]
    saved: SavedObjects


class DaemonRecord(msgspec.Struct, frozen=True, kw_only=True):
    """All streams.

    Attributes:
        version: Version of the format.
        config: Path of the configuration file, for readers.
        streams: Stream id -> stream.
    """

    version: int = VERSION
    config: str
    streams: dict[str, StreamRecord]


def source_digest(address: str) -> str:
    """Return a digest of a source's address, which may contain a password."""
    # A path may hold bytes that are not UTF-8: surrogates.
    return hashlib.blake2b(address.encode(errors="surrogatepass"), digest_size=16).hexdigest()


def encode_record(record: DaemonRecord) -> bytes:
    """Return a record as bytes: a line with a checksum, then JSON. Text that is not valid Unicode is escaped."""
    body = encode_json(record)
    return _checksum(body) + b"\n" + body


def decode_record(data: bytes) -> DaemonRecord:
    """Read a record.

    Raises:
        StateError: It is truncated or changed, or has another version.
    """
    checksum, _, body = data.partition(b"\n")
    if checksum != _checksum(body):
        raise StateError("it is damaged: its checksum does not fit")
    try:
        record = msgspec.json.decode(body, type=DaemonRecord)
    except msgspec.DecodeError as error:
        raise StateError(f"it is damaged: {error}") from None
    if record.version != VERSION:
        raise StateError(f"it is of version {record.version}, this streamseg reads version {VERSION}")
    return record


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=16).hexdigest().encode()
