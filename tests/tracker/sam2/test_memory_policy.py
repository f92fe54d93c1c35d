from __future__ import annotations

import pytest
import torch
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from streamseg.errors import ModelError
from streamseg.models.tuning import MemoryThresholds
from streamseg.tracker.predictor import CameraPredictor, PastImage
from streamseg.tracker.sam2.memory_bank import BankShape, MemoryBank
from streamseg.tracker.sam2.memory_policy import (
    NEVER,
    POLICY_NAMES,
    MemoryPolicy,
    mask_quality,
    newest,
    newest_good,
    policy_of,
    stability,
)
from streamseg.tracker.sam2.step import StepOutput, Tracked
from tests.tracker.tracker_scenes import Add, Change, clip, play

AGES = torch.arange(1, 4)
GATED = MemoryPolicy("gated", window=10, share=0.8)
DISTRACTOR = MemoryPolicy("distractor", anchors=2, rival=0.3, sure=0.5, spacing=3)
CONTACT = MemoryPolicy("contact")


def _ring(frame: int, quality: dict[int, float], slots: int = 12) -> tuple[Tensor, Tensor]:
    """A ring in which the frames before one are stored, with the quality of some; the others have 1."""
    held, values = torch.full((1, slots), NEVER), torch.zeros(1, slots)
    for past in range(frame - slots, frame):
        if past >= 0:
            held[0, past % slots], values[0, past % slots] = past, quality.get(past, 1.0)
    return held, values


def _gated(frame: int, quality: dict[int, float]) -> list[int]:
    """The frames that the gate chooses, the newest first."""
    held, values = _ring(frame, quality)
    chosen = newest_good(torch.tensor([frame]), held, AGES, values, GATED)
    assert chosen.age.tolist() == [[1, 2, 3]]
    return held.gather(1, chosen.slots)[chosen.valid].tolist()


def test_sam2_reads_the_frames_just_before() -> None:
    held, _ = _ring(20, {})
    chosen = newest(torch.tensor([20]), held, AGES)
    assert held.gather(1, chosen.slots).tolist() == [[19, 18, 17]]
    assert chosen.valid.all()


def test_the_gate_passes_over_bad_and_hidden_frames() -> None:
    assert _gated(20, {}) == [19, 18, 17]
    assert _gated(20, {19: 0.1, 17: 0.0}) == [18, 16, 15]


def test_the_gate_is_relative_to_the_object() -> None:
    low = dict.fromkeys(range(30), 0.2)
    assert _gated(20, low) == [19, 18, 17]
    assert _gated(20, low | {18: 0.05}) == [19, 17, 16]


def test_memory_never_freezes_for_longer_than_the_window() -> None:
    worse_since = 20
    chosen = [_gated(frame, dict.fromkeys(range(worse_since, 60), 0.3)) for frame in range(20, 40)]
    assert chosen[2] == [19, 18, 17]
    assert all(frames[0] == 20 + later - 1 for later, frames in enumerate(chosen) if later >= GATED.window)


def test_an_object_that_was_hidden_for_long_has_no_recent_memory() -> None:
    assert _gated(20, dict.fromkeys(range(8, 20), 0.0)) == []


def test_quality_is_low_if_the_mask_is_undecided_and_zero_if_nothing_is_seen() -> None:
    sure = torch.full((4, 4), -8.0)
    sure[:2] = 8
    undecided = sure / 20
    logits = torch.stack([sure, undecided, sure])
    assert stability(logits).tolist() == [1, 0, 1]
    quality = mask_quality(logits, torch.tensor([0.9, 0.9, 0.9]), torch.tensor([3.0, 3.0, -3.0]))
    assert quality.tolist() == pytest.approx([0.9, 0, 0])


def _anchored(frames: dict[int, tuple[float, float]]) -> MemoryBank:
    """A bank of one lane after some frames with a quality and a rival."""
    bank = MemoryBank(BankShape(2, 3, 4, spatial_frames=4, policy=DISTRACTOR), 1, torch.device("cpu"))
    lane = torch.zeros(1, dtype=torch.int64)
    for frame, (quality, rival) in frames.items():
        stored = torch.full((1, 2, 3), float(frame))
        values = torch.tensor([quality]), torch.tensor([rival])
        bank.write_tracked(lane, torch.tensor([frame]), stored, torch.zeros(1, 4), *values)
    return bank


