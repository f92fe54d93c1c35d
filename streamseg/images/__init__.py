"""Masks of single pictures: everything in a picture without a prompt, and prompted objects.

::

    from streamseg.images import AutomaticMasks, load_model

    masks = AutomaticMasks(load_model("nano"), points_per_side=32).generate(picture)  # uint8 [H, W, 3] RGB

The classes take the arguments of ``sam2`` and return its results, so code written for ``SAM2AutomaticMaskGenerator``
and ``SAM2ImagePredictor`` runs with another import. Starts no daemon. torch is imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from streamseg.images.automatic import AutomaticMasks
    from streamseg.images.model import ImageModel, load_model
    from streamseg.images.segmenter import Segmenter

__all__ = ["AutomaticMasks", "ImageModel", "Segmenter", "load_model"]

_HOMES: Final = {
    "AutomaticMasks": "streamseg.images.automatic",
    "ImageModel": "streamseg.images.model",
    "Segmenter": "streamseg.images.segmenter",
    "load_model": "streamseg.images.model",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
