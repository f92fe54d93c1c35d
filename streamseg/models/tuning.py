"""Values fitted for one model: its memory policy with thresholds, its confidence, and the finish of its masks.

Stored next to the model's config as ``NAME.tuning.json``, so that custom weights with the same config use it too. A
model without this file uses SAM 2's memory policy, has no confidence, and its masks stay as they are. Imports no torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import msgspec

from streamseg.errors import ModelError

TUNING_VERSION: Final = 1

MemoryPolicyName = Literal["sam2", "gated", "distractor", "contact"]
"""See :class:`~streamseg.tracker.sam2.memory_policy.MemoryPolicy`."""

MaskEdges = Literal["model", "colors"]
"""See :mod:`streamseg.tracker.mask_edges`."""


class MemoryThresholds(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Thresholds of the memory policies, see :class:`~streamseg.tracker.sam2.memory_policy.MemoryPolicy`."""

    window: int = 24
    share: float = 0.6
    anchors: int = 3
    rival: float = 0.3
    sure: float = 0.7
    spacing: int = 5


class Confidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A logistic regression that predicts whether a mask's IoU is above 0.5.

    Attributes:
        signals: Names of its inputs, see :mod:`streamseg.tracker.confidence`.
        weights: One per signal.
        bias: Added to the weighted sum.
        fitted_on: Description of the data.
    """

    signals: tuple[str, ...]
    weights: tuple[float, ...]
    bias: float
    fitted_on: str = ""


class AutomaticThresholds(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Thresholds of automatic masks. The defaults are SAM 2's, for its large model.

    Attributes:
        pred_iou_thresh: Minimum predicted IoU.
        stability_score_thresh: Minimum stability score.
        chosen_on: Description of the data.
    """

    pred_iou_thresh: float = 0.8
    stability_score_thresh: float = 0.95
    chosen_on: str = ""


class Tuning(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What was fitted for a model.

    Attributes:
        version: Of this layout.
        memory: The model's default policy.
        thresholds: Of all policies.
        confidence: None if the model has none.
        automatic: Thresholds of masks that are found without a prompt.
        mask_edges: Whether published masks keep the model's edges, or follow the picture's colors.
    """

    version: int = TUNING_VERSION
    memory: MemoryPolicyName = "sam2"
    thresholds: MemoryThresholds = MemoryThresholds()
    confidence: Confidence | None = None
    automatic: AutomaticThresholds = AutomaticThresholds()
    mask_edges: MaskEdges = "model"


def tuning_file(config: str) -> Path:
    """Return the path of the tuning file for a config; it may not exist.

    Raises:
        ModelError: It is a config name of the sam2 package, which holds no tuning.
    """
    if not Path(config).is_absolute():
        raise ModelError(f"config {config} is one of the sam2 package, which holds no tuning: use a config of your own")
    return Path(config).with_suffix(".tuning.json")


def load_tuning(config: str) -> Tuning:
    """Return what was fitted for the model with that config, or the defaults.

    Args:
        config: The absolute path of a YAML file, or a config name of the sam2 package.

    Raises:
        ModelError: The file is damaged or of another version.
    """
    if not Path(config).is_absolute() or not (path := tuning_file(config)).is_file():
        return Tuning()
    try:
        tuning = msgspec.json.decode(path.read_bytes(), type=Tuning)
    except (OSError, msgspec.DecodeError) as error:
        raise ModelError(f"{path} cannot be read: {error}: fit it again, or remove it") from None
    if tuning.version != TUNING_VERSION:
        raise ModelError(f"{path} has version {tuning.version}, expected {TUNING_VERSION}: fit it again, or remove it")
    return tuning


def save_tuning(config: str, tuning: Tuning) -> Path:
    """Write what was fitted beside the config, and return the file.

    Raises:
        ModelError: As :func:`tuning_file`.
    """
    path = tuning_file(config)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(tuning), indent=1) + b"\n")
    return path
