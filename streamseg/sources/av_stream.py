"""Chooses the video stream of an open container, and checks its size."""

from __future__ import annotations

from typing import Any

from streamseg.common.image_file import MAX_PIXELS
from streamseg.errors import SourceOpenError


def choose_stream(container: Any, number: int | None, shown: str) -> Any:
    """Return a video stream.

    Args:
        container: PyAV's container.
        number: Which of several, from 0; None: the one that FFmpeg considers the best.
        shown: The address for messages, without secrets.

    Raises:
        SourceOpenError: There is no such stream.
    """
    streams = container.streams
    if not streams.video:
        found = ", ".join(stream.codec_context.name if stream.codec_context else "unknown" for stream in streams.audio)
        raise SourceOpenError(
            f"{shown}: contains no video{f', only sound ({found})' if found else ''}: use another source"
        )
    if number is None:
        return streams.best("video") or streams.video[0]
    count = len(streams.video)
    if number >= count:
        raise SourceOpenError(
            f"{shown}: video_stream is {number}, but there are {count} video streams: use 0 to {count - 1}"
        )
    return streams.video[number]


def check_pixels(stream: Any, shown: str) -> None:
    """Refuse a video that is too large.

    Raises:
        SourceOpenError: It has more than ``MAX_PIXELS``.
    """
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > MAX_PIXELS:
        raise SourceOpenError(
            f"{shown}: it has {width}x{height} pixels, more than {MAX_PIXELS:,}, which is refused: use a smaller video"
        )
