"""The part of sam2's image encoder that the tracker needs: the same function of the same weights, with less work.

The original is ``sam2/modeling/backbones/image_encoder.py`` and ``SAM2Base.forward_image``. There the two finest levels
pass through a 1x1 convolution of the neck and then one of the decoder. The two are combined here into one convolution
to an eighth or a quarter of the channels.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from sam2.modeling.backbones.hieradet import Hiera
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor, nn
from torch.nn import functional

from streamseg.errors import ModelError
from streamseg.tracker.sam2.hiera import FixedHiera


class Levels(NamedTuple):
    """The encoder's outputs for ``B`` pictures.

    Attributes:
        top: ``[B, C, h, w]`` at stride 16.
        stride8: ``[B, C / 4, 2h, 2w]``.
        stride4: ``[B, C / 8, 4h, 4w]``.
    """

    top: Tensor
    stride8: Tensor
    stride4: Tensor


class FixedImageEncoder(nn.Module):
    """Trunk and neck, and the decoder's convolutions of the finer levels.

    Args:
        model: Its weights are shared, except that combined convolutions have copies.
        trunk: A trunk equal to the model's, to use instead.

    Raises:
        ModelError: Neck or trunk is not of a kind that sam2 publishes.
    """

    def __init__(self, model: SAM2Base, trunk: nn.Module | None = None) -> None:
        super().__init__()
        decoder = model.sam_mask_decoder
        if not has_published_neck(model):
            raise ModelError(
                "image_encoder.neck: not supported: the tracker needs fpn_top_down_levels [2, 3], fpn_interp_model "
                "nearest, fuse_type sum, scalp 1 and kernel_size 1, as in SAM 2"
            )
        self._trunk = _fixed(model.image_encoder.trunk, model.image_size) if trunk is None else trunk
        convolutions = _convolutions(model)
        self._coarsest, self._top = convolutions[:2]
        self._stride8 = _combined(convolutions[2], decoder.conv_s1)
        self._stride4 = _combined(convolutions[3], decoder.conv_s0)

    def forward(self, images: Tensor) -> Levels:
        """Encode ``[B, 3, image_size, image_size]``, normalized."""
        stride4, stride8, top, coarsest = self._trunk(images)
        doubled = functional.interpolate(self._coarsest(coarsest).float(), scale_factor=2.0, mode="nearest")
        return Levels(self._top(top) + doubled, self._stride8(stride8), self._stride4(stride4))


def has_published_neck(model: SAM2Base) -> bool:
    """Return whether the neck is of a kind that sam2 publishes, as :class:`FixedImageEncoder` needs."""
    encoder, neck = model.image_encoder, model.image_encoder.neck
    return bool(
        model.use_high_res_features_in_sam
        and neck.fpn_top_down_levels == [2, 3]
        and (neck.fpn_interp_model, neck.fuse_type, encoder.scalp) == ("nearest", "sum", 1)
        and all(layer.kernel_size == (1, 1) and layer.padding == (0, 0) for layer in _convolutions(model))
    )


def _convolutions(model: SAM2Base) -> list[nn.Conv2d]:
    """Return the convolutions of the neck, coarsest first."""
    return [cast(nn.Conv2d, level.conv) for level in model.image_encoder.neck.convs]


def _fixed(trunk: nn.Module, image_size: int) -> nn.Module:
    return FixedHiera(trunk, image_size) if isinstance(trunk, Hiera) else trunk


@torch.no_grad()
def _combined(first: nn.Conv2d, second: nn.Conv2d) -> nn.Conv2d:
    """Return the single convolution that equals two 1x1 convolutions in a row."""
    both = nn.Conv2d(first.in_channels, second.out_channels, 1, device=first.weight.device).requires_grad_(False)
    outer, inner = second.weight[:, :, 0, 0].double(), first.weight[:, :, 0, 0].double()
    assert first.bias is not None
    assert second.bias is not None
    both.weight.copy_((outer @ inner)[:, :, None, None])
    both.bias.copy_(outer @ first.bias.double() + second.bias.double())  # type: ignore[union-attr]
    return both
