from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from streamseg.tracker.sam2.memory_bank import MemoryBank
from tests.tracker.sam2.contact_bank import BOTH, RED, SIDE, bank_of, disc, follow, picture

FRAMES = 45
_NOTHING = torch.zeros(SIDE, SIDE, dtype=torch.bool)


def _crossing(frame: int) -> Tensor:
    """Two discs that touch at frame 14, cover each other at frame 22 and are apart at frame 30."""
    return torch.stack([disc(4 + frame / 2), disc(26 - frame / 2)])


def _both_get_the_upper_one(discs: Tensor, frame: int) -> Tensor:
    return discs[1].expand(2, -1, -1) if 15 <= frame < 30 else discs.any(0).expand(2, -1, -1)


def _both_get_both(discs: Tensor, frame: int) -> Tensor:
    return discs.any(0).expand(2, -1, -1)


def _the_lower_one_vanishes(discs: Tensor, frame: int) -> Tensor:
    return torch.stack([_NOTHING, discs[1]]) if 15 <= frame < 30 else discs.any(0).expand(2, -1, -1)


def _cross(bank: MemoryBank, decoder: Callable[[Tensor, int], Tensor], last: int = FRAMES) -> Tensor:
    """Let two look-alikes cross, and return the last masks. Before they touch, the decoder is right."""
    for frame in range(1, last + 1):
        discs = _crossing(frame)
        masks = decoder(discs, frame) if frame >= 12 else discs
        kept = follow(bank, frame, masks, picture((discs.any(0), RED)))
    return kept


def _wrong(kept: Tensor, discs: Tensor) -> list[float]:
    """Each mask's share that lies on the other disc only, and the share of its disc that it lacks."""
    size = discs.flatten(1).sum(1)
    on_other = (kept & discs.flip(0) & ~discs).flatten(1).sum(1) / size
    lacks = (discs & ~kept).flatten(1).sum(1) / size
    return [*on_other.tolist(), *lacks.tolist()]


@pytest.mark.parametrize("decoder", [_both_get_the_upper_one, _both_get_both, _the_lower_one_vanishes])
def test_look_alikes_that_cross_keep_their_names(decoder: Callable[[Tensor, int], Tensor]) -> None:
    kept = _cross(bank_of([0, 0], RED), decoder, 31)  # the decoder sees both again, and they still touch
    assert max(_wrong(kept, _crossing(31))) < 0.1


def test_masks_that_merge_again_are_parted_again() -> None:
    kept = _cross(bank_of([0, 0], RED), _both_get_both, 33)
    assert max(_wrong(kept, _crossing(33))) < 0.2


def test_a_mask_cannot_reach_for_a_look_alike_that_is_apart() -> None:
    bank = bank_of([0, 0], RED)
    for frame in range(1, 40):
        discs = torch.stack([disc(5 + frame / 10), disc(27 - frame / 10)])
        masks = torch.stack([discs.any(0), discs[1]]) if frame >= 15 else discs
        assert follow(bank, frame, masks, picture((discs.any(0), RED))).equal(discs), frame


@pytest.mark.parametrize(
    "places",
    [
        {1: (4, 14), 2: (14, 24)},
        {**{frame: (5 + frame / 2, 27 - frame / 8) for frame in range(1, 9)}, 60: (10, 26)},
    ],
    ids=["one takes the other's place soon", "many frames are dropped"],
)
def test_look_alikes_that_may_have_come_near_are_not_cut(places: dict[int, tuple[float, float]]) -> None:
    bank = bank_of([0, 0], RED)
    for frame, at in places.items():
        discs = torch.stack([disc(place) for place in at])
        assert follow(bank, frame, discs, picture((discs.any(0), RED))).equal(discs), frame


def test_a_large_one_is_not_cut_beside_a_small_look_alike() -> None:
    bank = bank_of([0, 0], RED)
    for frame in range(1, 30):
        masks = torch.stack([disc(10 + frame / 20, radius=8), disc(23 + frame / 20, radius=2)])
        assert follow(bank, frame, masks, picture((masks.any(0), RED))).equal(masks), frame


@pytest.mark.parametrize("apart", [7, 9])
def test_look_alikes_that_stand_side_by_side_are_left_alone(apart: int) -> None:
    bank, discs = bank_of([0, 0], RED), torch.stack([disc(12), disc(12 + apart)])
    for frame in range(1, 300):
        assert follow(bank, frame, discs, picture((discs.any(0), RED))).equal(discs), frame


def test_one_passes_a_look_alike_that_stands() -> None:
    bank = bank_of([0, 0], RED)
    for frame in range(1, FRAMES):
        discs = torch.stack([disc(4 + frame / 2), disc(16)])
        near = abs(4 + frame / 2 - 16) < 7
        masks = discs.any(0).expand(2, -1, -1) if near else discs
        kept = follow(bank, frame, masks, picture((discs.any(0), RED)))
    assert kept.equal(discs)


