"""The old import path of :class:`EfficientNetLite0`, kept because users' model files name it as their ``_target_``."""

from streamseg.tracker.sam2.efficientnet_lite import EfficientNetLite0

__all__ = ["EfficientNetLite0"]
