"""Chooses the thresholds of automatic masks on photographs that were not trained on.

Run it again whenever the weights change: ``python -m training.choose_thresholds nano --coco DIR --more DIR --write``.

For each pair of thresholds it counts the masks, and the outlined objects that they find. Only outlined objects are
known, so a mask of any other object counts as false, equally for all pairs. The pair with the best F-score wins, where
recall counts twice as much as precision.
"""

from __future__ import annotations

import argparse
import datetime
import itertools

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from streamseg.images import AutomaticMasks, load_model
from streamseg.models.registry import find
from streamseg.models.tuning import AutomaticThresholds, load_tuning, save_tuning
from training.material import Folders, Photo, load_material

SAME_IOU = 0.5
MIN_SHARE = 0.01
"""Smallest outlined object that counts, as a share of the photograph."""
PREDICTED = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
STABILITY = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
BETA = 2.0
SIDE = 256
"""Side of the grid on which masks are compared."""


def main() -> None:
    """Parse the command line, measure each pair of thresholds, print a table, and write the best pair on request."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--side", type=int, default=12, help="points along one side of the grid")
    parser.add_argument("--photos", type=int, default=40)
    parser.add_argument("--write", action="store_true", help="write the best pair beside the model's config")
    Folders.add_options(parser)
    options = parser.parse_args()
    photos = [photo for photo in load_material(Folders.chosen(options), held_out=True).photos if photo.masks]
    finder = AutomaticMasks(
        load_model(options.model),
        points_per_side=options.side,
        pred_iou_thresh=min(PREDICTED),
        stability_score_thresh=min(STABILITY),
    )
    seen = [measure(finder, photo) for photo in photos[: options.photos]]
    seen = [one for one in seen if one[1].shape[0]]
    objects = sum(one[1].shape[0] for one in seen)
    best = (-1.0, 0.0, 0.0)
    print("| predicted IoU | stability | objects found | masks | F2 |\n|---|---|---|---|---|")
    for predicted, stability in itertools.product(PREDICTED, STABILITY):
        found, masks, right = counts(seen, predicted, stability)
        recall, precision = found / objects, right / max(masks, 1)
        score = (1 + BETA**2) * precision * recall / max(BETA**2 * precision + recall, 1e-9)
        print(f"| {predicted} | {stability} | {found} of {objects} | {masks} | {score:.3f} |")
        best = max(best, (score, predicted, stability))
    print(f"best: predicted IoU {best[1]}, stability {best[2]}")
    if options.write:
        chosen_on = f"{objects} objects in {len(seen)} held-out photographs; {datetime.date.today()}"
        automatic = AutomaticThresholds(pred_iou_thresh=best[1], stability_score_thresh=best[2], chosen_on=chosen_on)
        config = find(options.model).config
        print("written to", save_tuning(config, msgspec.structs.replace(load_tuning(config), automatic=automatic)))


def measure(finder: AutomaticMasks, photo: Photo) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return ``[N, 2]`` predicted IoU and stability of all masks, and ``[M, N]`` IoUs of the objects with them."""
    found = finder.find(photo.rgb)
    truth = [small(mask > 0) for mask in photo.masks if (mask > 0).mean() >= MIN_SHARE]
    masks = [small(one.mask) for one in found]
    scores = np.array([(one.predicted_iou, one.stability_score) for one in found]).reshape(-1, 2)
    ious = np.array([[iou(one, other) for other in masks] for one in truth]).reshape(len(truth), len(masks))
    return scores, ious


def counts(
    seen: list[tuple[NDArray[np.float64], NDArray[np.float64]]], predicted: float, stability: float
) -> tuple[int, int, int]:
    """Return objects found, masks kept, and kept masks that show an object."""
    found = masks = right = 0
    for scores, ious in seen:
        kept = (scores[:, 0] > predicted) & (scores[:, 1] >= stability)
        same = ious[:, kept] >= SAME_IOU
        found += int(same.any(axis=1).sum())
        masks += int(kept.sum())
        right += int(same.any(axis=0).sum())
    return found, masks, right


def small(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask on a grid of ``SIDE`` cells a side."""
    return np.asarray(cv2.resize(mask.astype(np.uint8) * 255, (SIDE, SIDE), interpolation=cv2.INTER_AREA)) >= 128


def iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Return the IoU of two masks."""
    return float((one & other).sum() / max((one | other).sum(), 1))


if __name__ == "__main__":
    main()
