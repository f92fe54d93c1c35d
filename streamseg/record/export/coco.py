"""COCO: one ``annotations.json`` with videos, pictures and exact masks (compressed RLE)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from streamseg.record.export.frames import ExportedFrame
from streamseg.record.export.names import class_name


class CocoExport:
    """Collects annotations; :meth:`close` writes them. Pictures go to ``images/VIDEO/FRAME.jpg``.

    Args:
        folder: Output folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._videos: dict[str, int] = {}
        self._categories: dict[str, int] = {}
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add(self, frame: ExportedFrame) -> None:
        """Add a frame."""
        video = self._videos.setdefault(frame.video, len(self._videos) + 1)
        number = len(self._images) + 1
        file = f"{frame.video}/{frame.name}.jpg"
        width, height = frame.masks.size
        self._images.append(
            {
                "id": number,
                "file_name": file,
                "width": width,
                "height": height,
                "video_id": video,
                "frame_id": frame.masks.frame,
                "t_wall_ns": str(frame.masks.t_wall_ns),
            }
        )
        objects = {obj.id: obj for obj in frame.masks.objects}
        for annotation in frame.masks.to_coco(image_id=number):
            category = class_name(objects[annotation["track_id"]])
            annotation |= {
                "id": len(self._annotations) + 1,
                "video_id": video,
                "instance_id": annotation["track_id"],
                "category_id": self._categories.setdefault(category, len(self._categories) + 1),
            }
            self._annotations.append(annotation)
        if frame.jpeg is not None:
            picture = self._folder / "images" / file
            picture.parent.mkdir(parents=True, exist_ok=True)
            picture.write_bytes(frame.jpeg)

    def close(self) -> None:
        """Write the file."""
        content = {
            "info": {"description": "Recorded by streamseg"},
            "videos": [{"id": number, "name": name} for name, number in self._videos.items()],
            "images": self._images,
            "annotations": self._annotations,
            "categories": [{"id": number, "name": name} for name, number in self._categories.items()],
        }
        (self._folder / "annotations.json").write_bytes(msgspec.json.encode(content))
