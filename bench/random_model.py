"""Model settings for a machine that has neither published checkpoints nor a network.

The weights of a config of sam2 are random: that does not change the speed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tracker_arms import see_objects

from streamseg.models.registry import MODELS
from streamseg.tracker.sam2.build import build_model, config_names


def model_settings(name: str, folder: Path, **more: Any) -> dict[str, Any]:
    """Return the settings of a model, as ``ModelConfig`` takes them.

    Args:
        name: A name of the registry, which is left as it is, or of a config of sam2, such as ``sam2.1_hiera_t``.
        folder: Where random weights of a config are written. They must be there until the model is built.
        more: More of ``ModelConfig``; what is None is left out.
    """
    given = {key: value for key, value in more.items() if value is not None}
    if name in MODELS or name not in config_names():
        return {"name": name, **given}
    model = build_model(name)
    see_objects(model, None)
    path = folder.absolute() / f"{name}_random.pt"
    torch.save({"model": model.state_dict()}, path)
    return {"name": str(path), "config": f"{name}.yaml", **given}
