from __future__ import annotations

import pytest
import torch

from training.losses import DICE_WEIGHT, FOCAL_WEIGHT, IOU_WEIGHT, SCORE_WEIGHT, frame_loss


def _truth() -> torch.Tensor:
    truth = torch.zeros(2, 32, 32, dtype=torch.bool)
    truth[:, 8:24, 8:24] = True
    return truth


def _logits(truth: torch.Tensor, masks: int = 3) -> torch.Tensor:
    return (truth[:, ::4, ::4].float() * 40 - 20)[:, None].repeat(1, masks, 1, 1)


def test_a_perfect_answer_costs_nothing() -> None:
    truth = _truth()
    loss = frame_loss(_logits(truth), torch.ones(2, 3), torch.full((2, 1), 20.0), truth)
    assert float(loss.total) == pytest.approx(0, abs=1e-3)


def test_only_the_best_of_three_masks_is_trained_but_every_iou_estimate() -> None:
    truth = _truth()
    logits = _logits(truth)
    logits[:, 0] = 3.0
    logits[:, 2] = -3.0
    logits.requires_grad_()
    estimates = torch.full((2, 3), 0.7, requires_grad=True)
    frame_loss(logits, estimates, torch.zeros(2, 1), truth).total.backward()
    assert logits.grad is not None
    assert estimates.grad is not None
    assert not logits.grad[:, [0, 2]].any()
    assert logits.grad[:, 1].any()
    assert estimates.grad.all()


def test_a_hidden_object_trains_the_score_alone() -> None:
    hidden = torch.zeros(2, 32, 32, dtype=torch.bool)
    logits = torch.full((2, 3, 8, 8), 5.0)
    loss = frame_loss(logits, torch.rand(2, 3), torch.full((2, 1), 8.0), hidden)
    assert float(loss.focal) == float(loss.dice) == float(loss.iou) == 0
    assert float(loss.total) == pytest.approx(8.0, abs=1e-2)


def test_the_weights_are_those_of_sam_2() -> None:
    truth = _truth()
    loss = frame_loss(torch.randn(2, 3, 8, 8), torch.rand(2, 3), torch.zeros(2, 1), truth)
    total = FOCAL_WEIGHT * loss.focal + DICE_WEIGHT * loss.dice + IOU_WEIGHT * loss.iou + SCORE_WEIGHT * loss.score
    assert float(loss.total) == pytest.approx(float(total), rel=1e-5)
    assert (FOCAL_WEIGHT, DICE_WEIGHT, IOU_WEIGHT, SCORE_WEIGHT) == (20, 1, 1, 1)