def test_anchors_are_sure_frames_with_a_look_alike_some_frames_apart() -> None:
    sure, near, unsure, alone = (0.9, 0.5), (0.9, 0.6), (0.2, 0.9), (0.9, 0.1)
    bank = _anchored({1: alone, 2: sure, 3: near, 4: unsure, 6: near})
    assert sorted(bank.anchor_frame[0].tolist()) == [2, 6]
    assert _anchored({1: sure, 5: sure, 9: sure}).anchor_frame[0].tolist() == [9, 5]  # the oldest gives way


def test_anchors_are_read_without_an_age_and_only_by_later_frames() -> None:
    bank = _anchored(dict.fromkeys(range(1, 9), (0.9, 0.5)))
    recall = bank.recall(torch.tensor([0]), torch.tensor([9]), 1)
    assert recall.features[0, :, 0, 0].tolist() == [0, 7, 4, 8, 7]  # a conditioning slot, two anchors, two frames
    assert recall.features_age.tolist() == [[0, 0, 0, 1, 2]]
    assert recall.features_valid.tolist() == [[False, True, True, True, True]]
    earlier = bank.recall(torch.tensor([0]), torch.tensor([5]), 1)
    assert earlier.features_valid[0, 1:3].tolist() == [False, True]
    bank.forget_since(0, 5)
    assert sorted(bank.anchor_frame[0].tolist()) == [NEVER, 4]


def test_sam2_takes_no_more_memory_and_keeps_no_anchors() -> None:
    shape = BankShape(2, 3, 4)
    assert (shape.ring_slots, shape.ring_start) == (7, 4)
    assert not shape.policy.skips_frames


@pytest.mark.parametrize("policy", [GATED, DISTRACTOR, CONTACT], ids=lambda policy: policy.name)
def test_a_policy_tracks_corrects_and_prompts_the_past(
    small: SAM2Base, policy: MemoryPolicy, partly_filled: Change
) -> None:
    images = clip(20, small.image_size)
    predictor = partly_filled(CameraPredictor(small, policy=policy, history_frames=8))
    events = {
        0: [Add(1, points=[(0.5, 0.5, 1)])],
        9: [Add(2, box=(0.2, 0.2, 0.6, 0.7)), Add(1, points=[(0.6, 0.6, 1)])],
    }
    run = play(predictor, images, events)
    assert all(torch.isfinite(logits).all() for logits, *_ in run.tracked.values())
    (stream,) = predictor._streams
    newest_frame = predictor.frame(stream)
    at = PastImage(newest_frame - 5, images[newest_frame - 5])
    predictor.add_prompt(stream, 1, at=at, points_norm=torch.tensor([[0.4, 0.4]]), labels=torch.tensor([1]))
    assert (predictor.bank.ring_frame[0] <= newest_frame - 5).all()
    output = predictor.retrack(stream, 1, PastImage(newest_frame, images[newest_frame]))
    assert torch.isfinite(output.mask_logits).all()


@pytest.mark.parametrize("policy", [GATED, DISTRACTOR, CONTACT], ids=lambda policy: policy.name)
def test_a_policy_traces_to_one_graph_for_all_choices(small: SAM2Base, policy: MemoryPolicy) -> None:
    """Reading and writing the bank alone: the network between them is the same for all policies."""
    # Its import takes two seconds, which every process of the test run would spend.
    from torch._dynamo.testing import CompileCounter

    torch._dynamo.reset()
    predictor = CameraPredictor(small, policy=policy)
    step, bank, counter = predictor.step, predictor.bank, CompileCounter()
    bank.assign(0, 0)

    @torch.compile(backend=counter, fullgraph=True)
    def read_and_write(index: Tensor, tracked: Tracked) -> None:
        step.write(bank, index, step.read(bank, index, 1, True, colors), tracked)

    side = 4 * step.side
    colors = step.colors(torch.zeros(1, 3, small.image_size, small.image_size))
    with torch.inference_mode():
        for frame in range(12):
            seen = torch.tensor([5.0 if frame % 4 else -5.0])
            output = StepOutput(torch.randn(1, side, side) + seen, torch.tensor([0.1 * (frame % 10)]), seen)
            memory = torch.randn(1, bank.shape.tokens, bank.shape.memory_dim)
            pointer = torch.randn(1, bank.shape.pointer_dim)
            read_and_write(torch.tensor([[0], [frame]]), Tracked(output, memory, pointer, 0.1 * seen.abs()))
    assert counter.frame_count == 1
    torch._dynamo.reset()


def test_a_policy_is_found_by_its_name() -> None:
    assert [policy_of(name, MemoryThresholds()).name for name in POLICY_NAMES] == list(POLICY_NAMES)
    with pytest.raises(ModelError, match="expected one of sam2, gated, distractor"):
        policy_of("samurai", MemoryThresholds())
