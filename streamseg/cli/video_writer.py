"""Write pictures to an MP4 file, or the last one to a PNG file.

The output goes to a ``.part`` file that replaces the target at the end. An existing file is kept until then, and not
replaced at all if there was no picture.
"""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol, Self

import cv2
import numpy as np

from streamseg.common.video_writer import VideoWriter, not_written, part_of
from streamseg.errors import ConfigError

if TYPE_CHECKING:
    from streamseg.common.draw import Picture

VIDEO_SUFFIX: Final = ".mp4"
IMAGE_SUFFIX: Final = ".png"
_FASTEST: Final = 240
_KEPT_QUALITY: Final = 90


class PictureWriter(Protocol):
    """A file for pictures. A context manager: leaving it completes the file, even after an error."""

    def add(self, picture: Picture, time_s: float) -> None:
        """Write the next picture.

        Args:
            picture: ``uint8 [H, W, 3]``, RGB.
            time_s: Its presentation time; only differences matter.
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
        """Keep a picture, and drop old ones."""
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
            part = part_of(self._path)
            try:
                part.write_bytes(png.tobytes())
                part.replace(self._path)
            except OSError as failure:
                part.unlink(missing_ok=True)
                raise not_written(self._path, failure) from None
