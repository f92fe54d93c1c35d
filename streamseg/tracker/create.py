"""Builds the configured tracker."""

from __future__ import annotations

from typing import Final

import msgspec

from streamseg.config.schema import ModelConfig
from streamseg.models.registry import resolve
from streamseg.tracker.types import Tracker

_SMALLER: Final = 0.75
_STEP: Final = 32
"""The side of a model's input is a multiple of this, in pixels."""
_LEAST: Final = 2 * _STEP


def create_tracker(config: ModelConfig) -> Tracker:
    """Build the configured tracker.

    Raises:
        ModelError: The model is unknown, or its checkpoint is missing or unreadable.
    """
    model = resolve(config)
    match model.kind:
        case "echo":
            from streamseg.tracker.simple.echo import EchoTracker

            return EchoTracker(max_objects=config.max_objects, history_frames=config.history_frames)
        case "color":
            from streamseg.tracker.simple.color import ColorTracker

            return ColorTracker(max_objects=config.max_objects, history_frames=config.history_frames)
        case "sam2":
            from streamseg.tracker.sam2_tracker import Sam2Tracker
            from streamseg.tracker.two_sizes import TwoSizeTracker

            full = Sam2Tracker.from_config(model, config)
            smaller = msgspec.structs.replace(config, image_size=smaller_side(full.image_size))
            if smaller.image_size == full.image_size:
                return TwoSizeTracker(full, None)
            return TwoSizeTracker(full, lambda: Sam2Tracker.from_config(model, smaller))


def smaller_side(side: int) -> int:
    """Return the side of the smaller input of a model: about three quarters, for half of the work."""
    return max(_LEAST, round(_SMALLER * side / _STEP) * _STEP)
