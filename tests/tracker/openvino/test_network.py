"""A small function through OpenVINO, on the CPU and on a device that is not called one."""

from __future__ import annotations

from pathlib import Path

import openvino
import pytest
import torch
from torch import Tensor, nn

from streamseg.tracker.openvino.functions import convert
from streamseg.tracker.openvino.network import CPU, Network, Target, compile_network, load_network, save_network

ELSEWHERE = "HETERO:CPU"
"""Another plugin than the CPU's, without its options. Intel's GPUs are used like that."""


class Scaled(nn.Module):
    def forward(self, slots: Tensor, other: Tensor) -> tuple[Tensor, ...]:
        return (2 * slots.float() + other,)


@pytest.mark.parametrize("device", [CPU, ELSEWHERE])
def test_memory_in_bfloat16_reaches_every_device(device: str, tmp_path: Path) -> None:
    inputs = torch.randn(2, 3).to(torch.bfloat16), torch.randn(2, 3)
    target, core, path = Target(None, 1, device), openvino.Core(), tmp_path / "scaled.xml"
    openvino.save_model(convert(Scaled(), target.inputs(inputs)), path, compress_to_fp16=False)
    compiled = compile_network(core, path, [value.shape for value in inputs], target)
    save_network(compiled, tmp_path / "blob")
    for network in (Network(compiled), load_network(core, (tmp_path / "blob").read_bytes(), target)):
        (given,) = network(*inputs)
        assert torch.equal(given, Scaled()(*inputs)[0])
    taken = compiled.inputs[0].get_element_type()
    assert taken == (openvino.Type.bf16 if device == CPU else openvino.Type.f32)
