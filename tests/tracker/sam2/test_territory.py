from __future__ import annotations

import pytest
import torch
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from streamseg.tracker.predictor import CameraPredictor
from streamseg.tracker.sam2.memory_bank import NEVER, BankShape, MemoryBank
from streamseg.tracker.sam2.memory_policy import MemoryPolicy
from streamseg.tracker.sam2.step import Memory
from tests.tracker.tracker_scenes import Add, clip, play

CONTACT = MemoryPolicy("contact")
SIDE = 32
BOTH = torch.arange(2)


def _disc(x: float, y: float = SIDE / 2, radius: float = 4.0) -> Tensor:
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    return (columns - x) ** 2 + (rows - y) ** 2 < radius**2


def _bank(lanes: int, streams: list[int]) -> MemoryBank:
    bank = MemoryBank(BankShape(SIDE * SIDE // 16, 4, 4, policy=CONTACT), lanes, torch.device("cpu"))
    for lane, stream in enumerate(streams):
        bank.assign(lane, stream)
    return bank


def _follow(bank: MemoryBank, frame: int, masks: Tensor, lanes: Tensor = BOTH, score: float = 5.0) -> Tensor:
    """Track a frame on which the decoder gives these masks, and return the masks that are left of them."""
    frames = torch.full_like(lanes, frame)
    before = bank.territories(lanes, frames)
    logits = torch.where(masks, 8.0, -8.0) - before.lowered
    bank.write_territories(lanes, frames, before, logits, torch.full((len(lanes),), score))
    return logits > 0


def test_look_alikes_that_pass_through_each_other_keep_their_masks() -> None:
    bank = _bank(2, [0, 0])
    for frame in range(45):
        centers = 4 + frame / 2, 26 - frame / 2
        discs = torch.stack([_disc(center) for center in centers])
        touching = abs(centers[0] - centers[1]) < 10
        kept = _follow(bank, frame, discs.any(0).expand(2, -1, -1) if touching else discs)
        if not touching:
            assert kept.equal(discs), frame
    shared = kept & discs
    assert (shared.flatten(1).sum(1) > 0.9 * discs.flatten(1).sum(1)).all()


def test_a_mask_gives_way_where_another_object_has_been() -> None:
    bank, discs = _bank(2, [0, 0]), torch.stack([_disc(8), _disc(20)])
    for frame in range(6):
        _follow(bank, frame, discs)
    kept = _follow(bank, 6, discs.any(0).expand(2, -1, -1))
    assert kept.equal(discs)


def test_objects_of_other_streams_and_those_set_aside_are_ignored() -> None:
    for other in (1, NEVER):
        bank, discs = _bank(2, [0, 0]), torch.stack([_disc(8), _disc(20)])
        for frame in range(6):
            _follow(bank, frame, discs)
        bank.assign(1, other)
        kept = _follow(bank, 6, discs.any(0).expand(1, -1, -1), lanes=BOTH[:1])
        assert kept[0].equal(discs.any(0))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_batch_may_be_split_in_any_order(order: tuple[int, int]) -> None:
    whole, split = _bank(2, [0, 0]), _bank(2, [0, 0])
    for frame in range(30):  # they meet, where each takes cells from the other
        discs = torch.stack([_disc(4 + frame / 2), _disc(26 - frame / 2)])
        masks = discs.any(0).expand(2, -1, -1) if frame > 15 else discs
        kept = _follow(whole, frame, masks)
        for lane in order:
            assert _follow(split, frame, masks[lane][None], BOTH[lane][None])[0].equal(kept[lane]), frame
    assert split.territory.equal(whole.territory)
    assert split.motion.equal(whole.motion)


def test_a_frame_that_is_tracked_again_reads_what_was_held_before_it() -> None:
    bank, discs = _bank(2, [0, 0]), torch.stack([_disc(8), _disc(20)])
    for frame in range(6):
        _follow(bank, frame, discs)
    once = bank.territory.clone()
    _follow(bank, 5, discs)
    assert bank.territory.equal(once)


def test_lanes_of_other_streams_are_left_out_without_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    many, few, discs = _bank(40, [3, 3, *range(4, 42)]), _bank(2, [3, 3]), torch.stack([_disc(8), _disc(20)])
    for frame in range(6):
        for bank in (many, few):
            _follow(bank, frame, discs)
    assert many.territory[:2].equal(few.territory)
    frames = torch.full((2,), 6)
    left_out = many.territories(BOTH, frames)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    for all_lanes, some in zip(many.territories(BOTH, frames), left_out, strict=True):
        assert all_lanes.equal(some)


def test_the_territory_of_an_object_that_is_not_seen_fades_and_ends() -> None:
    bank, discs = _bank(2, [0, 0]), torch.stack([_disc(8), _disc(20)])
    for frame in range(6):
        _follow(bank, frame, discs)
    held = [float(bank.territory[1, 1].amax())]
    for frame in range(6, 80):
        _follow(bank, frame, discs[1:], lanes=BOTH[1:], score=-5.0)
        held.append(float(bank.territory[1, frame % 2].amax()))
    assert held == sorted(held, reverse=True)
    assert held[-1] < 0.15
    # Long gone: what it held is free for the other object.
    assert _follow(bank, 200, discs[1:], lanes=BOTH[:1])[0].equal(discs[1])


def test_a_prompt_says_where_the_object_is() -> None:
    bank, discs = _bank(2, [0, 0]), torch.stack([_disc(8), _disc(20)])
    for frame in range(6):
        _follow(bank, frame, discs)
    bank.write_conditioning(1, 0, 5, torch.zeros(64, 4), torch.zeros(4))
    assert (bank.territory_frame[1] == NEVER).all()
    assert _follow(bank, 6, discs[1:], lanes=BOTH[:1])[0].equal(discs[1])
    bank.forget_since(0, 3)
    assert int(bank.territory_frame[0].max()) < 3


def test_an_earlier_frame_is_tracked_again_without_later_territories() -> None:
    bank, discs = _bank(2, [0, 0]), torch.stack([_disc(8), _disc(20)])
    for frame in range(6):
        _follow(bank, frame, discs)
    earlier = bank.territories(BOTH[:1], torch.tensor([3]))
    assert not earlier.lowered.any()
    assert not earlier.held.any()


def test_territories_move_with_a_lane_and_survive_export() -> None:
    bank, discs = _bank(2, [0, 0]), torch.stack([_disc(8), _disc(20)])
    for frame in range(6):
        _follow(bank, frame, discs)
    other = _bank(2, [3, 3])
    for lane in range(2):
        other.import_lane(lane, bank.export_lane(lane, 5))
    both = discs.any(0).expand(2, -1, -1)
    assert _follow(other, 6, both).equal(discs)
    bank.move_lane(0, 10)
    assert sorted(bank.territory_frame[0].tolist()) == [14, 15]


def test_one_object_alone_is_tracked_as_by_sam2(small: SAM2Base) -> None:
    images, events = clip(8, small.image_size), {0: [Add(1, points=[(0.5, 0.5, 1)])]}
    runs = [play(CameraPredictor(small, policy=policy), images, events) for policy in (MemoryPolicy(), CONTACT)]
    for alone, with_territory in zip(*(run.tracked.values() for run in runs), strict=True):
        assert torch.equal(alone[0], with_territory[0])


def test_other_policies_read_no_territories(small: SAM2Base) -> None:
    predictor = CameraPredictor(small)
    assert predictor.bank.territory.shape[1:] == (2, 1, 1)
    memory = predictor.step.read(predictor.bank, torch.tensor([[0], [1]]), 1, True)
    assert isinstance(memory, Memory)
    assert memory.territories is None
