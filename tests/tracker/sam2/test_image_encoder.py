from __future__ import annotations

import copy

import pytest
import torch
from sam2.modeling.sam2_base import SAM2Base

from streamseg.errors import ModelError
from streamseg.tracker import engine
from streamseg.tracker.predictor import CameraPredictor
from streamseg.tracker.sam2 import hiera
from streamseg.tracker.sam2.build import build_model
from streamseg.tracker.sam2.image_encoder import FixedImageEncoder, Levels
from tests.tracker.tracker_scenes import Add, clip, play, show


@torch.inference_mode()
def both(model: SAM2Base) -> tuple[Levels, Levels]:
    """What the official encoder and ours make of two pictures."""
    images = clip(2, model.image_size)
    stride4, stride8, top = model.forward_image(images)["backbone_fpn"]
    return Levels(top, stride8, stride4), FixedImageEncoder(model)(images)


# 256: two tokens of three are padding; 224: none; 96: the map is smaller than a window; 320: some, and at other places
# in the last two stages.
@pytest.mark.parametrize(
    ("config", "size"),
    [("sam2.1_hiera_t", 256), ("sam2.1_hiera_t", 224), ("sam2.1_hiera_b+", 320), ("sam2.1_hiera_l", 96)],
)
@pytest.mark.parametrize("whole_scores", [0, 256])
@pytest.mark.parametrize("pads", [False, True])
def test_it_is_the_official_encoder(config, size, whole_scores, pads, monkeypatch):
    monkeypatch.setattr(hiera, "_WHOLE_SCORES_LIMIT", whole_scores)
    monkeypatch.setattr(hiera, "_pads", lambda device: pads)
    torch.manual_seed(0)
    official, ours = both(build_model(config, image_size=size))
    for wanted, given in zip(official, ours, strict=True):
        assert given.shape == wanted.shape
        assert (given - wanted).abs().max() < 1e-4 * wanted.std()


@pytest.mark.parametrize("config", ["sam2.1_hiera_t", "nano"])
def test_in_bfloat16_it_is_as_far_from_float32_as_the_official_one(config):
    model = build_model(config, image_size=256)
    with torch.inference_mode():
        images = clip(1, 256)
        exact = model.forward_image(images)["backbone_fpn"][2]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            official = model.forward_image(images)["backbone_fpn"][2]
            ours = FixedImageEncoder(model)(images).top
    errors = [float((found.float() - exact).pow(2).mean().sqrt()) for found in (ours, official)]
    assert errors[0] < 1.2 * errors[1]


def test_nano_s_neck_is_folded_too():
    official, ours = both(build_model("nano", image_size=256))
    for wanted, given in zip(official, ours, strict=True):
        assert (given - wanted).abs().max() < 1e-4 * wanted.std()


def zeros_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    pad = hiera._pad
    monkeypatch.setattr(hiera, "_pad", lambda x, value, count: pad(x, torch.zeros_like(value), count))


def one_key_for_all_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    attention = hiera._attention
    monkeypatch.setattr(hiera, "_attention", lambda q, k, v, last_counts: attention(q, k, v, 1))


@pytest.mark.parametrize(("pads", "spoil"), [(True, zeros_in_its_place), (False, one_key_for_all_counts_once)])
def test_padding_counts(pads, spoil, monkeypatch: pytest.MonkeyPatch):
    """Another padding would be another function: the test above can fail."""
    monkeypatch.setattr(hiera, "_pads", lambda device: pads)
    model = build_model("sam2.1_hiera_t", image_size=256)
    for block in model.image_encoder.trunk.blocks:
        torch.nn.init.normal_(block.attn.qkv.bias)
    official, ours = both(model)
    assert (ours.top - official.top).abs().max() < 1e-4 * official.top.std()
    spoil(monkeypatch)
    _, wrong = both(model)
    assert (wrong.top - official.top).abs().max() > 1e-2 * official.top.std()


def test_another_neck_is_refused(small: SAM2Base):
    model = copy.deepcopy(small)
    model.image_encoder.neck.fpn_top_down_levels = [0, 1, 2, 3]
    with pytest.raises(ModelError, match=r"image_encoder\.neck: .*fpn_top_down_levels"):
        FixedImageEncoder(model)


def test_windows_that_a_pool_does_not_divide_are_refused():
    model = build_model("sam2.1_hiera_t", image_size=256)
    model.image_encoder.trunk.blocks[3].window_size = 5
    with pytest.raises(
        ModelError, match=r"window_spec: a window of 5 tokens cannot be pooled by 2: expected a multiple of 2"
    ):
        FixedImageEncoder(model)


def test_weights_held_in_bfloat16_give_what_autocast_gives(small: SAM2Base, monkeypatch: pytest.MonkeyPatch):
    images, events = (
        clip(4, small.image_size),
        {0: [Add(1, points=[(0.5, 0.5, 1)])], 2: [Add(1, points=[(0.6, 0.6, 1)])]},
    )
    runs, kept = [], []
    for cast_weights in (engine.cast_weights, lambda step, dtype: None):
        monkeypatch.setattr(engine, "cast_weights", cast_weights)
        model = copy.deepcopy(small)
        show(model, 0)
        predictor = CameraPredictor(model, autocast=torch.bfloat16)
        kept.append(model.sam_mask_decoder.conv_s0.weight.dtype)
        runs.append(play(predictor, images, events))
    assert kept == [torch.bfloat16, torch.float32]
    held, cast = runs
    for key, (logits, score) in cast.tracked.items():
        assert torch.equal(logits, held.tracked[key][0])
        assert torch.equal(score, held.tracked[key][1])
