"""From the model's settings to a device and a precision."""

from __future__ import annotations

from typing import Final

import torch

from streamseg.errors import ModelError
from streamseg.tracker import torch_private

_ACCELERATORS: Final = ("gpu", "npu")
"""Intel's, which OpenVINO alone can use."""


def accelerator(name: str) -> str | None:
    """Return OpenVINO's name of ``model.device`` if that is a GPU or an NPU of Intel: ``gpu:1`` is ``GPU.1``."""
    kind, _, number = name.partition(":")
    if kind not in _ACCELERATORS:
        return None
    return f"{kind.upper()}.{number}" if number else kind.upper()


def choose_device(name: str) -> torch.device:
    """Turn ``model.device`` into torch's device: ``auto`` is the first CUDA device if there is one, else the CPU.

    With an :func:`accelerator`, torch does on the CPU what OpenVINO does not: it keeps the memory and runs prompts.

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
    """Turn ``model.dtype`` into the precision of the arithmetic.

    ``auto`` is bfloat16 where the hardware multiplies in it: CUDA devices from Ampere on, CPUs with AVX512-BF16 or AMX.
    Elsewhere bfloat16 is emulated and slower than float32, so ``auto`` is float32.
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
