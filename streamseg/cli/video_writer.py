"""Write pictures to an MP4 file, or the last one to a PNG file.

PyAV encodes. ``cv2.VideoWriter`` would be shorter, but gives all pictures the same duration, so that a video of an
uneven stream would run at the wrong speed.

The output goes to a ``.part`` file that replaces the target at the end, so an existing file is kept until then, and
kept for good if there was no picture.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol, Self

import cv2
import numpy as np

from streamseg.errors import ConfigError, StreamsegError

if TYPE_CHECKING:
    from streamseg.common.draw import Picture

VIDEO_SUFFIX: Final = ".mp4"
IMAGE_SUFFIX: Final = ".png"
_TICKS: Final = 90_000
_FASTEST: Final = 240
_KEPT_QUALITY: Final = 90


class PictureWriter(Protocol):
    """A file to which pictures are written. A context manager: leaving it completes the file, also after an error."""

    def add(self, picture: Picture, time_s: float) -> None:
        """Write the next picture.

        Args:
            picture: ``uint8 [H, W, 3]``, RGB.
            time_s: Its presentation time; only differences count.
        """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def check_out(path: Path) -> None:
    """Check that ``path`` can be written, without writing it.

    Raises:
        ConfigError: the suffix is unknown, the folder missing or not writable, or the path is a folder.
    """
    if path.suffix.lower() not in (VIDEO_SUFFIX, IMAGE_SUFFIX):
        raise ConfigError(f"--out {str(path)!r}: use a name that ends in {VIDEO_SUFFIX} or {IMAGE_SUFFIX}")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise ConfigError(f"--out {str(path)!r}: there is no folder {str(folder)!r}: create it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"--out {str(path)!r}: the folder {str(folder)!r} cannot be written to: choose another")
    if path.is_dir():
        raise ConfigError(f"--out {str(path)!r} is a folder: give the name of a file")


def open_writer(path: Path) -> PictureWriter:
    """Return a writer for ``path``, by its suffix.

    Raises:
        ConfigError: as :func:`check_out`.
        StreamsegError: the file cannot be written.
    """
    check_out(path)
    return VideoWriter(path) if path.suffix.lower() == VIDEO_SUFFIX else ImageWriter(path)


class LastPictures:
    """Keeps the newest pictures, compressed, and writes them at the end: the video of an endless stream.

    Args:
        path: Path of the file.
        seconds: How much to keep.
    """

    def __init__(self, path: Path, seconds: float) -> None:
        check_out(path)
        self._path = path
        self._seconds = seconds
        self._kept: deque[tuple[bytes, float]] = deque()

    def add(self, picture: Picture, time_s: float) -> None:
        """Keep a picture, and drop those that are too old."""
        _, jpeg = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _KEPT_QUALITY])
        self._kept.append((jpeg.tobytes(), time_s))
        while time_s - self._kept[0][1] > self._seconds or len(self._kept) > self._seconds * _FASTEST:
            self._kept.popleft()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with open_writer(self._path) as file:
            while self._kept:
                jpeg, time_s = self._kept.popleft()
                picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
                assert picture is not None  # we have encoded it
                file.add(np.ascontiguousarray(picture[:, :, ::-1], dtype=np.uint8), time_s)


class ImageWriter:
    """Writes the last picture as PNG.

    Args:
        path: Path of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last: Picture | None = None

    def add(self, picture: Picture, time_s: float) -> None:
        """Keep the picture instead of the previous one."""
        self._last = picture.copy()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._last is not None:
            _, png = cv2.imencode(IMAGE_SUFFIX, self._last[:, :, ::-1])
            part = _part_of(self._path)
            try:
                part.write_bytes(png.tobytes())
                part.replace(self._path)
            except OSError as failure:
                part.unlink(missing_ok=True)
                raise _not_written(self._path, failure) from None


class VideoWriter:
    """Writes an MP4 (H.264) with the timing of its pictures.

    Pictures of other sizes are scaled to that of the first.

    Args:
        path: Path of the file.
    """

    def __init__(self, path: Path) -> None:
        import av  # slow to import, and only needed for videos

        self._av = av
        self._path = path
        self._part = _part_of(path)
        try:
            self._file = self._part.open("w+b")
        except OSError as error:
            raise _not_written(path, error) from None
        self._container = av.open(self._file, "w", format="mp4")
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
            raise _not_written(self._path, error) from error

    def _start(self, picture: Picture, time_s: float) -> None:
        # H.264 with yuv420p needs an even size.
        height, width = (side & ~1 for side in picture.shape[:2])
        stream = self._container.add_stream("libx264", rate=30, options={"preset": "veryfast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, _TICKS)
        self._stream, self._size, self._first_s = stream, (width, height), time_s

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not self._failed:
                self._complete()
        except (OSError, self._av.error.FFmpegError) as failure:
            self._failed = True
            raise _not_written(self._path, failure) from failure
        finally:
            if self._failed:  # close what is left, whatever that says: the first error is the one to report
                for close in (self._container.close, self._file.close):
                    with contextlib.suppress(OSError, self._av.error.FFmpegError):
                        close()
            self._part.unlink(missing_ok=True)

    def _complete(self) -> None:
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))
        self._container.close()
        self._file.close()
        if self._stream is not None:
            self._part.replace(self._path)


def _part_of(path: Path) -> Path:
    # The process id keeps two writers of the same file apart.
    return path.with_name(f"{path.name}.{os.getpid()}.part")


def _not_written(path: Path, error: Exception) -> StreamsegError:
    reason = error.strerror if isinstance(error, OSError) else None
    return StreamsegError(f"{path} cannot be written: {reason or error}")
