from __future__ import annotations

from pathlib import Path

import pytest
import torch

from streamseg.errors import ModelError
from streamseg.tracker.device import accelerator, choose_device, choose_dtype


def test_devices_and_precisions_are_chosen_by_name_and_hardware() -> None:
    cpu = torch.device("cpu")
    assert choose_device("cpu") == cpu
    flags = set(Path("/proc/cpuinfo").read_text().split()) if Path("/proc/cpuinfo").exists() else set()
    native = bool(flags & {"avx512_bf16", "amx_bf16"})
    assert choose_dtype("auto", cpu) == (torch.bfloat16 if native else torch.float32)
    assert choose_device("gpu") == choose_device("gpu:1") == choose_device("npu") == cpu
    assert [accelerator(name) for name in ("auto", "cuda:1", "gpu", "gpu:1", "npu")] == [
        None,
        None,
        "GPU",
        "GPU.1",
        "NPU",
    ]
    assert choose_dtype("bfloat16", cpu) == torch.bfloat16
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ModelError, match="CUDA devices: set it to auto or cpu"):
        choose_device("cuda:99")
