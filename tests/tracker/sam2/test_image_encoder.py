from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from sam2.modeling.sam2_base import SAM2Base

from streamseg.errors import ModelError
from streamseg.tracker import engine
from streamseg.tracker.predictor import CameraPredictor
from streamseg.tracker.sam2 import hiera
from streamseg.tracker.sam2.build import build_model
from streamseg.tracker.sam2.image_encoder import FixedImageEncoder, Levels
from tests.tracker.shallow import shallow
from tests.tracker.tracker_scenes import Add, clip, play, show


@torch.inference_mode()
def official(model: SAM2Base) -> Levels:
    """The official encoder's output for two pictures."""
    stride4, stride8, top = model.forward_image(clip(2, model.image_size))["backbone_fpn"]
    return Levels(top, stride8, stride4)


@torch.inference_mode()
def ours(model: SAM2Base) -> Levels:
    """Our encoder's output for the same two pictures."""
    found: Levels = FixedImageEncoder(model)(clip(2, model.image_size))
    return found


# 256: two tokens of three are padding; 224: none; 96: the map is smaller than a window; 320: some, and at other places
# in the last two stages.
@pytest.fixture(
    scope="module",
    params=[("sam2.1_hiera_t", 256), ("sam2.1_hiera_t", 224), ("sam2.1_hiera_b+", 320), ("sam2.1_hiera_l", 96)],
    ids=lambda param: f"{param[0]}-{param[1]}",
)
def published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[SAM2Base, Levels]:
    """A model, and its official encoder's output for two pictures. Those of the large ones take seconds."""
    config, size = request.param
    if (config, size) != ("sam2.1_hiera_t", 256):
        config = shallow(config, tmp_path_factory.mktemp("shallow"))
    torch.manual_seed(0)
    model = build_model(config, image_size=size)
    return model, official(model)


@pytest.mark.parametrize(("pads", "whole_scores"), [(False, 0), (False, 256), (True, 0)])  # the last as on CUDA
def test_it_is_the_official_encoder(published, pads, whole_scores, monkeypatch):
    monkeypatch.setattr(hiera, "_WHOLE_SCORES_LIMIT", whole_scores)
    monkeypatch.setattr(hiera, "_pads", lambda device: pads)
    model, expected = published
    for wanted, given in zip(expected, ours(model), strict=True):
        assert given.shape == wanted.shape
        assert (given - wanted).abs().max() < 1e-4 * wanted.std()


@pytest.mark.parametrize("config", ["sam2.1_hiera_t", "nano"])
def test_in_bfloat16_it_is_as_far_from_float32_as_the_official_one(config):
    model = build_model(config, image_size=256)
    with torch.inference_mode():
        images = clip(1, 256)
        exact = model.forward_image(images)["backbone_fpn"][2]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            from_official = model.forward_image(images)["backbone_fpn"][2]
            from_ours = FixedImageEncoder(model)(images).top
    errors = [float((found.float() - exact).pow(2).mean().sqrt()) for found in (from_ours, from_official)]
    assert errors[0] < 1.2 * errors[1]


def test_nano_s_neck_is_folded_too():
    model = build_model("nano", image_size=256)
    for wanted, given in zip(official(model), ours(model), strict=True):
        assert (given - wanted).abs().max() < 1e-4 * wanted.std()


def zeros_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    pad = hiera._pad
    monkeypatch.setattr(hiera, "_pad", lambda x, value, count: pad(x, torch.zeros_like(value), count))


def one_key_for_all_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    attention = hiera._attention
    monkeypatch.setattr(hiera, "_attention", lambda q, k, v, last_counts: attention(q, k, v, 1))


@pytest.mark.parametrize(("pads", "spoil"), [(True, zeros_in_its_place), (False, one_key_for_all_counts_once)])
def test_other_padding_gives_another_result(pads, spoil, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Another padding is another function, so the test above can fail."""
    monkeypatch.setattr(hiera, "_pads", lambda device: pads)
    model = build_model(shallow("sam2.1_hiera_t", tmp_path), image_size=256)
    for block in model.image_encoder.trunk.blocks:
        torch.nn.init.normal_(block.attn.qkv.bias)
    expected = official(model).top
    assert (ours(model).top - expected).abs().max() < 1e-4 * expected.std()
    spoil(monkeypatch)
    assert (ours(model).top - expected).abs().max() > 1e-2 * expected.std()


def test_another_neck_is_refused(small: SAM2Base):
    model = copy.deepcopy(small)
    model.image_encoder.neck.fpn_top_down_levels = [0, 1, 2, 3]
    with pytest.raises(ModelError, match=r"image_encoder\.neck: .*fpn_top_down_levels"):
        FixedImageEncoder(model)


def test_windows_that_a_pool_does_not_divide_are_refused(tmp_path: Path):
    model = build_model(shallow("sam2.1_hiera_t", tmp_path), image_size=256)
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
