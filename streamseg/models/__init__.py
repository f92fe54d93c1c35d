"""Model names, checkpoints and downloads."""

from streamseg.models.registry import MODELS, Checkpoint, ModelEntry, ResolvedModel, find, models_directory, resolve

__all__ = ["MODELS", "Checkpoint", "ModelEntry", "ResolvedModel", "find", "models_directory", "resolve"]
