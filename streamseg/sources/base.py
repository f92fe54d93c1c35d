"""The interface of every video source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from streamseg.frame import SourceFrame

Pace = Literal["live", "fast", "camera"]
"""How a finite source is played: at its own rate, as fast as it is read, or at its own rate with late frames dropped,
like a camera."""


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """Properties of an opened source.

    Attributes:
        kind: One of :data:`streamseg.sources.address.Kind`.
        live: The source continues whether it is read or not. Live sources are always drained, and the newest frame
            wins; the others wait for the worker, so no frame is dropped.
        width: In pixels, as announced; the format of each frame is authoritative.
        height: In pixels.
        frame_rate: Frames per second as announced; None if unknown.
        codec: Readable name of the codec.
        frames: Number of frames of a file; None if unknown or endless.
    """

    kind: str
    live: bool
    width: int
    height: int
    frame_rate: float | None
    codec: str
    frames: int | None = None


class FrameSource(Protocol):
    """A video source. Used by one thread: ``open``, ``read`` until it raises, ``close``.

    A source never reconnects by itself; the capture process does that. After an error it can be closed and opened
    again.
    """

    def open(self) -> SourceInfo:
        """Open the source.

        Blocks: up to the open timeout that the source was built with.

        Raises:
            SourceOpenError: it cannot be opened; the message names the redacted address and the fix.
            SourceAuthError: the credentials are wrong or missing.
        """
        ...

    def read(self) -> SourceFrame:
        """Return the next decoded frame.

        Blocks: until the next frame, up to the stall timeout.

        Raises:
            EndOfStreamError: the end of a file, folder or scene.
            SourceStalledError: no frame of a live source within the stall timeout.
            SourceDisconnectedError: a live source ended or failed.
        """
        ...

    def close(self) -> None:
        """Free all resources. Safe to call twice, and after a failed ``open``."""
        ...

    @property
    def corrupt(self) -> int:
        """Packets since construction that could not be decoded: drops of stage ``decode``."""
        ...
