"""Selects candidates: filters at full resolution, and non-maximum suppression of boxes.

The reference upsamples every candidate to full resolution, filters them, and then suppresses duplicates, best predicted
IoU first. Most of that work is wasted on candidates that are suppressed in the end. Here candidates are processed one
by one in the same order. A candidate whose low-res box clearly overlaps a kept mask is dropped at once. The others are
upsampled and filtered. A candidate that fails a filter suppresses no other.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from streamseg.images.candidates import Candidates
from streamseg.images.crops import Crop
from streamseg.images.found_mask import Box, FoundMask, packed
from streamseg.images.parameters import AutomaticParameters
from streamseg.tracker.postprocess import interpolate_where

_EDGE_PX: Final = 20
"""Masks this close to an edge of a crop that lies inside the picture are cut off by it, and dropped."""

_LOW_RES_ERROR: Final = 0.15
"""Error of the IoU of low-res boxes: overlaps that exceed the threshold by more are not measured exactly."""

Boxes = NDArray[np.float32]


class Filter(NamedTuple):
    """The filters at full resolution.

    Attributes:
        values: The parameters.
        crop: The crop of the candidates.
        size: (width, height) of the picture.
    """

    values: AutomaticParameters
    crop: Crop
    size: tuple[int, int]

    def __call__(self, found: Candidates, number: int) -> FoundMask | None:
        """Return a candidate at full resolution; None if it does not pass."""
        offset, least = self.values.stability_score_offset, self.values.stability_score_thresh
        level = found.level
        logits = found.logits[number].float().cpu()
        origin, full = interpolate_where(logits, self.crop.size, level - offset)
        outer, inner = int((full > level - offset).sum()), int((full > level + offset).sum())
        stability = float(np.float32(inner) / np.float32(outer)) if outer else float("nan")
        if least > 0 and not stability >= least:
            return None
        box, bits, area = packed((full > level).numpy(), origin)
        if (not area and not self.values.exact) or self._is_cut_off(box):
            return None
        x, y = found.points[number].tolist()
        return FoundMask(self.crop.size, box, bits, area, float(found.ious[number]), stability, (x, y), self.crop)

    def _is_cut_off(self, box: Box) -> bool:
        """Return whether a box touches an edge of the crop that is not an edge of the picture."""
        left, top = self.crop.x0, self.crop.y0
        edges = zip(
            (box[0] + left, box[1] + top, box[2] + left, box[3] + top),
            self.crop[:4],
            (0, 0, *self.size),
            strict=True,
        )
        return any(abs(side - edge) <= _EDGE_PX < abs(side - outer) for side, edge, outer in edges)


def select(found: Candidates, keep: Filter) -> list[FoundMask]:
    """Return the kept candidates of one crop, best predicted IoU first."""
    if keep.values.exact:
        passed = [mask for number in range(len(found.ious)) if (mask := keep(found, number)) is not None]
        scores = [mask.predicted_iou for mask in passed]
        return [passed[number] for number in suppress(passed, scores, keep.values.box_nms_thresh)]
    threshold, boxes = keep.values.box_nms_thresh, found.boxes.numpy()
    kept: list[FoundMask] = []
    kept_boxes = np.zeros((0, 4), dtype=np.float32)
    for number in torch.argsort(found.ious, descending=True, stable=True).tolist():
        if _overlap(boxes[number], kept_boxes) > threshold + _LOW_RES_ERROR or (mask := keep(found, number)) is None:
            continue
        box = np.array(mask.box, dtype=np.float32)
        if _overlap(box, kept_boxes) <= threshold:
            kept.append(mask)
            kept_boxes = np.vstack([kept_boxes, box])
    return kept


def suppress(masks: list[FoundMask], scores: list[float], threshold: float) -> list[int]:
    """Return the indices of the kept masks, best score first, chosen as by the reference."""
    if not masks:
        return []
    from torchvision.ops.boxes import batched_nms  # loads torch's compiler: seconds

    boxes = torch.tensor([mask.box for mask in masks], dtype=torch.float32)
    numbers: list[int] = batched_nms(boxes, torch.tensor(scores), torch.zeros(len(masks)), threshold).tolist()
    return numbers


def _overlap(box: Boxes, others: Boxes) -> float:
    """Return the largest IoU of a box with ``[N, 4]`` others. Sides are differences of pixels, as in the reference."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    common = np.prod(np.maximum(high - low, 0), axis=1)
    both = np.prod(box[2:] - box[:2]) + np.prod(others[:, 2:] - others[:, :2], axis=1) - common
    return float((common / np.maximum(both, 1e-6)).max(initial=0.0))
