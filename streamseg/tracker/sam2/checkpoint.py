"""Loads a checkpoint into a model, with clear errors."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import Tensor, nn

from streamseg.errors import ModelError


def load_checkpoint(model: nn.Module, path: Path, config: str) -> None:
    """Load weights in the format that sam2 publishes, ``{"model": state_dict}``, strictly.

    The file is memory-mapped, and nothing in it is executed.

    Args:
        model: Receives the weights.
        path: The file.
        config: What the model was built from, for messages.

    Raises:
        ModelError: The file is missing, damaged, or not a checkpoint, or it does not fit the model.
    """
    given = _read_state_dict(path)
    wanted = model.state_dict()
    missing = [name for name in wanted if name not in given]
    unexpected = [name for name in given if name not in wanted]
    reshaped = [name for name in wanted if name in given and wanted[name].shape != given[name].shape]
    faults = [
        f"{len(names)} {what} (such as {names[0]})"
        for what, names in (("missing", missing), ("not in the model", unexpected), ("of another shape", reshaped))
        if names
    ]
    if faults:
        raise ModelError(
            f"checkpoint {path} does not fit model config {config}: weights {', '.join(faults)}: "
            "set model.config to the config that the checkpoint was trained with"
        )
    model.load_state_dict(given)


def _read_state_dict(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ModelError(f"checkpoint {path} does not exist")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise ModelError(f"checkpoint {path} holds more than weights and is not opened") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise ModelError(f"checkpoint {path} is damaged, cut short, or no checkpoint: fetch it again") from error
    weights = content.get("model") if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise ModelError(f'checkpoint {path} is not laid out as sam2 lays it out: {{"model": state_dict}}')
    return weights
