"""Loads a model for pictures."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from sam2.modeling.sam2_base import SAM2Base

from streamseg.errors import ModelError
from streamseg.models.registry import resolve
from streamseg.tracker.device import choose_device, choose_dtype
from streamseg.tracker.sam2.build import build_model


@dataclass(frozen=True, slots=True)
class ImageModel:
    """A SAM 2 model for pictures.

    Attributes:
        network: The model, in evaluation mode, on its device.
        name: Its name, for model-specific thresholds; None if it has none.
        autocast: Precision of the arithmetic; None for float32, or for the caller's ``torch.autocast``.
    """

    network: SAM2Base
    name: str | None = None
    autocast: torch.dtype | None = None

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        device: torch.device = self.network.device
        return device

    @property
    def image_size(self) -> int:
        """Side of the square model input in pixels."""
        return int(self.network.image_size)

    def precision(self) -> AbstractContextManager[object]:
        """Return the context in which the model computes: with its own precision, or the caller's autocast."""
        return nullcontext() if self.autocast is None else torch.autocast(self.device.type, dtype=self.autocast)

    def full_precision(self) -> AbstractContextManager[object]:
        """Return the context of everything after the model, which a caller's autocast must not change."""
        return torch.autocast(self.device.type, enabled=False)


@dataclass(frozen=True, slots=True)
class _Wanted:
    name: str
    config: str | None


def load_model(
    name: str = "nano",
    *,
    config: str | None = None,
    image_size: int | None = None,
    device: str = "auto",
    dtype: str = "float32",
    apply_postprocessing: bool = False,
) -> ImageModel:
    """Load a model by its name. Blocks: seconds. Downloads nothing.

    Args:
        name: A name of ``streamseg models list``, the path of a checkpoint, or a Hugging Face id.
        config: With the path or id of a checkpoint: a config name of sam2 or a YAML file.
        image_size: Side of the square model input in pixels, a multiple of 32; None for the model's own.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        dtype: ``float32``, ``bfloat16``, ``float16``, or ``auto``: bfloat16 where the hardware supports it.
        apply_postprocessing: As in ``build_sam2``: if a single mask per prompt is requested, replace an unstable one
            with the best of the three candidates.

    Raises:
        ModelError: The model is unknown, is not a SAM 2 model, or cannot be built.
    """
    found = resolve(_Wanted(name, config))
    if found.kind != "sam2":
        raise ModelError(f"model {found.name!r} has no network: use a SAM 2 model or nano")
    where = choose_device(device)
    network = build_model(found.config, image_size=image_size, checkpoint=found.checkpoint, device=where)
    network.sam_mask_decoder.dynamic_multimask_via_stability = apply_postprocessing
    precision = choose_dtype(dtype, where)
    return ImageModel(network, found.name, None if precision == torch.float32 else precision)


def as_image_model(model: ImageModel | SAM2Base) -> ImageModel:
    """Return the model of :func:`load_model`, or a model built with sam2, as it is."""
    if isinstance(model, ImageModel):
        return model
    if isinstance(model, SAM2Base):
        return ImageModel(model)
    raise ModelError(
        f"a {type(model).__name__} is not a model: pass the result of streamseg.images.load_model or sam2's build_sam2"
    )


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error means lack of memory, for which torch raises a plain RuntimeError on a CPU."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)
