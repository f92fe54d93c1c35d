"""Writes pictures to an MP4 file.

PyAV encodes. ``cv2.VideoWriter`` would be shorter, but gives all pictures the same duration, so that a video of an
uneven stream would run at the wrong speed.

The output goes to a ``.part`` file that replaces the target at the end. An existing file is kept until then, and not
replaced at all if there was no picture.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import cv2
import numpy as np

from streamseg.errors import StreamsegError
from streamseg.paths import NAME_MAX, shortened_name

if TYPE_CHECKING:
    from streamseg.common.draw import Picture

PART_SUFFIX: Final = ".part"
_TICKS: Final = 90_000
_FASTEST: Final = 240


class VideoWriter:
    """Writes an MP4 (H.264) with the timing of its pictures.

    Pictures are scaled to the size of the first.

    Args:
        path: Path of the file.
        threads: Threads of the encoder; 0: one per core.
        metadata: Metadata of the file, for example ``title``.
    """

    def __init__(self, path: Path, *, threads: int = 0, metadata: Mapping[str, str] | None = None) -> None:
        import av  # slow to import, and only needed for videos

        self._av = av
        self._path = path
        self._part = part_of(path)
        try:
            self._file = self._part.open("w+b")
        except OSError as error:
            raise not_written(path, error) from None
        self._container = av.open(self._file, "w", format="mp4")
        self._container.metadata.update(metadata or {})
        self._threads = threads
        self._stream: av.VideoStream | None = None
        self._size = (0, 0)
        self._first_s = 0.0
        self._last_pts = -_TICKS
        self._failed = False

    def add(self, picture: Picture, time_s: float) -> None:
        """Append a picture."""
        if self._stream is None:
            self._start(picture, time_s)
        assert self._stream is not None
        width, height = self._size
        if (picture.shape[0] & ~1, picture.shape[1] & ~1) != (height, width):
            picture = np.asarray(cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), format="rgb24")
        # Timestamps must increase, whatever the clock did.
        pts = max(round((time_s - self._first_s) * _TICKS), self._last_pts + _TICKS // _FASTEST)
        frame.pts = self._last_pts = pts
        frame.time_base = Fraction(1, _TICKS)
        try:
            self._container.mux(self._stream.encode(frame))
        except (OSError, self._av.error.FFmpegError) as error:
            self._failed = True
            raise not_written(self._path, error) from error

    def _start(self, picture: Picture, time_s: float) -> None:
        # H.264 with yuv420p needs an even size.
        height, width = (side & ~1 for side in picture.shape[:2])
        stream = self._container.add_stream("libx264", rate=30, options={"preset": "veryfast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = self._threads
        stream.codec_context.time_base = Fraction(1, _TICKS)
        self._stream, self._size, self._first_s = stream, (width, height), time_s

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Complete the file; without a picture, there is no file.

        Raises:
            StreamsegError: The file cannot be written.
        """
        try:
            if not self._failed:
                self._complete()
        except (OSError, self._av.error.FFmpegError) as failure:
            self._failed = True
            raise not_written(self._path, failure) from failure
        finally:
            if self._failed:  # close it and ignore errors: the first error is the one to report
                for close in (self._container.close, self._file.close):
                    with contextlib.suppress(OSError, self._av.error.FFmpegError):
                        close()
            self._part.unlink(missing_ok=True)

    def abandon(self) -> None:
        """Close and remove the partial file; a file that was there before is kept."""
        self._failed = True
        self.close()

    def _complete(self) -> None:
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))
        self._container.close()
        self._file.close()
        if self._stream is not None:
            self._part.replace(self._path)


def part_of(path: Path) -> Path:
    """Return the file that replaces ``path`` when it is complete."""
    # The process id separates two writers of the same file.
    suffix = f".{os.getpid()}{PART_SUFFIX}"
    name = path.name
    if len(os.fsencode(name)) <= NAME_MAX:  # a name that is too long itself fails with the error of the system
        name = shortened_name(name, NAME_MAX - len(suffix))
    return path.with_name(f"{name}{suffix}")


def not_written(path: Path, error: Exception) -> StreamsegError:
    """Return the error for a file that cannot be written, with the reason."""
    reason = error.strerror if isinstance(error, OSError) else None
    return StreamsegError(f"{path} cannot be written: {reason or error}")
