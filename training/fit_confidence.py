"""Fits a model's confidence, and writes it next to the model's config.

    python -m training.fit_confidence --coco FOLDER --renders FOLDER --more FOLDER [--weights RUN/nano.pt]

The model tracks objects through composed clips and generated scenes, both from training material, prompted by clicks,
masks and boxes in turn. Each mask gives the signals of :mod:`streamseg.tracker.confidence`, and whether its IoU is
above 0.5. A logistic regression with a small penalty is fitted to them, and evaluated by five-fold cross-validation
over videos. On real video it is too sure: run ``training.calibrate_confidence`` after it.

The fit is ours because it is twenty lines; nothing else needs scikit-learn.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from bench.quality_metrics import expected_calibration_error, ranking_quality
from streamseg.models.registry import find
from streamseg.models.tuning import Confidence, load_tuning, save_tuning, tuning_file
from streamseg.sources.scene.source import Scene
from streamseg.tracker.confidence import SIGNALS, ConfidenceMeter
from streamseg.tracker.predictor import CameraPredictor
from streamseg.tracker.preprocess import Preprocessor
from streamseg.tracker.sam2.build import build_model
from streamseg.tracker.sam2.memory_policy import policy_of
from streamseg.tracker.sam2.prompt_tensors import GivenPrompt
from training.clip import compose_clip
from training.marked_frames import as_frame, deepest_point
from training.material import Folders, Material, load_material
from training.scene_clips import TRAINING_SEEDS

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_KINDS = ("click", "mask", "click", "box")
_PRESETS = ("default", "crossing", "leave", "simple")
_SCENE_FPS = 15
_PENALTY = 1e-2
_STEPS = 50
_FOLDS = 5
GOOD_IOU = 0.5
_SEED = 11


@dataclass(frozen=True, slots=True)
class Samples:
    """Masks of some videos.

    Attributes:
        signals: ``[N, len(SIGNALS)]``.
        good: ``[N]``; whether the IoU is above 0.5.
        video: ``[N]``; the number of the mask's video.
    """

    signals: Floats
    good: Flags
    video: NDArray[np.int64]


def main() -> None:
    """Parse the command line, track, fit, print and write."""
    parser = argparse.ArgumentParser(prog="python -m training.fit_confidence", description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="nano", help="model of the registry whose config and tuning are used")
    parser.add_argument("--weights", type=Path, help="own weights instead of the model's")
    Folders.add_options(parser)
    parser.add_argument("--clips", type=int, default=48, help="composed clips")
    parser.add_argument("--frames", type=int, default=60, help="length of each")
    parser.add_argument("--scenes", type=int, default=12, help="generated scenes")
    parser.add_argument("--seconds", type=int, default=30, help="length of each")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    entry = find(options.model)
    weights = options.weights or entry.packaged
    tuning_file(entry.config)  # refuse a model whose fit could not be saved before any work
    tuning = load_tuning(entry.config)
    model = build_model(entry.config, checkpoint=weights)
    follower = Follower(CameraPredictor(model, policy=policy_of(tuning.memory, tuning.thresholds), history_frames=1))
    material = load_material(Folders.chosen(options))
    videos = [
        *(clip(material, n, options.frames, model.image_size) for n in range(options.clips)),
        *(scene(n, options.seconds) for n in range(options.scenes)),
    ]
    parts = [follower.follow(frames, _KINDS[n % len(_KINDS)], n) for n, frames in enumerate(videos)]
    samples = Samples(*(np.concatenate([getattr(part, name) for part in parts]) for name in Samples.__slots__))
    fitted = fit(samples.signals, samples.good)
    about = (
        f"{len(samples.good)} masks of {options.clips} composed clips and {options.scenes} generated scenes, "
        f"{100 * samples.good.mean():.0f} % good; {weights.name if weights else 'no weights'}, "
        f"{time.strftime('%Y-%m-%d')}"
    )
    print(about)
    print("left-out videos:", _judged(samples))
    print({name: round(weight, 3) for name, weight in zip(SIGNALS, fitted.weights, strict=True)})
    confidence = msgspec.structs.replace(fitted, fitted_on=about)
    print("written to", save_tuning(entry.config, msgspec.structs.replace(tuning, confidence=confidence)))


Frames = Iterator[tuple[NDArray[np.uint8], dict[int, Flags]]]


def clip(material: Material, number: int, frames: int, side_px: int) -> Frames:
    """Compose a clip; every third is fast."""
    rng = np.random.default_rng([_SEED, number])
    gap = 3.0 if number % 3 == 2 else 1.0
    made = compose_clip(material, rng, frames=frames, side_px=side_px, max_objects=4, gap=gap)
    for n in range(frames):
        yield made.frames[n], {obj_id: masks[n] for obj_id, masks in enumerate(made.masks, 1)}


def scene(number: int, seconds: int) -> Frames:
    """Render a scene with a training seed."""
    preset, seed = _PRESETS[number % len(_PRESETS)], TRAINING_SEEDS[_SEED + number]
    made = Scene(f"scene:{preset}?seed={seed}&fps={_SCENE_FPS}&size=640x360")
    for n in range(seconds * _SCENE_FPS):
        yield made.render(n), made.truth(n)


class Follower:
    """Tracks the objects of videos and collects samples.

    Args:
        predictor: Has the model to fit.
    """

    def __init__(self, predictor: CameraPredictor) -> None:
        self._predictor = predictor
        model = predictor.model
        self._preprocess = Preprocessor(model.image_size, model.device, torch.float32)
        self._side = model.image_size // 4

    def follow(self, frames: Frames, kind: str, number: int) -> Samples:
        """Prompt every object on the first frame, and return samples of its masks on the others."""
        meter = ConfidenceMeter(None, self._predictor.model.device)
        self._predictor.open_stream("video")
        signals, good = [], []
        for n, (picture, truths) in enumerate(frames):
            image = self._preprocess.normalize(self._preprocess.resize(as_frame(n, picture)))
            output = self._predictor.track({"video": image})["video"]
            small = {obj_id: self._shrink(truth) for obj_id, truth in truths.items()}
            if n == 0:
                for obj_id, truth in truths.items():
                    if small[obj_id].any():
                        self._predictor.add_prompt("video", obj_id, **_prompt(truth, kind))
                continue
            if not output.obj_ids:
                break
            found = (output.mask_logits > 0).numpy()
            rows = meter.signals("video", output, self._predictor.newest_colors("video")).double().numpy()
            for row, obj_id in enumerate(output.obj_ids):
                if found[row].any():
                    signals.append(rows[row])
                    union = np.count_nonzero(found[row] | small[obj_id])
                    good.append(np.count_nonzero(found[row] & small[obj_id]) > GOOD_IOU * union)
        print(f"video {number}: {kind}, {len(good)} masks, {np.mean(good) if good else 0:.2f} good", flush=True)
        return Samples(
            np.array(signals).reshape(-1, len(SIGNALS)), np.array(good, np.bool_), np.full(len(good), number)
        )

    def _shrink(self, truth: Flags) -> Flags:
        size = (self._side, self._side)
        return np.asarray(cv2.resize(truth.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.5)


def _prompt(truth: Flags, kind: str) -> GivenPrompt:
    """Return the prompt of a careful user."""
    height, width = truth.shape
    if kind == "mask":
        return {"mask": torch.from_numpy(truth)}
    if kind == "box":
        x, y, w, h = cv2.boundingRect(truth.astype(np.uint8))
        return {"box_norm": torch.tensor([x / width, y / height, (x + w) / width, (y + h) / height])}
    column, row = deepest_point(truth)
    return {
        "points_norm": torch.tensor([[column / width, row / height]], dtype=torch.float32),
        "labels": torch.ones(1, dtype=torch.int32),
    }


def fit(signals: Floats, good: Flags) -> Confidence:
    """Fit the regression on standardized signals, with a penalty on their weights.

    Raises:
        ValueError: All masks are good, or none.
    """
    if good.all() or not good.any():
        raise ValueError("all masks are good, or none: there is nothing to learn: follow more videos")
    mean, spread = signals.mean(0), signals.std(0) + 1e-9
    inputs = np.column_stack([(signals - mean) / spread, np.ones(len(good))])
    weights = logistic_weights(inputs, good, np.array([*np.full(len(mean), _PENALTY), 0.0]))
    scaled = weights[:-1] / spread
    return Confidence(
        signals=SIGNALS,
        weights=tuple(round(float(weight), 6) for weight in scaled),
        bias=round(float(weights[-1] - scaled @ mean), 6),
    )


def logistic_weights(inputs: Floats, good: Flags, penalty: Floats, toward: Floats | float = 0.0) -> Floats:
    """Return the weights ``[K]`` of a logistic regression, by Newton's method from 0, where steps do not overshoot.

    Args:
        inputs: ``[N, K]``.
        good: ``[N]``.
        penalty: ``[K]``; how much each weight is drawn to its value in ``toward``.
        toward: ``[K]``, or one value for all.
    """
    weights = np.zeros(inputs.shape[1])
    for _ in range(_STEPS):
        probability = sigmoid(inputs @ weights)
        gradient = inputs.T @ (probability - good) / len(good) + penalty * (weights - toward)
        curvature = (inputs * (probability * (1 - probability))[:, None]).T @ inputs / len(good)
        weights -= np.linalg.solve(curvature + np.diag(penalty + 1e-9), gradient)
    return weights


def sigmoid(odds: Floats) -> Floats:
    """Return the probabilities of log odds."""
    return np.asarray(1 / (1 + np.exp(-odds)))


def confidences(fitted: Confidence, signals: Floats) -> Floats:
    """Return the confidence of each row of signals."""
    return sigmoid(signals @ np.array(fitted.weights) + fitted.bias)


def _judged(samples: Samples) -> str:
    """Return AUROC and calibration error of cross-validation over videos."""
    numbers = np.unique(samples.video)
    left_out = np.zeros(len(samples.good))
    for fold in range(_FOLDS):
        held = np.isin(samples.video, numbers[fold::_FOLDS])
        left_out[held] = confidences(fit(samples.signals[~held], samples.good[~held]), samples.signals[held])
    return judge(left_out, samples.good)


def judge(probability: Floats, good: Flags) -> str:
    """Return AUROC and expected calibration error of some probabilities ``[N]``."""
    error = expected_calibration_error(probability, good)
    return f"AUROC {ranking_quality(probability, good):.3f}, calibration error {error:.3f}"


if __name__ == "__main__":
    main()
