"""A folder of images as a video."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Final, Literal

import cv2
import numpy as np

from streamseg.errors import EndOfStreamError, SourceError, SourceOpenError
from streamseg.frame import FrameFormat, FrameStamps, Plane, SourceFrame
from streamseg.sources.base import SourceInfo
from streamseg.sources.pacer import Pacer

SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".bmp", ".webp")

DEFAULT_FPS: Final = 30


class ImageFolderSource:
    """The images of a folder in natural order (``2.jpg`` before ``10.jpg``), delivered as RGB.

    Pixels are as OpenCV decodes them: 8 bits, three channels, without transparency, turned upright according to the
    EXIF orientation. Images may differ in size. An image that cannot be read counts as corrupt, and its time passes
    without a frame. ``pts`` counts all images, unreadable ones included, and keeps rising when the folder starts over.

    Args:
        folder: Folder with ``.jpg .jpeg .png .bmp .webp`` files; subfolders are ignored.
        fps: Images per second.
        pace: At that rate, or as fast as they are read.
        loop: Start over after the last image.
    """

    def __init__(
        self, folder: Path, *, fps: int = DEFAULT_FPS, pace: Literal["live", "fast"] = "live", loop: bool = False
    ) -> None:
        self._folder = folder
        self._fps = fps
        self._paced = pace == "live"
        self._loop = loop
        self._pictures: list[Path] = []
        self._pacer: Pacer | None = None
        self._count = 0
        self._good_this_round = False
        self._corrupt = 0

    def open(self) -> SourceInfo:
        """List the folder. Images added later are not seen.

        Raises:
            SourceOpenError: the folder cannot be listed, or has no readable image.
        """
        try:
            entries = [entry for entry in self._folder.iterdir() if entry.suffix.lower() in SUFFIXES]
        except OSError as error:
            raise SourceOpenError(f"the folder {str(self._folder)!r} cannot be listed: {error.strerror}") from None
        pictures = sorted((entry for entry in entries if entry.is_file()), key=_natural_order)
        if not pictures:
            raise SourceOpenError(
                f"the folder {str(self._folder)!r} contains no images ({', '.join(SUFFIXES)}): check the path"
            )
        first = next((image for image in map(_read_rgb, pictures) if image is not None), None)
        if first is None:
            raise SourceOpenError(f"none of the {len(pictures)} images in {str(self._folder)!r} can be read")
        self._pictures = pictures
        self._pacer = Pacer(1.0 / self._fps) if self._paced else None
        self._count = 0
        self._good_this_round = False
        return SourceInfo(
            kind="images",
            live=False,
            width=first.shape[1],
            height=first.shape[0],
            frame_rate=float(self._fps),
            codec=pictures[0].suffix.lower().lstrip("."),
            frames=len(pictures),
        )

    def read(self) -> SourceFrame:
        """Return the next readable image.

        Blocks: until it is due.

        Raises:
            EndOfStreamError: all images were read.
            SourceError: the source is not open, or no image of a whole round can be read any more.
        """
        if not self._pictures:
            raise SourceError(f"the folder {str(self._folder)!r} is not open: call open() first")
        while True:
            place = self._count % len(self._pictures)
            if place == 0 and self._count:
                if not self._loop:
                    raise EndOfStreamError(f"all {len(self._pictures)} images of {str(self._folder)!r} were read")
                if not self._good_this_round:
                    raise SourceError(f"no image of {str(self._folder)!r} can be read any more")
                self._good_this_round = False
            pts = self._count
            self._count += 1
            if self._pacer is not None:
                self._pacer.wait(pts / self._fps)
            captured_ns, wall_ns = time.monotonic_ns(), time.time_ns()
            image = _read_rgb(self._pictures[place])
            if image is not None:
                self._good_this_round = True
                height, width = image.shape[:2]
                stamps = FrameStamps(wall_ns, "file", captured_ns, time.monotonic_ns(), pts, (1, self._fps))
                return SourceFrame(FrameFormat(width, height, "rgb24"), (image.reshape(height, 3 * width),), stamps)
            self._corrupt += 1

    def close(self) -> None:
        """Drop the list of images."""
        self._pictures = []

    @property
    def corrupt(self) -> int:
        """Images since construction that could not be read."""
        return self._corrupt


def _natural_order(path: Path) -> tuple[list[tuple[bool, int, str]], str]:
    """Sort key: digits compare as numbers; the name decides between ``1.jpg`` and ``01.jpg``."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts if part], path.name


def _read_rgb(path: Path) -> Plane | None:
    """Return ``uint8 [H, W, 3]``, or None if the file is not a readable image."""
    try:
        data = np.fromfile(path, dtype=np.uint8)
        # Not imread, which prints to stderr and does not take every path.
        bgr = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except (OSError, cv2.error):
        return None
    return None if bgr is None else np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
