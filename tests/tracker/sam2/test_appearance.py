from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from streamseg.tracker.predictor import CameraPredictor
from streamseg.tracker.sam2.appearance import COLORS, Evidence, colors_of, look_of
from streamseg.tracker.sam2.memory_bank import MemoryBank
from streamseg.tracker.sam2.memory_policy import NEVER, MemoryPolicy
from streamseg.tracker.sam2.step import StepOutput
from tests.tracker.sam2.contact_bank import (
    BLUE,
    BOTH,
    CONTACT,
    RED,
    SIDE,
    SKY,
    bank_of,
    disc,
    follow,
    normalized,
    picture,
)
from tests.tracker.tracker_scenes import Add, clip, play


def _read(bank: MemoryBank, lane: int, frame: int, colors: Tensor) -> list[int]:
    """The tracked frames whose memory a lane reads for a frame, the newest first."""
    lanes, frames = torch.tensor([lane]), torch.tensor([frame])
    recall = bank.recall(lanes, frames, 1, others=bank.evidence(lanes, frames, colors[None]))
    return [int(number) for number in recall.features[0, 1:, 0, 0][recall.features_valid[0, 1:]]]


def test_colors_tell_hues_and_brightness_apart() -> None:
    image = torch.zeros(1, 3, 16, 16)
    for column, color in enumerate((RED, BLUE, SKY, (0.9, 0.9, 0.9))):
        image[0, :, :, 4 * column : 4 * column + 4] = normalized(color)[0][:, None, None]
    colors = colors_of(image, 4)
    assert (colors.shape, colors.dtype) == ((1, 8, 8), torch.int16)
    assert len(set(colors[0, 0].tolist())) == 4
    assert 0 <= int(colors.min()) <= int(colors.max()) < COLORS


def test_colors_of_any_input_are_in_range() -> None:
    for value in (-10.0, 0.0, 10.0):
        colors = colors_of(torch.full((1, 3, 8, 8), value), 2)
        assert 0 <= int(colors.min()) <= int(colors.max()) < COLORS


def test_a_look_holds_the_shares_of_the_objects_colors() -> None:
    whole = disc(16)
    red, blue = (look_of(picture((whole, color)), whole) for color in (RED, BLUE))
    assert float(red.sum()) == pytest.approx(1)
    assert float((red.sqrt() * blue.sqrt()).sum()) < 0.05
    half = look_of(picture((whole, RED), (whole & disc(22, radius=6), BLUE)), whole)
    assert 0.2 < float((red.sqrt() * half.sqrt()).sum()) < 0.95
    assert not look_of(picture(), torch.zeros(SIDE, SIDE, dtype=torch.bool)).any()
    assert float(look_of(picture((whole, RED)), disc(16, radius=0.5)).sum()) == pytest.approx(1)  # one cell


def test_masks_of_objects_that_differ_give_way_to_each_other() -> None:
    bank, discs = bank_of([0, 0], RED, BLUE), torch.stack([disc(12), disc(20)])
    colors = picture((discs[0], RED), (discs[1], BLUE))
    follow(bank, 1, discs, colors)
    kept = follow(bank, 2, discs.any(0).expand(2, -1, -1), colors)
    wrong = (kept & discs.flip(0)).flatten(1).sum(1)
    assert (kept & discs).flatten(1).sum(1).equal(discs.flatten(1).sum(1))
    assert (wrong < 0.2 * discs[0].sum()).all()  # of the border at most


