"""YOLO segmentation: ``images/train``, ``labels/train`` with one polygon a line, and ``data.yaml``."""

from __future__ import annotations

from pathlib import Path

import yaml

from streamseg.record.export.frames import ExportedFrame
from streamseg.record.export.names import class_name
from streamseg.record.export.outlines import outlines


class YoloExport:
    """Writes a label file for each frame, and its picture. An object with several parts has several lines.

    Args:
        folder: Output folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._classes: dict[str, int] = {}
        self._images, self._labels = folder / "images" / "train", folder / "labels" / "train"
        self._images.mkdir(parents=True)
        self._labels.mkdir(parents=True)

    def add(self, frame: ExportedFrame) -> None:
        """Add a frame."""
        width, height = frame.masks.size
        lines = []
        for obj in frame.masks.objects:
            for outline in outlines(obj):
                number = self._classes.setdefault(class_name(obj), len(self._classes))
                # Centers of pixels, as shares of the picture.
                corners = " ".join(f"{(x + 0.5) / width:.6f} {(y + 0.5) / height:.6f}" for x, y in outline.tolist())
                lines.append(f"{number} {corners}\n")
        name = f"{frame.video}-{frame.name}"
        (self._labels / f"{name}.txt").write_text("".join(lines))
        if frame.jpeg is not None:
            (self._images / f"{name}.jpg").write_bytes(frame.jpeg)

    def close(self) -> None:
        """Write the names of the classes."""
        # Without `path`, Ultralytics searches next to the file; `.` would mean its working folder.
        names = {number: name for name, number in self._classes.items()}
        content = {"train": "images/train", "val": "images/train", "names": names}
        (self._folder / "data.yaml").write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
