"""From the model's settings to a tracker."""

from __future__ import annotations

from streamseg.config.schema import ModelConfig
from streamseg.models.registry import resolve
from streamseg.tracker.types import Tracker


def create_tracker(config: ModelConfig) -> Tracker:
    """Build the tracker that the settings name.

    Raises:
        ModelError: the model is unknown, its checkpoint missing or unreadable.
    """
    model = resolve(config)
    match model.kind:
        case "fixed":
            from streamseg.tracker.fixed import FixedMaskTracker

            return FixedMaskTracker(max_objects=config.max_objects, history_frames=config.history_frames)
        case "colour":
            from streamseg.tracker.colour import ColourTracker

            return ColourTracker(max_objects=config.max_objects, history_frames=config.history_frames)
        case "sam2":
            from streamseg.tracker.sam2_tracker import Sam2Tracker

            return Sam2Tracker.from_config(model, config)
