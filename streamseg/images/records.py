"""Found masks as the reference's records, and the run-length encodings of masks."""

from __future__ import annotations

from typing import Any

import numpy as np

from streamseg.images.crops import Crop
from streamseg.images.found_mask import BoolMask, FoundMask, packed
from streamseg.images.parameters import OutputMode
from streamseg.protocol.mask_codec import encode_rle


def record(found: FoundMask, mode: OutputMode) -> dict[str, Any]:
    """Return one record of ``SAM2AutomaticMaskGenerator.generate``.

    ``bbox`` and ``crop_box`` are x, y, width, height. As in the reference, the width of ``bbox`` is the last column
    less the first, one less than the number of columns.
    """
    x0, y0, x1, y1 = (float(value) for value in found.box)
    left, top, right, bottom = (float(value) for value in found.crop[:4])
    return {
        "segmentation": segmentation(found.mask, mode),
        "area": found.area,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "predicted_iou": found.predicted_iou,
        "point_coords": [list(found.point)],
        "stability_score": found.stability_score,
        "crop_box": [left, top, right - left, bottom - top],
    }


def found_mask(mask: BoolMask, predicted_iou: float) -> FoundMask:
    """Return a prompted mask ``bool [H, W]`` in the same form as automatic ones."""
    box, bits, area = packed(mask, (0, 0))
    size = mask.shape[1], mask.shape[0]
    nowhere = float("nan")
    return FoundMask(size, box, bits, area, predicted_iou, nowhere, (nowhere, nowhere), Crop(0, 0, *size, 0))


def segmentation(mask: BoolMask, mode: OutputMode) -> Any:
    """Return a mask ``bool [H, W]`` in one of the forms of ``output_mode``."""
    if mode == "binary_mask":
        return mask
    return coco_rle(mask) if mode == "coco_rle" else uncompressed_rle(mask)


def uncompressed_rle(mask: BoolMask) -> dict[str, Any]:
    """Return ``{"size": [H, W], "counts": [...]}``: runs down the columns, the first one of background."""
    flat = np.concatenate([[False], mask.ravel(order="F")])
    starts = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(np.concatenate([[0], starts, [mask.size]]))
    return {"size": list(mask.shape), "counts": counts.tolist()}


def coco_rle(mask: BoolMask) -> dict[str, Any]:
    """Return ``{"size": [H, W], "counts": "..."}``, which ``pycocotools.mask.decode`` reads."""
    return {"size": list(mask.shape), "counts": encode_rle(mask).decode("ascii")}
