"""Found masks of several pictures as one COCO file, which annotation tools and ``pycocotools`` read."""

from __future__ import annotations

from typing import Any

from streamseg.images.found_mask import FoundMask
from streamseg.images.records import coco_rle

_CATEGORY = 1


class CocoFile:
    """Collects pictures and their masks, all in the category ``object``: the model has no classes."""

    def __init__(self) -> None:
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add(self, name: str, size: tuple[int, int], masks: list[FoundMask]) -> None:
        """Add a picture of (width, height) and its masks."""
        number = len(self._images) + 1
        self._images.append({"id": number, "file_name": name, "width": size[0], "height": size[1]})
        for found in masks:
            self._annotations.append(
                {
                    "id": len(self._annotations) + 1,
                    "image_id": number,
                    "category_id": _CATEGORY,
                    "segmentation": coco_rle(found.mask),
                    "area": found.area,
                    "bbox": list(found.roi),
                    "iscrowd": 0,
                    "predicted_iou": found.predicted_iou,
                    "stability_score": found.stability_score,
                }
            )

    def content(self) -> dict[str, Any]:
        """Return the file's content."""
        return {
            "info": {"description": "Masks of streamseg automask"},
            "images": self._images,
            "annotations": self._annotations,
            "categories": [{"id": _CATEGORY, "name": "object"}],
        }