def test_a_speck_on_another_object_is_no_contact() -> None:
    bank = bank_of([0, 0], RED)
    for frame in range(1, 20):
        discs = torch.stack([disc(6 + frame / 4), disc(26)])
        specked = discs.clone()
        specked[0, 15:17, 25:27] = True
        follow(bank, frame, specked, picture((discs.any(0), RED)))
        moving = bank.evidence(BOTH, torch.tensor([frame + 1] * 2), picture().expand(2, -1, -1)).motion
    assert float(moving[0, 0]) == pytest.approx((6 + frame / 4 + 0.5) / SIDE, abs=0.01)
    assert float(moving[0, 2]) == pytest.approx(0.25 / SIDE, abs=0.002)
    assert not moving[:, -1].any()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_batch_may_be_split_in_any_order(order: tuple[int, int]) -> None:
    whole, split = bank_of([0, 0], RED), bank_of([0, 0], RED)
    for frame in range(1, 30):
        discs = _crossing(frame)
        colors, masks = picture((discs.any(0), RED)), _both_get_both(discs, frame) if frame > 15 else discs
        kept = follow(whole, frame, masks, colors)
        for lane in order:
            assert follow(split, frame, masks[lane][None], colors, BOTH[lane][None])[0].equal(kept[lane]), frame
    assert split.motion.equal(whole.motion)


def test_motion_survives_export_in_the_middle_of_a_crossing() -> None:
    bank = bank_of([0, 0], RED)
    _cross(bank, _both_get_the_upper_one, 22)
    other = MemoryBank(bank.shape, 2, torch.device("cpu"))
    for lane in range(2):
        other.import_lane(lane, bank.export_lane(lane, 22))
        other.assign(lane, 3)
    for frame in range(23, 33):
        discs = _crossing(frame)
        masks, colors = _both_get_the_upper_one(discs, frame), picture((discs.any(0), RED))
        assert follow(other, frame, masks, colors).equal(follow(bank, frame, masks, colors))


def test_frames_that_were_dropped_count() -> None:
    bank = bank_of([0, 0], RED)
    for frame in (1, 3, 5, 7, 9, 11, 16, 21, 26, 31):
        discs = _crossing(frame)
        masks = _both_get_both(discs, frame) if frame > 11 else discs
        kept = follow(bank, frame, masks, picture((discs.any(0), RED)))
    assert max(_wrong(kept, discs)) < 0.2


def test_a_prompt_forgets_the_motion_of_its_object() -> None:
    bank = bank_of([0, 0], RED)
    _cross(bank, _both_get_both, 20)
    bank.write_conditioning(0, 0, 20, torch.zeros(64, 4), torch.zeros(4), bank.look[0, 0].clone())
    motion = bank.evidence(BOTH, torch.tensor([21, 21]), picture().expand(2, -1, -1)).motion
    assert not motion[0].any()
    assert motion[1].any()


@pytest.mark.parametrize("decoder", [_both_get_the_upper_one, _both_get_both, _the_lower_one_vanishes])
def test_low_precision_changes_nothing(decoder: Callable[[Tensor, int], Tensor]) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        low = _cross(bank_of([0, 0], RED), decoder, 31)
    assert low.equal(_cross(bank_of([0, 0], RED), decoder, 31))


def _lowest(bank: MemoryBank, discs: Callable[[int], Tensor], merged: range, last: int) -> float:
    """Let a decoder be right but for some frames, on which the first two masks merge; the lowest IoU on the others."""
    lowest = 1.0
    lanes = torch.arange(len(discs(0)))
    for frame in range(1, last):
        truth = discs(frame)
        masks = truth.clone()
        if frame in merged:
            masks[:2] = truth[:2].any(0)
        kept = follow(bank, frame, masks, picture((truth.any(0), RED)), lanes)
        if frame not in merged:
            both, either = ((kept & truth).flatten(1).sum(1), (kept | truth).flatten(1).sum(1))
            lowest = min(lowest, float((both / either)[either > 0].min()))
    return lowest


@pytest.mark.parametrize("merged", [range(45, 46), range(60, 63), range(60, 75)])
def test_one_stops_beside_a_look_alike(merged: range) -> None:
    """The last velocity is disproved by the masks, which are seen apart."""
    lowest = _lowest(
        bank_of([0, 0], RED), lambda frame: torch.stack([disc(min(4 + frame / 2, 17)), disc(25)]), merged, 130
    )
    assert lowest > 0.9


def test_a_hidden_object_is_in_doubt_only_where_it_is_expected() -> None:
    """The first lane leaves beside the second; elsewhere the third comes to stand beside the fourth."""

    def discs(frame: int) -> Tensor:
        first = disc(4, 6) if frame < 30 else _NOTHING
        return torch.stack([first, disc(12, 6), disc(max(26 - frame / 4, 14), 26), disc(6, 26)])

    assert _lowest(bank_of([0] * 4, RED), discs, range(0), 90) > 0.9


def test_fast_look_alikes_cross_soon_after_their_prompts() -> None:
    bank = bank_of([0, 0], RED)
    for frame in range(1, 9):
        truth = torch.stack([disc(4 + 3 * frame, 15), disc(28 - 3 * frame, 17)])
        masks = truth.any(0).expand(2, -1, -1) if frame in (4, 5) else truth
        kept = follow(bank, frame, masks, picture((truth.any(0), RED)))
        if frame > 5:
            assert max(_wrong(kept, truth)) < 0.2, frame