def test_objects_that_differ_pass_through_each_other() -> None:
    bank = bank_of([0, 0], RED, BLUE)
    for frame in range(1, 45):
        centers = 4 + frame / 2, 26 - frame / 2
        discs = torch.stack([disc(center) for center in centers])
        colors = picture((discs[0], RED), (discs[1], BLUE))
        touching = abs(centers[0] - centers[1]) < 10
        kept = follow(bank, frame, discs.any(0).expand(2, -1, -1) if touching else discs, colors)
        visible = discs & torch.stack([~discs[1], torch.ones_like(discs[1])])
        lost = (visible & ~kept).flatten(1).sum(1)
        assert (lost <= 2 + visible.flatten(1).sum(1) // 10).all(), frame  # a sliver's color is its neighbors'
    assert kept.equal(discs)


def test_the_memory_of_look_alikes_skips_no_frame() -> None:
    bank, discs = bank_of([0, 0], RED), torch.stack([disc(12), disc(20)])
    colors, both = picture((discs.any(0), RED)), discs.any(0).expand(2, -1, -1)
    for frame in range(1, 12):  # never seen apart: no motion tells which is which
        assert follow(bank, frame, both, colors).equal(both)
    assert _read(bank, 0, 12, colors) == [11, 10, 9, 8, 7, 6]


def test_mixed_frames_are_passed_over_until_the_window_ends() -> None:
    """As where colors fail: the picture shows neither object's."""
    bank, discs = bank_of([0, 0], RED, BLUE), torch.stack([disc(8), disc(24)])
    colors = picture()
    for frame in range(1, 8):
        follow(bank, frame, discs, colors)
    assert _read(bank, 0, 8, colors) == [7, 6, 5, 4, 3, 2]
    both = discs.any(0).expand(2, -1, -1)
    for frame in range(8, 12):
        follow(bank, frame, both, colors)
    assert _read(bank, 0, 12, colors) == [7, 6, 5, 4, 3, 2]
    follow(bank, 12, discs, colors)
    assert _read(bank, 1, 13, colors) == [12, 7, 6, 5, 4, 3]
    for frame in range(13, 13 + CONTACT.window):
        follow(bank, frame, both, colors)
    assert _read(bank, 0, 13 + CONTACT.window, colors) == []


def _touching() -> tuple[MemoryBank, Tensor, Tensor]:
    """Two objects that touch, after one frame, with the masks and the picture."""
    bank, discs = bank_of([0, 0], RED, BLUE), torch.stack([disc(12), disc(20)])
    colors = picture((discs[0], RED), (discs[1], BLUE))
    follow(bank, 1, discs, colors)
    return bank, discs, colors.expand(2, -1, -1)


def test_the_last_mask_counts_where_objects_touch() -> None:
    frame = torch.full((2,), 2)
    bank, discs, colors = _touching()
    assert bank.evidence(BOTH, frame, colors).last.equal(discs.float())
    apart = torch.stack([disc(6), disc(26)])
    follow(bank, 1, apart, colors[0])
    assert not bank.evidence(BOTH, frame, colors).last.any()
    alike = bank_of([0, 0], RED)
    follow(alike, 1, discs, picture((discs.any(0), RED)))
    assert not alike.evidence(BOTH, frame, colors).last.any()


def test_a_mask_that_slid_from_a_touching_object_onto_the_background_is_foreign() -> None:
    frame, slid = torch.full((2,), 2), disc(16, y=26).expand(2, -1, -1)
    bank, discs, colors = _touching()
    evidence = bank.evidence(BOTH, frame, colors)
    assert evidence.foreign(discs).tolist() == [False, False]
    assert evidence.foreign(slid).tolist() == [True, True]
    assert evidence.foreign(torch.zeros_like(discs)).tolist() == [False, False]
    follow(bank, 1, torch.stack([disc(6), disc(26)]), colors[0])
    apart = bank.evidence(BOTH, frame, colors)
    assert apart.foreign(slid).tolist() == [False, False], "its colors may have changed with the light"


def test_memory_skips_frames_on_which_the_object_is_unseen_or_foreign(small: SAM2Base) -> None:
    step = CameraPredictor(small, policy=CONTACT).step
    bank, discs, colors = _touching()
    evidence = bank.evidence(BOTH, torch.full((2,), 2), colors)
    for masks, score, quality in [
        (discs, [5.0, 5.0], [1.0, 1.0]),
        (discs, [-5.0, 5.0], [0.0, 1.0]),
        (torch.stack([disc(16, y=26), discs[1]]), [5.0, 5.0], [0.0, 1.0]),
    ]:
        output = StepOutput(torch.where(masks, 8.0, -8.0), torch.ones(2), torch.tensor(score))
        assert step._quality(output, evidence).tolist() == quality


def test_of_two_candidates_that_are_as_good_the_one_like_the_last_mask_is_taken(
    small: SAM2Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of an object often has the predicted IoU of the whole one where another one covers it."""
    predictor = CameraPredictor(copy.deepcopy(small), policy=CONTACT)  # the decoder of others stays as it is
    whole, part, side = disc(16, radius=8), disc(12, radius=3), small.image_size // 4
    at_once = torch.where(torch.stack([part, whole]), 8.0, -8.0)
    candidates = torch.nn.functional.interpolate(at_once[None], (side, side)).repeat(2, 1, 1, 1)
    tokens, score = torch.zeros(2, 2, small.hidden_dim), torch.full((2, 1), 5.0)
    given = candidates, torch.tensor([[0.60, 0.57]]).repeat(2, 1), tokens, score
    monkeypatch.setattr(predictor.step.model.sam_mask_decoder, "forward", lambda **_: given)
    features = predictor.step.encode(clip(1, small.image_size)[0][None]).select(torch.zeros(2, dtype=torch.int64))
    nothing = torch.zeros(2, side, side)
    unread = torch.zeros(2)
    for last, taken in ((candidates[:, 1] > 0, 1), (nothing > 0, 0)):
        others = Evidence(nothing, unread, unread, unread, last.float(), nothing)
        logits = predictor.step._decode(predictor.step.as_map(features.top), features, others)[0]
        assert logits[:, 0].equal(candidates[:, taken])


def test_objects_of_other_streams_and_those_set_aside_are_ignored() -> None:
    discs = torch.stack([disc(12), disc(20)])
    colors = picture((discs[0], RED), (discs[1], BLUE))
    for other in (1, NEVER):
        bank = bank_of([0, 0], RED, BLUE)
        follow(bank, 1, discs, colors)
        bank.assign(1, other)
        assert follow(bank, 2, discs.any(0)[None], colors, BOTH[:1])[0].equal(discs.any(0))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_batch_may_be_split_in_any_order(order: tuple[int, int]) -> None:
    whole, split = bank_of([0, 0], RED, BLUE), bank_of([0, 0], RED, BLUE)
    for frame in range(1, 30):
        discs = torch.stack([disc(4 + frame / 2), disc(26 - frame / 2)])
        colors = picture((discs[0], RED), (discs[1], BLUE))
        masks = discs.any(0).expand(2, -1, -1) if frame > 15 else discs
        kept = follow(whole, frame, masks, colors)
        for lane in order:
            assert follow(split, frame, masks[lane][None], colors, BOTH[lane][None])[0].equal(kept[lane]), frame
    assert split.mask.equal(whole.mask)
    assert split.quality.equal(whole.quality)


def test_an_earlier_frame_is_tracked_again_without_later_masks() -> None:
    bank, discs = bank_of([0, 0], RED, BLUE), torch.stack([disc(12), disc(20)])
    colors = picture((discs[0], RED), (discs[1], BLUE))
    for frame in range(1, 7):
        follow(bank, frame, discs, colors)
    assert not bank.evidence(BOTH[:1], torch.tensor([3]), colors[None]).lowered.any()
    held = bank.mask.clone()
    follow(bank, 6, discs, colors)
    assert bank.mask.equal(held)


def test_lanes_of_other_streams_are_left_out_without_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    many, discs = bank_of([3, 3, *range(4, 42)], RED, BLUE), torch.stack([disc(12), disc(20)])
    colors, frames = picture((discs[0], RED), (discs[1], BLUE)), torch.full((2,), 2)
    follow(many, 1, discs.any(0).expand(2, -1, -1), colors)
    pictures = colors.expand(2, -1, -1)
    left_out = many.evidence(BOTH, frames, pictures)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    for all_lanes, some in zip(many.evidence(BOTH, frames, pictures), left_out, strict=True):
        assert all_lanes.equal(some)
    assert left_out.lowered.any()


def test_a_prompt_says_where_the_object_is() -> None:
    bank, discs = bank_of([0, 0], RED, BLUE), torch.stack([disc(12), disc(20)])
    colors = picture((discs[0], RED), (discs[1], BLUE))
    follow(bank, 1, discs, colors)
    bank.write_conditioning(1, 0, 1, torch.zeros(64, 4), torch.zeros(4))
    assert (bank.mask_frame[1] == NEVER).all()
    assert not bank.look[1].any()  # unknown
    both = discs.any(0).expand(2, -1, -1)
    assert follow(bank, 2, both, colors).equal(both)
    bank.forget_since(0, 2)
    assert int(bank.mask_frame[0].max()) == 1


def test_masks_and_looks_move_with_a_lane_and_survive_export() -> None:
    bank, discs = bank_of([0, 0], RED, BLUE), torch.stack([disc(12), disc(20)])
    colors = picture((discs[0], RED), (discs[1], BLUE))
    for frame in range(1, 6):
        follow(bank, frame, discs, colors)
    other = MemoryBank(bank.shape, 2, torch.device("cpu"))
    for lane in range(2):
        other.import_lane(lane, bank.export_lane(lane, 5))
        other.assign(lane, 3)
    both = discs.any(0).expand(2, -1, -1)
    assert follow(other, 6, both, colors).equal(follow(bank, 6, both, colors))
    bank.move_lane(0, 10)
    assert sorted(bank.mask_frame[0].tolist()) == [15, 16]


@pytest.mark.parametrize("field", ["features", "pointers", "look", "motion"])
def test_damaged_memory_is_refused(field: str) -> None:
    bank = bank_of([0, 0], RED, BLUE)
    memory = bank.export_lane(0, 5)
    memory[field] = torch.full_like(memory[field], torch.nan)
    with pytest.raises(ValueError, match=f"{field} holds NaN"):
        bank.import_lane(1, memory)


def test_a_prompts_look_is_undone_with_it(small: SAM2Base) -> None:
    predictor = CameraPredictor(small, policy=CONTACT)
    predictor.open_stream("cam")
    predictor.track({"cam": clip(1, small.image_size)[0]})
    predictor.add_prompt("cam", 1, mask=disc(16)[None][0])
    first = predictor.bank.look.clone()
    assert float(first[0, 0].sum()) == pytest.approx(1)
    predictor.add_prompt("cam", 1, mask=disc(6, radius=6))
    assert not predictor.bank.look.equal(first)
    predictor.undo_prompt("cam", 1)
    assert predictor.bank.look.equal(first)


def test_one_object_alone_is_tracked_as_by_sam2(small: SAM2Base) -> None:
    images, events = clip(8, small.image_size), {0: [Add(1, points=[(0.5, 0.5, 1)])]}
    runs = [play(CameraPredictor(small, policy=policy), images, events) for policy in (MemoryPolicy(), CONTACT)]
    for alone, compared in zip(*(run.tracked.values() for run in runs), strict=True):
        assert torch.allclose(alone[0], compared[0], atol=1e-4)


class _OneDevice(TorchDispatchMode):
    """Fails where a tensor is on another device than ``meta``, as one that was made from numbers for each frame."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for value in tree_leaves((args, kwargs, result)):
            assert not isinstance(value, Tensor) or value.device.type == "meta", function
        return result


@torch.inference_mode()
def test_a_frame_needs_nothing_from_the_host(small: SAM2Base) -> None:
    """A device without values stands for CUDA: whatever the host reads there is an error, as in a CUDA graph."""
    predictor = CameraPredictor(small, policy=CONTACT)
    step = copy.deepcopy(predictor.step).to("meta")
    bank = MemoryBank(predictor.bank.shape, 4, torch.device("meta"))
    images = torch.empty(2, 3, small.image_size, small.image_size, device="meta")
    index = torch.empty(2, 2, dtype=torch.int64, device="meta")
    with _OneDevice():
        output = step(bank, index, step.encode(images), 1, True)
    assert output.mask_logits.shape == (2, small.image_size // 4, small.image_size // 4)


def test_other_policies_keep_neither_looks_nor_masks(small: SAM2Base) -> None:
    predictor = CameraPredictor(small)
    assert predictor.bank.mask.shape[1:] == (2, 1, 1)
    assert predictor.bank.look.shape[2] == 1
    colors = predictor.step.colors(torch.zeros(1, 3, small.image_size, small.image_size))
    assert colors.numel() == 0
    assert predictor.step.read(predictor.bank, torch.tensor([[0], [1]]), 1, True, colors).others is None
