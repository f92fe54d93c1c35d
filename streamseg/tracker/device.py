"""From the model's settings to a device and a precision."""

from __future__ import annotations

import torch

from streamseg.errors import ModelError
from streamseg.tracker import torch_private


def choose_device(name: str) -> torch.device:
    """Turn ``model.device`` into a device: ``auto`` is the first CUDA device if there is one, else the CPU.

    Raises:
        ModelError: The device does not exist.
    """
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
