from __future__ import annotations

import torch
from sam2.modeling.backbones.image_encoder import ImageEncoder

from streamseg.tracker.sam2.build import build_model
from streamseg.tracker.sam2.efficientnet_lite import EfficientNetLite0, SameConv2d


def test_levels_have_the_strides_and_channels_that_the_neck_expects() -> None:
    trunk = EfficientNetLite0()
    levels = trunk(torch.randn(2, 3, 96, 64))
    assert [tuple(level.shape) for level in levels] == [
        (2, 24, 24, 16),
        (2, 40, 12, 8),
        (2, 112, 6, 4),
        (2, 320, 3, 2),
    ]
    assert trunk.channel_list == [level.shape[1] for level in reversed(levels)]


def test_stride_two_pads_at_the_far_end() -> None:
    conv = SameConv2d(1, 1, 3, 2)
    torch.nn.init.zeros_(conv.weight)
    torch.nn.init.zeros_(conv.bias)
    conv.weight.data[0, 0, 0, 0] = 1
    picture = torch.arange(16.0).view(1, 1, 4, 4)
    # The first tap falls on the pixel itself: nothing was padded before it.
    assert conv(picture).tolist() == [[[[0, 2], [8, 10]]]]


def test_pictures_of_a_batch_do_not_touch_each_other() -> None:
    trunk = EfficientNetLite0().eval()
    pictures = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        together, alone = trunk(pictures), trunk(pictures[1:2])
    for level, single in zip(together, alone, strict=True):
        torch.testing.assert_close(level[1:2], single, atol=1e-5, rtol=1e-4)


def test_nano_is_built_around_it() -> None:
    model = build_model("nano")
    assert isinstance(model.image_encoder, ImageEncoder)
    assert isinstance(model.image_encoder.trunk, EfficientNetLite0)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert 2 * parameters < 16 * 2**20, "in half precision the weights must fit into the wheel"
