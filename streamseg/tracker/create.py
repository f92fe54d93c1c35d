"""Builds the tracker that the settings name."""

from __future__ import annotations

from streamseg.config.schema import ModelConfig
from streamseg.models.registry import resolve
from streamseg.tracker.types import Tracker


def create_tracker(config: ModelConfig) -> Tracker:
    """Build the tracker that the settings name.

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

            return Sam2Tracker.from_config(model, config)
