"""Loads a checkpoint into a model, with clear errors."""

from __future__ import annotations

import hashlib
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from streamseg.errors import ModelError


def load_checkpoint(model: nn.Module, path: Path, config: str) -> None:
    """Load weights in the format that sam2 publishes, ``{"model": state_dict}``, strictly.

    The file is memory-mapped, and nothing in it is executed.

    Args:
        model: Receives the weights.
        path: The file.
        config: The model's config, for messages.

    Raises:
        ModelError: The file is missing, damaged, or not a checkpoint, has weights that are not finite numbers, or does
            not fit the model.
    """
    given = _read_state_dict(path)
    wanted = model.state_dict()
    missing = [name for name in wanted if name not in given]
    unexpected = [name for name in given if name not in wanted]
    reshaped = [name for name in wanted if name in given and wanted[name].shape != given[name].shape]
    fitting = wanted.keys() - set(reshaped)
    unusable = {
        name: reason for name, value in given.items() if (reason := _why_unusable(value, name in fitting)) is not None
    }
    if unusable:
        name, reason = next(iter(unusable.items()))
        raise ModelError(
            f"checkpoint {path} has {len(unusable)} unusable weights (such as {name}, which {reason}): save it again "
            "with plain, finite tensors on the CPU"
        )
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


_KINDS: Final[tuple[tuple[Callable[[Tensor], bool], str], ...]] = (
    (lambda value: value.is_meta, "is on the meta device and has no data"),
    (lambda value: value.is_nested, "is a nested tensor"),
    (lambda value: value.layout != torch.strided, "is sparse"),
    (lambda value: value.is_quantized, "is quantized"),
    (lambda value: not value.is_floating_point(), "holds no floating-point numbers"),
    (lambda value: not bool(value.to(torch.float32).isfinite().all()), "holds NaN or infinite numbers"),
)
"""Reasons why a weight is unusable. Only the last check reads the numbers."""


def _why_unusable(value: Tensor, fits: bool) -> str | None:
    """Return why a weight is unusable. Numbers are read only if its shape fits: a small file can claim any size."""
    kinds = _KINDS if fits else _KINDS[:-1]
    return next((reason for applies, reason in kinds if applies(value)), None)


def _read_state_dict(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ModelError(f"checkpoint {path} {'is not a file' if path.exists() else 'does not exist'}")
    if _is_legacy(path):
        raise ModelError(
            f"checkpoint {path} is in torch's legacy format of before 1.6: load it with torch.load and save it again "
            "with torch.save"
        )
    if _is_compressed(path):
        raise ModelError(
            f"checkpoint {path} was compressed after it was saved, and its bytes are not the weights: save it again "
            "with torch.save"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about sparse and quantized tensors, which are refused anyway
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise ModelError(f"checkpoint {path} contains more than weights and is not opened") from error
    except Exception as error:
        raise ModelError(f"checkpoint {path} is damaged, incomplete, or not a checkpoint: fetch it again") from error
    weights = content.get("model") if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in weights.items()
    ):
        raise ModelError(f'checkpoint {path} is not in the format of sam2: expected {{"model": state_dict}}')
    return weights


_LEGACY_MAGIC: Final = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
"""The number that torch's legacy format begins with, as pickle writes it."""


def _is_legacy(path: Path) -> bool:
    """Return whether a file has torch's format from before 1.6, which cannot be memory-mapped."""
    if zipfile.is_zipfile(path):
        return False
    with path.open("rb") as file:
        return _LEGACY_MAGIC in file.read(32)


def _is_compressed(path: Path) -> bool:
    """Return whether a file has compressed parts, which torch would use as weights when it maps them to memory."""
    try:
        with zipfile.ZipFile(path) as file:
            return any(part.compress_type != zipfile.ZIP_STORED for part in file.infolist())
    except Exception:  # noqa: BLE001 - damaged files raise many kinds, and torch says so
        return False


def weights_digest(model: nn.Module) -> str:
    """Return a digest of a model's weights; 0.2 s for 150 MB."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
