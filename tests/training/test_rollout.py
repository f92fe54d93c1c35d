from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from streamseg.tracker.sam2.build import build_model
from training.attention import matrix_attention, plain_attention
from training.batches import Batch, Request, make_batch
from training.material import Material
from training.rollout import Rollout
from training.rollout_queue import RolloutQueue
from training.schedule import PLANS
from training.trainer import set_image_size

CPU = torch.device("cpu")
PHASE = replace(PLANS["proof"].phases[0], prompt_shares=(1.0, 0.0, 0.0), frames_min=3, frames_max=3)
LONG = replace(PHASE, long_share=1.0, long_min=10, long_max=10, long_window=4, asides=0)


def _batch(phase: object, step: int = 0) -> Batch:
    return make_batch(Material(), 0, Request(step, phase))  # type: ignore[arg-type]


def test_a_window_trains_tracking_and_single_frames() -> None:
    batch, model = _batch(replace(PHASE, asides=2)), build_model("nano").train().requires_grad_(True)
    set_image_size(model, PHASE.sides_px[0])
    window = Rollout(batch, CPU).advance(model)
    assert 2 + 2 <= len(window.losses) <= 2 + 4, "the tracked frames, and the questions with their corrections"
    sum(loss.total for loss in window.losses[-2:]).backward()  # type: ignore[union-attr]
    assert any(embedding.weight.grad is not None for embedding in model.sam_prompt_encoder.point_embeddings)


def test_windows_of_a_long_clip_follow_what_one_pass_follows() -> None:
    model = build_model("nano", seed=1).train()
    set_image_size(model, PHASE.sides_px[0])
    whole, parted = Rollout(replace(_batch(LONG), window=10), CPU), Rollout(_batch(LONG), CPU)
    with torch.no_grad():
        expected = whole.advance(model)
        windows = []
        while not parted.done:
            windows.append(parted.advance(model))
    assert [window.first for window in windows] == [0, 4, 8]
    assert whole.done
    torch.testing.assert_close(torch.cat([window.score_logits for window in windows], 1), expected.score_logits)
    torch.testing.assert_close(torch.cat([window.iou_predictions for window in windows], 1), expected.iou_predictions)


def test_each_window_has_a_gradient_of_its_own() -> None:
    model = build_model("nano").train().requires_grad_(True)
    set_image_size(model, PHASE.sides_px[0])
    rollout = Rollout(_batch(LONG), CPU)
    while not rollout.done:
        torch.stack([loss.total for loss in rollout.advance(model).losses]).sum().backward()
    assert model.memory_encoder.out_proj.weight.grad is not None


def test_consecutive_steps_see_different_clips() -> None:
    batches = iter([_batch(replace(LONG, sides_px=(32,)), step) for step in range(4)])
    queue = RolloutQueue(batches, CPU, capacity=2)
    handed = []
    for _ in range(8):
        rollout = queue.next()
        rollout.position += rollout.batch.window
        handed.append(rollout.batch.request.step)
    assert handed == [0, 1, 0, 1, 0, 1, 2, 3]
    assert queue.drawn == 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_matrix_attention_is_attention(dtype: torch.dtype) -> None:
    query, key, value = (torch.randn(2, 1, length, 16, dtype=dtype) for length in (5, 7, 7))
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    torch.testing.assert_close(matrix_attention(query, key, value), expected, atol=0.03, rtol=0.03)


def test_sam2_gets_its_own_attention_back() -> None:
    from sam2.modeling.sam import transformer

    with plain_attention():
        assert transformer.F.scaled_dot_product_attention is matrix_attention
    assert transformer.F is torch.nn.functional
