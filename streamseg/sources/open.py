"""Build the source of a stream from its settings.

Importing this module loads no video library; the class of a source is imported when it is needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from streamseg.sources.address import classify
from streamseg.sources.base import FrameSource, Pace

if TYPE_CHECKING:
    from streamseg.sources.av_deinterlace import Deinterlace
    from streamseg.sources.av_options import Decoder, Transport


class SourceSettings(Protocol):
    """The settings of a stream that concern its source, named as in ``streams.NAME`` of a configuration."""

    @property
    def source(self) -> str:
        """Address of the source."""
        ...

    @property
    def transport(self) -> Transport:
        """RTSP only: transport of the media packets."""
        ...

    @property
    def open_timeout_s(self) -> float:
        """Maximum time to open the source, in seconds."""
        ...

    @property
    def stall_timeout_s(self) -> float:
        """Maximum time without a frame of a live source, in seconds."""
        ...

    @property
    def pace(self) -> Pace:
        """Finite sources: how they are played."""
        ...

    @property
    def loop(self) -> bool:
        """Finite sources: start over at the end."""
        ...

    @property
    def decoder(self) -> Decoder:
        """Where video is decoded."""
        ...

    @property
    def video_stream(self) -> int | None:
        """Which of several video streams, from 0; None: FFmpeg's choice."""
        ...

    @property
    def deinterlace(self) -> Deinterlace:
        """Which pictures to deinterlace."""
        ...

    @property
    def follow_redirects(self) -> bool:
        """Follow an HTTP server to another address, by a redirect or a playlist."""
        ...

    @property
    def fps(self) -> float | None:
        """Images per second of a folder (None: 30) or requests per second of a snapshot (None: 5)."""
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
        from streamseg.sources.images import DEFAULT_FPS, ImageFolderSource

        fps = DEFAULT_FPS if settings.fps is None else settings.fps
        return ImageFolderSource(Path(target), fps=fps, pace=settings.pace, loop=settings.loop)
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
        video_stream=settings.video_stream,
        deinterlace=settings.deinterlace,
        fps=settings.fps,
        follow_redirects=settings.follow_redirects,
    )
