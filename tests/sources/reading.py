"""What tests do with a source that has an end."""

from __future__ import annotations

from streamseg.errors import EndOfStreamError
from streamseg.frame import SourceFrame
from streamseg.sources.base import FrameSource


def read_all(source: FrameSource) -> list[SourceFrame]:
    """Return every frame until the end."""
    frames = []
    while True:
        try:
            frames.append(source.read())
        except EndOfStreamError:
            return frames
