"""The former place of :class:`EfficientNetLite0`, which model files of users name as their ``_target_``."""

from streamseg.tracker.sam2.efficientnet_lite import EfficientNetLite0

__all__ = ["EfficientNetLite0"]
