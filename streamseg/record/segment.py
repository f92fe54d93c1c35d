"""One file of a recording: MCAP, written so that it stays readable whatever happens to its writer.

Messages are written one by one, without chunks: after a kill or a full disk, everything up to the last whole message is
readable. Events, status and objects are stored as JSON with its schema, which MCAP's own tools show. Masks and pictures
are stored as all parts after the topic, each prefixed with its length as 4 bytes, most significant byte first (encoding
``streamseg-parts``).
"""

from __future__ import annotations

import contextlib
import logging
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
from mcap.exceptions import EndOfFile
from mcap.records import Channel, Message
from mcap.stream_reader import StreamReader
from mcap.writer import CompressionType, IndexType, Writer

from streamseg.errors import RecordError
from streamseg.protocol.published import DaemonStatus, Event, Objects, Status
from streamseg.protocol.topics import DAEMON, MAX_MESSAGE_BYTES, TOPIC

log = logging.getLogger(__name__)

SUFFIX: Final = ".mcap"
_MAGIC: Final = b"\x89MCAP0\r\n"
"""The first bytes of every file of this format."""
_PARTS: Final = "streamseg-parts"
_SCHEMAS: Final[dict[str, type[msgspec.Struct]]] = {"objects": Objects, "events": Event, "status": Status}


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recorded message.

    Attributes:
        topic: Its topic.
        parts: The message parts after the topic, byte for byte: the header, then masks or the picture.
        t_received_ns: When it was received, Unix epoch.
    """

    topic: bytes
    parts: tuple[bytes, ...]
    t_received_ns: int

    @property
    def stream(self) -> str:
        """Id of the stream."""
        return self.topic.split(b"/")[1].decode()

    @property
    def kind(self) -> str:
        """Kind of the message."""
        return self.topic.split(b"/")[2].decode()


class SegmentWriter:
    """Writes one file.

    Args:
        path: A file that does not exist yet.

    Raises:
        OSError: It cannot be created.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = _WholeWrites(path)
        try:
            self._start()
        except OSError:
            self._file.close()
            with contextlib.suppress(OSError):
                path.unlink()
            raise

    def _start(self) -> None:
        self._channels: dict[bytes, int] = {}
        self._schemas: dict[str, int] = {}
        self._writer = Writer(
            self._file,  # type: ignore[arg-type]  # it only writes and tells
            use_chunking=False,
            compression=CompressionType.NONE,
            index_types=IndexType.NONE,
        )
        self._writer.start(profile="streamseg", library="streamseg")

    @property
    def size(self) -> int:
        """Bytes written."""
        return self._file.tell()

    def write(self, recorded: Recorded, sequence: int = 0) -> None:
        """Append a message.

        Raises:
            OSError: The disk is full or broken. The file then ends with the previous message.
        """
        whole = self._file.tell()
        try:
            channel = self._channels.get(recorded.topic) or self._register(recorded)
            data = recorded.parts[0] if self._as_json(recorded.kind) else pack(recorded.parts)
            stamp = recorded.t_received_ns
            self._writer.add_message(channel, log_time=stamp, publish_time=stamp, data=data, sequence=sequence)
        except OSError:
            self._file.truncate(whole)
            raise

    def _register(self, recorded: Recorded) -> int:
        kind, schema = recorded.kind, 0
        if self._as_json(kind):
            type_ = DaemonStatus if kind == "status" and recorded.stream == DAEMON else _SCHEMAS[kind]
            schema = self._schemas.get(type_.__name__, 0) or self._writer.register_schema(
                f"streamseg.{type_.__name__}", "jsonschema", msgspec.json.encode(msgspec.json.schema(type_))
            )
            self._schemas[type_.__name__] = schema
        encoding = "json" if schema else _PARTS
        self._channels[recorded.topic] = self._writer.register_channel(recorded.topic.decode(), encoding, schema)
        return self._channels[recorded.topic]

    @staticmethod
    def _as_json(kind: str) -> bool:
        return kind in _SCHEMAS

    def close(self) -> None:
        """Write the summary and close the file. Safe to call twice, and after an error."""
        if self._file.closed:
            return
        whole = self._file.tell()
        try:
            self._writer.finish()  # type: ignore[no-untyped-call]
        except OSError:
            self._file.truncate(whole)  # readable without a summary
        self._file.close()


class _WholeWrites:
    """An unbuffered file whose writes are complete or raise: a full disk may accept a part of a write.

    Only this user can read it: it may hold pictures of a camera.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._at = 0
        self.closed = False

    def write(self, data: bytes) -> int:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._fd, rest) :]
        self._at += len(data)
        return len(data)

    def tell(self) -> int:
        return self._at

    def flush(self) -> None:
        pass

    def truncate(self, size: int) -> None:
        os.ftruncate(self._fd, size)
        os.lseek(self._fd, size, os.SEEK_SET)
        self._at = size

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            os.close(self._fd)


def read_segment(path: Path) -> Iterator[Recorded]:
    """Yield the messages of a file in order. It may still be written, or end in the middle of a message.

    Raises:
        RecordError: it cannot be opened, or is not a recording.
    """
    channels: dict[int, Channel] = {}
    try:
        with path.open("rb") as file:
            for record in _records(file, path):
                if isinstance(record, Channel):
                    channels[record.id] = record
                elif isinstance(record, Message) and (channel := channels.get(record.channel_id)):
                    topic = channel.topic.encode()
                    if not TOPIC.fullmatch(topic):
                        continue  # of another program
                    data = bytes(record.data)
                    parts = unpack(data) if channel.message_encoding == _PARTS else (data,)
                    if parts:
                        yield Recorded(topic, parts, record.log_time)
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror}") from None


def _records(file: Any, path: Path) -> Iterator[object]:
    reader = StreamReader(file, record_size_limit=2 * MAX_MESSAGE_BYTES, validate_crcs=True)
    records, any_read = reader.records, False
    while True:
        try:
            record = next(records)
        except StopIteration:
            return
        except Exception as error:  # noqa: BLE001  # decompressors and record parsers raise their own errors
            cut = isinstance(error, EndOfFile | EOFError | struct.error)  # it ends in the middle of a record
            if not any_read and not (cut and _begins_as_mcap(file)):
                raise RecordError(f"{path}: not a recording of streamseg (MCAP)") from None
            if not cut:
                log.warning("%s is damaged, and the rest of it is left out: %s", path, error or type(error).__name__)
            return
        any_read = True
        yield record


def _begins_as_mcap(file: Any) -> bool:
    """Return whether a file starts with MCAP's magic bytes or is cut off within them: its recorder has just begun."""
    file.seek(0)
    found: bytes = file.read(len(_MAGIC))
    return _MAGIC.startswith(found)


def pack(parts: Sequence[bytes]) -> bytes:
    """Return parts as one byte string, each prefixed with its length."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def unpack(data: bytes) -> tuple[bytes, ...]:
    """Return the parts in a byte string; none if :func:`pack` did not make it."""
    parts, at = [], 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            return ()
        parts.append(data[at + 4 : end])
        at = end
    return tuple(parts)
