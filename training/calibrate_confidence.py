"""Calibrates a fitted confidence on the outlined real clips, and writes it next to the model's config.

    python -m training.calibrate_confidence --real FOLDER FOLDER

Masks of real video are worse than those of training clips that look as good by all signals, so a confidence fitted on
training clips is too sure. Its log odds get a scale and an offset (Platt 1999): two numbers, fitted on the later
outlined frames of all objects, marked by masks, boxes and clicks. They do not change the order of masks, and so not
the AUROC. Judged on clips that are left out, one at a time.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import msgspec
import numpy as np

from streamseg.models.registry import find
from streamseg.models.tuning import Confidence, load_tuning, save_tuning
from training.fit_confidence import GOOD_IOU, Flags, Floats, judge, logistic_weights, sigmoid
from training.real_clips import OUTLINES, load_real_clips
from training.real_validation import KINDS, load_tracker, shown_masks

_MARK = "log odds times"
_PENALTY = 1e-3
_SUREST = 1e-6


def main() -> None:
    """Parse the command line, track, calibrate, print and write."""
    parser = argparse.ArgumentParser(prog="python -m training.calibrate_confidence", description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="nano", help="model of the registry whose confidence is calibrated")
    parser.add_argument("--weights", type=Path, help="own weights instead of the model's")
    parser.add_argument("--real", type=Path, nargs="+", required=True, metavar="FOLDER", help="folders of the clips")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    entry = find(options.model)
    tuning = load_tuning(entry.config)
    weights = options.weights or entry.packaged
    if tuning.confidence is None or weights is None:
        parser.error(f"--model {options.model}: it has no confidence to calibrate: run training.fit_confidence first")
    if _MARK in tuning.confidence.fitted_on:
        parser.error(f"--model {options.model}: it is calibrated already: run training.fit_confidence first")
    clips = load_real_clips(options.real)
    if missing := set(json.loads(OUTLINES.read_text())["clips"]) - {clip.path.name for clip in clips}:
        parser.error(f"--real: these clips are in none of the folders: {', '.join(sorted(missing))}")
    tracker = load_tracker(weights, entry.config, options.threads)
    rows = []
    for number, clip in enumerate(clips):
        for kind in KINDS:
            rows += [
                (log_odds(mask.confidence), mask.iou > GOOD_IOU, number) for mask in shown_masks(tracker, clip, kind)
            ]
        print(f"{clip.path.name}: {len(rows)} masks so far", flush=True)
    odds, good, video = (np.array(column) for column in zip(*rows, strict=True))
    left_out = np.zeros(len(odds))
    for number in np.unique(video):
        held = video == number
        scale, offset = calibrate(odds[~held], good[~held])
        left_out[held] = sigmoid(scale * odds[held] + offset)
    print("before:", judge(sigmoid(odds), good))
    print("left-out clips:", judge(left_out, good))
    scale, offset = calibrate(odds, good)
    about = (
        f"{_MARK} {scale:.3f} plus {offset:.3f}, by {len(good)} masks of {len(np.unique(video))} real clips, "
        f"{100 * good.mean():.0f} % good; {time.strftime('%Y-%m-%d')}"
    )
    print(about)
    confidence = calibrated(tuning.confidence, scale, offset, about)
    print("written to", save_tuning(entry.config, msgspec.structs.replace(tuning, confidence=confidence)))


def log_odds(probability: float) -> float:
    """Return the log odds of a probability, at most about 14 either way."""
    bounded = min(max(probability, _SUREST), 1 - _SUREST)
    return float(np.log(bounded / (1 - bounded)))


def calibrate(odds: Floats, good: Flags) -> tuple[float, float]:
    """Return the scale and the offset of log odds ``[N]`` that fit best."""
    inputs = np.column_stack([odds, np.ones(len(odds))])
    scale, offset = logistic_weights(inputs, good, np.full(2, _PENALTY), np.array([1.0, 0.0]))
    return float(scale), float(offset)


def calibrated(confidence: Confidence, scale: float, offset: float, about: str) -> Confidence:
    """Return the regression with its log odds scaled and moved; ``about`` describes by what."""
    return Confidence(
        signals=confidence.signals,
        weights=tuple(round(scale * weight, 6) for weight in confidence.weights),
        bias=round(scale * confidence.bias + offset, 6),
        fitted_on=f"{confidence.fitted_on}; {about}",
    )


if __name__ == "__main__":
    main()
