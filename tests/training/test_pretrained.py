from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from streamseg.tracker.sam2.efficientnet_lite import STAGES, EfficientNetLite0
from training.pretrained import load_pretrained_trunk


class _Original(nn.Module):
    """The first layers as the weights' package lays them out: convolutions without bias, then batch normalization."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = nn.Conv2d(3, 32, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(32, eps=1e-3)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        x = functional.pad((pixels * 255 - 127) / 128, (0, 1, 0, 1))
        return functional.relu6(self._bn0(self._conv_stem(x)))


def _file(path: Path, original: _Original) -> Path:
    """A file in the package's layout: the original's layers, and blocks of random weights."""
    weights = dict(original.state_dict())
    inputs, index = 32, 0
    for stage in STAGES:
        for _ in range(stage.blocks):
            hidden, prefix = inputs * stage.expansion, f"_blocks.{index}."
            shapes = {"_depthwise_conv": ((hidden, 1, stage.kernel, stage.kernel), "_bn1")}
            shapes["_project_conv"] = ((stage.channels, hidden, 1, 1), "_bn2")
            if stage.expansion > 1:
                shapes["_expand_conv"] = ((hidden, inputs, 1, 1), "_bn0")
            for name, (shape, norm) in shapes.items():
                weights[f"{prefix}{name}.weight"] = torch.randn(shape) * 0.1
                for part in ("weight", "bias", "running_mean", "running_var"):
                    weights[f"{prefix}{norm}.{part}"] = torch.rand(shape[0]) + 0.5
            inputs, index = stage.channels, index + 1
    torch.save(weights, path)
    return path


def test_the_stem_computes_what_its_original_computes_with_another_normalization(tmp_path: Path) -> None:
    torch.manual_seed(0)
    original = _Original()
    nn.init.uniform_(original._bn0.running_mean, -1, 1)
    nn.init.uniform_(original._bn0.running_var, 0.5, 2)
    nn.init.uniform_(original._bn0.bias, -1, 1)
    original.eval()
    trunk = EfficientNetLite0()
    load_pretrained_trunk(trunk, _file(tmp_path / "weights.pth", original))
    pixels = torch.rand(1, 3, 32, 32)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalized = (pixels - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    with torch.no_grad():
        ours, theirs = functional.relu6(trunk.stem(normalized)), original(pixels)
        features = trunk(normalized)
    # The far border is padded with another gray.
    torch.testing.assert_close(ours[..., :-1, :-1], theirs[..., :-1, :-1], atol=1e-4, rtol=1e-4)
    assert [tuple(level.shape[1:]) for level in features] == [(24, 8, 8), (40, 4, 4), (112, 2, 2), (320, 1, 1)]
