"""Gives each pixel to one object of its stream: the one whose mask is more likely correct.

Compares the confidence of whole objects, not the logits of pixels: logits of different objects are not comparable, and
the wrong object often wins (docs/tracker.md). Only published masks change; the tracker remembers the model's masks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from streamseg.tracker.measure import with_mask
from streamseg.tracker.types import ObjectResult


def exclusive(results: Mapping[int, ObjectResult]) -> dict[int, ObjectResult]:
    """Return the objects of a frame without the pixels that a more trusted object has, in the same order.

    Without a confidence, the model's predicted IoU decides; between equals, the object that was added first.
    """
    if len(results) < 2:
        return dict(results)
    given = dict(results)
    width, height = next(iter(results.values())).size
    taken = np.zeros((height, width), np.bool_)
    for obj_id in sorted(results, key=lambda obj_id: -_trust(results[obj_id])):
        result = results[obj_id]
        x, y, w, h = result.roi
        area = taken[y : y + h, x : x + w]
        if (area & result.mask).any():
            result = with_mask(result, result.mask & ~area)
            if result.confidence is not None and not result.area:
                result = replace(result, confidence=0.0)  # as for any empty mask
            given[obj_id] = result
            x, y, w, h = result.roi
        taken[y : y + h, x : x + w] |= result.mask
    return given


def _trust(result: ObjectResult) -> float:
    return result.iou_prediction if result.confidence is None else result.confidence
