"""Model settings for a machine that has neither published checkpoints nor a network.

A sam2 config gets random weights, which does not change the speed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from streamseg.models.registry import MODELS


def model_settings(name: str, folder: Path, **more: Any) -> dict[str, Any]:
    """Return the settings of a model, as ``ModelConfig`` takes them.

    Args:
        name: A name in the registry, used as it is, or a sam2 config such as ``sam2.1_hiera_t``.
        folder: Folder for a config's random weights, which must exist until the model is built.
        more: Other fields of ``ModelConfig``; None is left out.
    """
    given = {key: value for key, value in more.items() if value is not None}
    if name in MODELS:
        return {"name": name, **given}
    import torch  # it takes seconds, and most runs have a model
    from tracker_arms import see_objects

    from streamseg.tracker.sam2.build import build_model, config_names

    if name not in config_names():
        return {"name": name, **given}
    model = build_model(name)
    see_objects(model, None)
    path = folder.absolute() / f"{name}_random.pt"
    torch.save({"model": model.state_dict()}, path)
    return {"name": str(path), "config": f"{name}.yaml", **given}
