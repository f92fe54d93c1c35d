"""Open a source: from an address and its settings to the class that reads it.

Importing this module loads no video library: the class of a source is imported when one is opened.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from streamseg.sources.address import classify
from streamseg.sources.base import FrameSource

if TYPE_CHECKING:
    from streamseg.sources.av_options import Decoder, Transport


class SourceSettings(Protocol):
    """The settings of a stream that its source depends on, as ``streams.NAME`` in a configuration has them."""

    @property
    def source(self) -> str:
        """Its address."""
        ...

    @property
    def transport(self) -> Transport:
        """RTSP only: how packets travel."""
        ...

    @property
    def open_timeout_s(self) -> float:
        """Longest wait for its first frame, in seconds."""
        ...

    @property
    def stall_timeout_s(self) -> float:
        """Longest wait for a later frame, in seconds."""
        ...

    @property
    def pace(self) -> Literal["live", "fast"]:
        """Sources with an end: at their own rate, or as fast as they are read."""
        ...

    @property
    def loop(self) -> bool:
        """Sources with an end: start again at the end."""
        ...

    @property
    def decoder(self) -> Decoder:
        """What decodes video."""
        ...


def open_source(settings: SourceSettings) -> FrameSource:
    """Build the source of a stream; the caller opens it.

    Raises:
        ConfigError: as :func:`streamseg.sources.address.describe`.
    """
    kind, target = classify(settings.source)
    if kind == "scene":
        from streamseg.sources.scene.source import SceneSource

        return SceneSource(target, pace=settings.pace, loop=settings.loop)
    if kind == "images":
        from streamseg.sources.images import ImageFolderSource

        return ImageFolderSource(Path(target), pace=settings.pace, loop=settings.loop)
    from streamseg.sources.av_source import AvSource

    return AvSource(
        target,
        kind,
        transport=settings.transport,
        open_timeout_s=settings.open_timeout_s,
        stall_timeout_s=settings.stall_timeout_s,
        pace=settings.pace,
        loop=settings.loop,
        decoder=settings.decoder,
    )
