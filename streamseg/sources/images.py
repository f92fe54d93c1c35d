"""Image files as a video: a folder, or all files that match a pattern.

Ours because FFmpeg's ``image2`` decodes all files of a pattern as the format of the first, and ``cv2.VideoCapture``
reads numbered files only.
"""

from __future__ import annotations

import logging
import time
from fractions import Fraction
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from streamseg.common.image_file import ImageError, read_image
from streamseg.errors import EndOfStreamError, SourceError, SourceOpenError
from streamseg.frame import FrameFormat, FrameStamps, Plane, SourceFrame
from streamseg.sources.base import Pace, SourceInfo
from streamseg.sources.image_list import list_images
from streamseg.sources.pacer import Pacer

log = logging.getLogger(__name__)


DEFAULT_FPS: Final = 30.0


class ImageFolderSource:
    """Image files in natural order (``2.jpg`` before ``10.jpg``) as a video, delivered as RGB.

    OpenCV decodes the pixels: 8 bits, three channels, without transparency, turned upright by the EXIF orientation.
    Images may differ in size. An image that cannot be read, or is too large, counts as corrupt, and its time passes
    without a frame. ``pts`` counts all images, including unreadable ones, and keeps rising when the sequence starts
    over.

    Args:
        path: A folder, whose image files are read, but not its subfolders; a pattern of file names (``shots/*.png``,
            ``shots/img%03d.png``); or one image file.
        fps: Images per second.
        pace: At that rate (``camera``: without ever falling behind), or as fast as they are read.
        loop: Start over after the last image.
    """

    def __init__(
        self,
        path: Path,
        *,
        fps: float = DEFAULT_FPS,
        pace: Pace = "live",
        loop: bool = False,
    ) -> None:
        self._path = path
        self._fps = Fraction(fps).limit_denominator(1000)
        self._pace = pace
        self._loop = loop
        self._pictures: list[Path] = []
        self._pacer: Pacer | None = None
        self._count = 0
        self._good_this_round = False
        self._corrupt = 0

    def open(self) -> SourceInfo:
        """List the images. Those added later are not seen.

        Raises:
            SourceOpenError: there is no image, or none that can be read.
        """
        pictures = list_images(self._path)
        first = _first_readable(pictures)
        self._pictures = pictures
        paced = self._pace != "fast"
        self._pacer = Pacer(float(1 / self._fps), catch_up=self._pace == "camera") if paced else None
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
            SourceError: the source is not open, or no image of a whole round can be read now.
        """
        if not self._pictures:
            raise SourceError(f"the folder {str(self._path)!r} is not open: call open() first")
        while True:
            place = self._count % len(self._pictures)
            if place == 0 and self._count:
                if not self._loop:
                    raise EndOfStreamError(f"all {len(self._pictures)} images of {str(self._path)!r} were read")
                if not self._good_this_round:
                    raise SourceError(f"no image of {str(self._path)!r} can be read now")
                self._good_this_round = False
            pts = self._count
            self._count += 1
            if self._pacer is not None:
                self._pacer.wait(float(pts / self._fps))
            captured_ns, wall_ns = time.monotonic_ns(), time.time_ns()
            try:
                image = read_rgb(self._pictures[place])
            except ImageError as error:
                self._corrupt += 1
                log.warning("%s is skipped: %s", self._pictures[place], error)
                continue
            self._good_this_round = True
            height, width = image.shape[:2]
            time_base = (self._fps.denominator, self._fps.numerator)
            stamps = FrameStamps(wall_ns, "file", captured_ns, time.monotonic_ns(), pts, time_base)
            return SourceFrame(FrameFormat(width, height, "rgb24"), (image.reshape(height, 3 * width),), stamps)

    def close(self) -> None:
        """Drop the list of images."""
        self._pictures = []

    @property
    def corrupt(self) -> int:
        """Images since construction that could not be read."""
        return self._corrupt


def _first_readable(pictures: list[Path]) -> Plane:
    why = ""
    for picture in pictures:
        try:
            return read_rgb(picture)
        except ImageError as error:
            why = why or f"{picture.name!r}: {error}"
    if len(pictures) == 1:
        raise SourceOpenError(f"the image cannot be read: {why}")
    raise SourceOpenError(f"none of the {len(pictures)} images in {str(pictures[0].parent)!r} can be read ({why})")


def read_rgb(path: Path) -> Plane:
    """Return ``uint8 [H, W, 3]``.

    Raises:
        ImageError: it is too large, or not a readable image.
    """
    return np.asarray(cv2.cvtColor(read_image(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB))
