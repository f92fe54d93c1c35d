"""Chooses device and precision from the model's settings."""

from __future__ import annotations

from typing import Final

import torch

from streamseg.errors import ModelError
from streamseg.tracker import torch_private

_ACCELERATORS: Final = ("gpu", "npu")
"""Intel's devices, which only OpenVINO can use."""


def accelerator(name: str) -> str | None:
    """Return OpenVINO's name of ``model.device`` if that is an Intel GPU or NPU: ``gpu:1`` is ``GPU.1``."""
    kind, _, number = name.partition(":")
    if kind not in _ACCELERATORS:
        return None
    return f"{kind.upper()}.{number}" if number else kind.upper()


def choose_device(name: str) -> torch.device:
    """Return torch's device for ``model.device``: ``auto`` is the first CUDA device if there is one, else the CPU.

    With an :func:`accelerator`, torch keeps the memory and runs prompts on the CPU.

    Raises:
        ModelError: The device does not exist.
    """
    if accelerator(name) is not None:
        return torch.device("cpu")
    if name == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ModelError(
            f"model.device {name} does not exist: torch sees {torch.cuda.device_count()} CUDA devices: "
            "set it to auto or cpu"
        )
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the precision for ``model.dtype``.

    ``auto`` is bfloat16 if the hardware supports it natively: CUDA devices since Ampere, CPUs with AVX512-BF16 or AMX.
    Elsewhere bfloat16 is emulated and slower, so ``auto`` is float32.
    """
    if name != "auto":
        dtype: torch.dtype = getattr(torch, name)
        return dtype
    if device.type == "cuda":
        has_bfloat16 = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        found = torch_private.cpu_capabilities()
        has_bfloat16 = bool(found.get("avx512_bf16") or found.get("amx_bf16"))
    return torch.bfloat16 if has_bfloat16 else torch.float32
