"""What replaces operations of the model for OpenVINO computes the same."""

from __future__ import annotations

from pathlib import Path

import openvino
import pytest
import torch
from sam2.modeling.sam.transformer import Attention
from sam2.modeling.sam2_base import SAM2Base
from sam2.modeling.sam2_utils import LayerNorm2d
from torch import Tensor, nn

import streamseg.models
from streamseg.tracker.openvino.functions import StepFunction, convert, step_inputs
from streamseg.tracker.openvino.network import Network, Target, compile_network
from streamseg.tracker.openvino.rewrites import ConvolutionNorm, MatrixUpsampling, TokenAttention, rewritten
from streamseg.tracker.predictor import CameraPredictor
from streamseg.tracker.sam2.build import build_model
from streamseg.tracker.sam2.step import TrackStep, _agreement
from tests.tracker.tracker_scenes import Add, clip, play

NEAR = {"rtol": 1e-4, "atol": 1e-5}


@torch.inference_mode()
def test_upsampling() -> None:
    pictures = torch.randn(2, 1, 16, 16)
    wanted = nn.functional.interpolate(pictures, size=(64, 64), mode="bilinear", align_corners=False)
    torch.testing.assert_close(MatrixUpsampling(16, 64)(pictures), wanted, **NEAR)


@pytest.mark.parametrize("channels", [4, 64])
@torch.inference_mode()
def test_normalization(channels: int) -> None:
    norm = LayerNorm2d(channels)
    norm.weight.normal_()
    norm.bias.normal_()
    maps = 3 * torch.randn(2, channels, 8, 8) + 1
    torch.testing.assert_close(ConvolutionNorm(norm)(maps), norm(maps), **NEAR)


@torch.inference_mode()
def test_attention_of_tokens() -> None:
    attention = Attention(32, num_heads=4, downsample_rate=2)
    tokens, keys = 4 * torch.randn(2, 7, 32), 4 * torch.randn(2, 64, 32)
    torch.testing.assert_close(TokenAttention(attention)(tokens, keys, keys), attention(tokens, keys, keys), **NEAR)


@torch.inference_mode()
def remembered(model: SAM2Base) -> tuple[TrackStep, tuple[Tensor, ...]]:
    """Return a step, and its inputs on the frame after a short clip."""
    predictor = CameraPredictor(model)
    images = clip(8, model.image_size)
    play(predictor, images, {0: [Add(1, points=[(0.5, 0.5, 1)]), Add(2, box=(0.3, 0.3, 0.7, 0.7))]})
    step = predictor.step
    features = step.encode(images[7][None]).select(torch.zeros(2, dtype=torch.int64))
    memory = step.read(predictor.bank, torch.tensor([[0, 1], [8, 8]]), 1, True, features.colors)
    return step, tuple(value.clone() for value in step_inputs(memory, features))


def test_the_step(small: SAM2Base) -> None:
    """All of it; the original is left as it is."""
    step, inputs = remembered(small)
    before = [type(module) for module in step.modules()]
    with torch.inference_mode():
        made = rewritten(step)
        kinds = {type(module) for module in made.modules()}
        assert {MatrixUpsampling, ConvolutionNorm, TokenAttention} <= kinds
        assert [type(module) for module in step.modules()] == before
        for given, wanted in zip(StepFunction(made)(*inputs), StepFunction(step)(*inputs), strict=True):
            torch.testing.assert_close(given, wanted, rtol=1e-3, atol=1e-3)


def test_fused_operations_in_bfloat16(tmp_path: Path) -> None:
    """On nano's memory of a clip. Where the CPU lacks bfloat16, OpenVINO computes in float32."""
    model = build_model("nano", checkpoint=Path(streamseg.models.__file__).with_name("nano.pt"))
    step, inputs = remembered(model)
    path = tmp_path / "step.xml"
    openvino.save_model(convert(StepFunction(rewritten(step)), inputs), path, compress_to_fp16=False)
    target = Target(torch.bfloat16, threads=1, fused=True)
    network = Network(compile_network(openvino.Core(), path, [value.shape for value in inputs], target))
    with torch.inference_mode():
        _, iou, score, *_ = network(*inputs)
        _, wanted_iou, wanted_score, *_ = StepFunction(step)(*inputs)
    torch.testing.assert_close(iou, wanted_iou, rtol=0, atol=0.03)
    torch.testing.assert_close(score, wanted_score, rtol=0, atol=0.15)


class Agreement(nn.Module):
    def forward(self, masks: Tensor, last: Tensor) -> tuple[Tensor]:
        return (_agreement(masks, last),)


@torch.inference_mode()
def test_agreement_with_the_last_masks_in_bfloat16(tmp_path: Path) -> None:
    """The measurement of the networks cannot show it: masks of random memory have a few cells.

    Sums of cells in bfloat16 would stop at 256.
    """
    masks = torch.randn(4, 3, 64, 64) + torch.tensor([-1.0, 0, 1])[:, None, None]
    last = (masks[:, 1] + 0.5 * torch.randn(4, 64, 64) > 0).float()
    openvino.save_model(convert(Agreement(), (masks, last)), tmp_path / "agreement.xml", compress_to_fp16=False)
    target = Target(torch.bfloat16, threads=1, fused=True)
    shapes = [masks.shape, last.shape]
    network = Network(compile_network(openvino.Core(), tmp_path / "agreement.xml", shapes, target))
    torch.testing.assert_close(network(masks, last)[0], _agreement(masks, last), rtol=0, atol=0.01)
