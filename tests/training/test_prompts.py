from __future__ import annotations

import torch

from training.prompts import correction_click, first_click, noisy_boxes, sample_clicks


def _masks() -> torch.Tensor:
    masks = torch.zeros(8, 40, 60, dtype=torch.bool)
    for lane in range(8):
        masks[lane, 5 + lane : 20 + lane, 10 + 3 * lane : 25 + 3 * lane] = True
    return masks


def _at(masks: torch.Tensor, clicks: torch.Tensor) -> torch.Tensor:
    x, y = clicks[:, 0].long().unbind(-1)
    return masks[torch.arange(len(masks)), y, x]


def test_clicks_lie_on_the_object() -> None:
    masks = _masks()
    for seed in range(20):
        clicks, labels = first_click(masks, torch.Generator().manual_seed(seed))
        assert _at(masks, clicks).all()
        assert (labels == 1).all()


def test_an_empty_region_is_clicked_in_the_middle() -> None:
    clicks = sample_clicks(torch.zeros(1, 40, 60, dtype=torch.bool), torch.Generator())
    assert clicks.tolist() == [[[30.0, 20.0]]]


def test_boxes_are_near_the_object_and_inside_the_picture() -> None:
    corners, labels = noisy_boxes(_masks(), torch.Generator().manual_seed(0))
    assert labels.tolist() == [[2, 3]] * 8
    assert (corners[:, 0] < corners[:, 1]).all()
    assert (corners >= 0).all()
    assert (corners <= torch.tensor([59, 39])).all()
    tight = torch.tensor([[10 + 3 * lane, 5 + lane, 24 + 3 * lane, 19 + lane] for lane in range(8)])
    assert (corners.flatten(1) - tight).abs().max() < 10


def test_corrections_say_which_way_the_prediction_errs() -> None:
    masks = _masks()
    too_large, too_small = masks | masks.roll(15, dims=2), torch.zeros_like(masks)
    _, labels = correction_click(too_large, masks, torch.Generator().manual_seed(0))
    assert (labels == 0).all()
    clicks, labels = correction_click(too_small, masks, torch.Generator().manual_seed(0))
    assert (labels == 1).all()
    assert _at(masks, clicks).all()
