"""Real clips with outlines drawn by hand, since composed clips do not predict everything about real video.

``real_clips.json`` has the outlines, with the source and license of each clip; the clips themselves are stored
elsewhere. They are only for validation.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

BoolMask = NDArray[np.bool_]
Picture = NDArray[np.uint8]

OUTLINES = Path(__file__).with_name("real_clips.json")


@dataclass(frozen=True, slots=True, eq=False)
class RealObject:
    """One object of a clip.

    Attributes:
        name: Name of the object, unique in its clip.
        truth: Frame, counted from 0 -> ``bool [H, W]``, in order. The object is prompted in the first one; an empty
            mask means that it is not in the picture.
    """

    name: str
    truth: dict[int, BoolMask]

    @property
    def first(self) -> int:
        """The frame in which it is prompted."""
        return min(self.truth)

    @property
    def last(self) -> int:
        """The last frame with an outline."""
        return max(self.truth)


@dataclass(frozen=True, slots=True, eq=False)
class RealClip:
    """A video file and its outlined objects.

    Attributes:
        path: The file.
        size: Width and height in pixels of the outlined pictures.
        objects: At least one.
    """

    path: Path
    size: tuple[int, int]
    objects: list[RealObject]

    def frames(self, first: int, last: int) -> Iterator[Picture]:
        """Decode frames ``first`` to ``last``, both included: ``uint8 [H, W, 3]``, RGB.

        Raises:
            ValueError: The video ends before ``last``, or its pictures have another size than those outlined.
        """
        number = -1
        with av.open(str(self.path)) as container:
            for number, frame in enumerate(container.decode(video=0)):
                if number > last:
                    return
                if (frame.width, frame.height) != self.size:
                    raise ValueError(f"{self.path} is {frame.width} x {frame.height}, its outlines are of {self.size}")
                if number >= first:
                    yield frame.to_ndarray(format="rgb24")
        if number < last:
            raise ValueError(f"{self.path} ends at frame {number}, but frame {last} has an outline")


def load_real_clips(folders: Iterable[Path], outlines: Path = OUTLINES) -> list[RealClip]:
    """Return the clips that have a file in one of these folders.

    Args:
        folders: Searched in order, without their subfolders.
        outlines: JSON file of outlines.
    """
    folders = list(folders)
    clips = []
    for name, clip in json.loads(outlines.read_text())["clips"].items():
        path = next((folder / name for folder in folders if (folder / name).is_file()), None)
        if path is not None:
            width, height = clip["size"]
            objects = [_read_object(entry, width, height) for entry in clip["objects"]]
            clips.append(RealClip(path, (width, height), objects))
    return clips


def _read_object(entry: dict[str, Any], width: int, height: int) -> RealObject:
    truth = {int(frame): _fill(polygons, width, height) for frame, polygons in entry["outlines"].items()}
    return RealObject(entry["name"], dict(sorted(truth.items())))


def _fill(polygons: list[list[int]], width: int, height: int) -> BoolMask:
    """Fill polygons with the even-odd rule, so that a polygon inside another one is a hole."""
    mask = np.zeros((height, width), np.uint8)
    if polygons:
        cv2.fillPoly(mask, [np.array(polygon, np.int32).reshape(-1, 2) for polygon in polygons], 1)
    return mask.astype(np.bool_)
