"""LabelMe: a JSON file with polygons beside each picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from streamseg.record.export.frames import ExportedFrame
from streamseg.record.export.names import class_name
from streamseg.record.export.outlines import outlines


class LabelMeExport:
    """Writes ``VIDEO/FRAME.json`` and ``VIDEO/FRAME.jpg``. Polygons of one object have its id as ``group_id``.

    Args:
        folder: Output folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, frame: ExportedFrame) -> None:
        """Add a frame."""
        folder = self._folder / frame.video
        folder.mkdir(parents=True, exist_ok=True)
        width, height = frame.masks.size
        shapes = [
            {
                "label": class_name(obj),
                "points": outline.astype(float).tolist(),
                "group_id": obj.id,
                "shape_type": "polygon",
                "flags": {},
            }
            for obj in frame.masks.objects
            for outline in outlines(obj)
        ]
        content: dict[str, Any] = {
            "version": "5.0.1",
            "flags": {},
            "shapes": shapes,
            "imagePath": f"{frame.name}.jpg",
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        (folder / f"{frame.name}.json").write_bytes(msgspec.json.encode(content))
        if frame.jpeg is not None:
            (folder / f"{frame.name}.jpg").write_bytes(frame.jpeg)

    def close(self) -> None:
        """Nothing is left to write."""
