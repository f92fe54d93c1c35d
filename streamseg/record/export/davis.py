"""DAVIS: ``Annotations/VIDEO/00000.png`` with a palette, and ``JPEGImages/VIDEO/00000.jpg``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from streamseg.errors import RecordError
from streamseg.protocol.palette import color_of
from streamseg.record.export.frames import ExportedFrame

_MAX_OBJECTS: Final = 255


class DavisExport:
    """Writes an indexed PNG for each frame. Objects of a video get indices in the order in which they appear.

    Args:
        folder: Output folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._indices: dict[str, dict[int, int]] = {}
        self._frames: dict[str, int] = {}

    def add(self, frame: ExportedFrame) -> None:
        """Add a frame.

        Raises:
            RecordError: A video has more objects than a palette has colors.
        """
        indices = self._indices.setdefault(frame.video, {})
        labels = frame.masks.label_map(np.int64)
        indexed = np.zeros(labels.shape, np.uint8)
        for obj_id in np.unique(labels[labels > 0]).tolist():
            index = indices.setdefault(obj_id, len(indices) + 1)
            if index > _MAX_OBJECTS:
                raise RecordError(f"{frame.video} has more than {_MAX_OBJECTS} objects: export it as coco")
            indexed[labels == obj_id] = index
        number = self._frames.get(frame.video, 0)
        self._frames[frame.video] = number + 1
        picture = Image.fromarray(indexed)
        picture.putpalette([0, 0, 0, *(value for index in range(1, 256) for value in color_of(index))])
        picture.save(self._path("Annotations", frame, f"{number:05}.png"))
        if frame.jpeg is not None:
            self._path("JPEGImages", frame, f"{number:05}.jpg").write_bytes(frame.jpeg)

    def _path(self, kind: str, frame: ExportedFrame, name: str) -> Path:
        folder = self._folder / kind / frame.video
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name

    def close(self) -> None:
        """Write which object has which index in each video."""
        lines = [
            f"{video} {index} {obj_id}\n" for video, found in self._indices.items() for obj_id, index in found.items()
        ]
        (self._folder / "objects.txt").write_text("# video, index in its pictures, object id\n" + "".join(lines))
