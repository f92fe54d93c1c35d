"""The frames of a recording to export: each with its masks, and its picture if pictures were recorded."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from streamseg.client.assembly import assemble
from streamseg.client.results import ImageFrame, MaskFrame
from streamseg.errors import ProtocolError, RecordError
from streamseg.record.folder import read_recording

_MAX_WAITING: Final = 256
"""Maximum number of frames that wait for their picture or masks. Pictures arrive a few frames late."""

_SESSION: Final = re.compile(r"[0-9A-Za-z_-]{1,64}")
"""A session that can safely be part of a file name. A recording may come from anyone."""

Key = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class ExportedFrame:
    """A frame.

    Attributes:
        masks: Its objects.
        jpeg: Its picture; None if the recording has no pictures of its stream.
    """

    masks: MaskFrame
    jpeg: bytes | None

    @property
    def video(self) -> str:
        """Name of the video that it belongs to: one stream in one run of its daemon."""
        return f"{self.masks.stream}-{self.masks.session}"

    @property
    def name(self) -> str:
        """Name of the frame in its video; names sort like frames."""
        return f"{self.masks.frame:08}"


def exported_frames(path: Path, stream: str | None = None) -> Iterator[ExportedFrame]:
    """Yield the frames of a recording. Where pictures were recorded, frames without one are left out.

    Reads the recording twice: whether a stream has pictures is known only at the end, and its frames are too many to
    hold until then.

    Args:
        path: The recording.
        stream: Only this stream; None: all.

    Raises:
        RecordError: there is no recording, it has no masks of that stream, or a session cannot name a file.
    """
    any_frame = False
    for frame in _paired(_messages(path, stream), _pictured(path)):
        any_frame = True
        yield frame
    if not any_frame:
        raise RecordError(f"{path}: the recording has no masks" + (f" of stream {stream!r}" if stream else ""))


def _pictured(path: Path) -> set[str]:
    """Return the streams whose pictures were recorded."""
    return {recorded.stream for recorded in read_recording(path) if recorded.kind == "image"}


def _messages(path: Path, stream: str | None) -> Iterator[MaskFrame | ImageFrame]:
    for recorded in read_recording(path):
        if recorded.kind not in ("masks", "image") or (stream is not None and recorded.stream != stream):
            continue
        try:
            message = assemble([recorded.topic, *recorded.parts])
        except ProtocolError:
            continue  # from a daemon that is newer than this program
        if not isinstance(message, MaskFrame | ImageFrame):
            continue
        if not _SESSION.fullmatch(message.session):
            raise RecordError(
                f"{path}: session {message.session[:80]!r} is not one of a daemon: letters, digits, _ and -"
            )
        yield message


def _paired(messages: Iterable[MaskFrame | ImageFrame], pictured: Container[str]) -> Iterator[ExportedFrame]:
    masks: dict[Key, MaskFrame] = {}
    pictures: dict[Key, bytes] = {}
    for message in messages:
        key = (message.stream, message.session, message.frame)
        if isinstance(message, MaskFrame):
            if message.stream not in pictured:
                yield ExportedFrame(message, None)
            elif key in pictures:
                yield ExportedFrame(message, pictures.pop(key))
            else:
                masks[key] = message
        elif key in masks:
            yield ExportedFrame(masks.pop(key), message.jpeg)
        else:
            pictures[key] = message.jpeg
        for waiting in (masks, pictures):
            while len(waiting) > _MAX_WAITING:
                del waiting[next(iter(waiting))]
