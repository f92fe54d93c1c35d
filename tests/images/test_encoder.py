from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from streamseg.images import AutomaticMasks
from streamseg.images.embedding import embed
from streamseg.images.encoder import HieraInStrips
from streamseg.images.model import ImageModel
from streamseg.tracker.sam2.build import build_model
from tests.tracker.shallow import shallow
from tests.tracker.tracker_scenes import clip


# 224: the windows of 14 and 7 tokens divide the maps; 256: they do not; 320: only some do.
@pytest.mark.parametrize(
    ("config", "size"),
    [("sam2.1_hiera_t", 224), ("sam2.1_hiera_t", 256), ("sam2.1_hiera_b+", 320)],
)
@torch.no_grad()
def test_strips_of_windows_are_the_whole_trunk(config: str, size: int, tmp_path: Path) -> None:
    trunk = build_model(shallow(config, tmp_path), image_size=size).image_encoder.trunk
    images = clip(2, size)
    wanted = trunk(images)
    for strip_values in (1, 2**15):
        given = HieraInStrips(trunk, strip_values)(images)
        for ours, theirs in zip(given, wanted, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-4 * float(theirs.std()), rtol=1e-5)


@torch.no_grad()
def test_features_are_the_reference_s(small: torch.nn.Module, nano: ImageModel, picture: NDArray[np.uint8]) -> None:
    for model in (ImageModel(small), nano):
        wanted, given = (embed(model, picture, exact=exact) for exact in (True, False))
        assert given.size == wanted.size
        for ours, theirs in zip(given[:3], wanted[:3], strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-4 * float(theirs.std()), rtol=1e-5)


def test_blocks_with_windows_never_hold_a_whole_map_at_1024(picture: NDArray[np.uint8], tmp_path: Path) -> None:
    network = build_model(shallow("sam2.1_hiera_t", tmp_path))
    held, encoded = [], []
    trunk = network.image_encoder.trunk
    hooks = [
        block.register_forward_pre_hook(lambda _module, args: held.append(args[0].numel()))
        for block in trunk.blocks
        if block.window_size
    ]
    hooks.append(network.image_encoder.neck.position_encoding.register_forward_hook(lambda *_: encoded.append(1)))
    AutomaticMasks(network, points_per_side=1).generate(picture)
    assert max(held) <= 2**20
    assert not encoded  # position encodings take as much as the features at full width
    for hook in hooks:
        hook.remove()


def test_a_neck_of_another_kind_is_encoded_as_the_reference_does(picture: NDArray[np.uint8]) -> None:
    network = build_model("nano", image_size=128)
    network.image_encoder.neck.fuse_type = "avg"
    parameters = {"points_per_side": 4, "pred_iou_thresh": 0, "stability_score_thresh": 0}
    wanted = AutomaticMasks(network, exact=True, **parameters).find(picture)
    given = AutomaticMasks(network, **parameters).find(picture)
    assert given
    assert len(given) <= len(wanted)
