"""Whatever a prompter returns, only valid proposals go on, and the reason names the field, the value and the fix."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from streamseg.ipc.prompters import MAX_MASK_BYTES, MAX_PROPOSALS
from streamseg.prompters import Proposal, Tracked
from streamseg.prompters.check import checked

SIZE = (64, 48)
GOOD = Proposal(box=(1, 2, 30, 40), label="cup", score=0.5, key="7")


class Hostile:
    def __len__(self) -> int:
        raise RuntimeError("no length")

    def __float__(self) -> float:
        raise RuntimeError("no number")

    def __repr__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("proposal", "reason"),
    [
        (Proposal(), "nothing: give one of box, points and mask"),
        (Proposal(box=(0, 0, 5, 5), points=[(1, 1)]), "box and points: give one of"),
        (Proposal(box=(np.nan, 0, 5, 5)), "box: nan is not a finite number"),
        (Proposal(box=(0, 0, np.inf, 5)), "box: inf is not a finite number"),
        (Proposal(box=(1, 2, 3)), "has 3 numbers: give"),
        (Proposal(box=np.zeros((4, 4))), "box"),
        (Proposal(box=(5, 5, 5, 9)), "less than a pixel inside the picture, 64x48"),
        (Proposal(box=(100, 100, 120, 120)), "less than a pixel"),
        (Proposal(box=(1, 2, "3", 4)), "is not a number"),
        (Proposal(box=7), "'int' has no len"),  # type: ignore[arg-type]
        (Proposal(box=Hostile()), "no length"),  # type: ignore[arg-type]
        (Proposal(points=[(1, 1), (64, 1)]), "(64, 1) is outside the picture"),
        (Proposal(points=[(1, 1, 2)]), "label 2 is invalid"),
        (Proposal(points=[(1, 1, 0)]), "all points are off the object"),
        (Proposal(points=[(1,)]), "give (x, y) or (x, y, label)"),
        (Proposal(points=[(1, 1)] * 1000), "1000 points: at most"),
        (Proposal(mask=np.ones((64, 48), bool)), "it is 64 x 48: give bool [48, 64]"),
        (Proposal(mask=np.zeros((48, 64), bool)), "it is empty"),
        (Proposal(mask=np.full((48, 64), np.nan)), "it is of float64: give bool"),
        (Proposal(mask="mask"), "a single value"),  # type: ignore[arg-type]
        (Proposal(box=(0, 0, 5, 5), score=np.nan), "score: nan"),
        (Proposal(box=(0, 0, 5, 5), score=2), "score: 2 is outside 0..1"),
        (Proposal(box=(0, 0, 5, 5), score=Hostile()), "no number"),  # type: ignore[arg-type]
        (Proposal(box=(0, 0, 5, 5), label="a" * 200), "200 characters: at most 100"),
        (Proposal(box=(0, 0, 5, 5), label="a\nb"), "U+000A"),
        (Proposal(box=(0, 0, 5, 5), label=3), "label: 3 is not text"),  # type: ignore[arg-type]
        (Proposal(box=(0, 0, 5, 5), key=3), "key: 3 is not text"),  # type: ignore[arg-type]
        ({"box": (0, 0, 5, 5)}, "return Proposal(box="),
        (None, "it is NoneType"),
        (Hostile(), "it is Hostile"),
    ],
)
def test_nonsense_is_refused_and_the_others_are_used(proposal: Any, reason: str) -> None:
    valid, refused, why = checked([proposal, GOOD], SIZE)
    assert ([one.label for one in valid], refused) == (["cup"], 1)
    assert reason in why
    assert why.startswith("proposal 0: ")


@pytest.mark.parametrize("returned", [None, 5, "text", {"a": 1}, GOOD, np.zeros((3, 4)), itertools.repeat(GOOD)])
def test_a_result_that_is_not_a_list_is_refused(returned: object) -> None:
    assert checked(returned, SIZE)[:2] == ([], 1)


def test_of_a_million_proposals_the_best_are_used_and_the_others_are_counted() -> None:
    many = [GOOD] * 1_000_000
    many[500] = Proposal(box=(0, 0, 9, 9), score=0.9)
    valid, refused, why = checked(many, SIZE)
    assert (len(valid), valid[0].score, refused) == (MAX_PROPOSALS, 0.9, 1_000_000 - 1000)
    assert "1000000 proposals" in why
    assert checked([GOOD] * (MAX_PROPOSALS + 5), SIZE)[1] == 5


def test_boxes_are_cut_off_at_the_edge_and_masks_are_cropped() -> None:
    mask = np.zeros((48, 64), np.uint8)
    mask[10:20, 30:41] = 1
    (box, cropped), refused, _ = checked([Proposal(box=(-5, -5, 100, 20)), Proposal(mask=mask, score=0.5)], SIZE)
    assert not refused
    assert box.box == (0, 0, 64, 20)
    assert cropped.mask is not None
    assert cropped.mask.roi == (30, 10, 11, 10)
    tracked = Tracked(1, "", "tracked", "user", cropped.mask.roi, SIZE, cropped.mask.bits)
    np.testing.assert_array_equal(tracked.mask, mask.astype(bool))


def test_masks_that_do_not_fit_into_a_message_are_left_out_and_counted() -> None:
    size = (16_384, 8192)
    whole = Proposal(mask=np.ones(size[::-1], np.bool_))
    valid, refused, why = checked([whole] * 4, size)
    assert len(valid) * size[0] * size[1] // 8 <= MAX_MASK_BYTES
    assert (len(valid), refused) == (3, 1)
    assert why == "its masks have more than 60 MiB: the best 3 proposals are used"


def test_low_scores_are_left_out_without_a_complaint() -> None:
    assert checked([GOOD, Proposal(box=(0, 0, 9, 9), score=0.2)], SIZE, min_score=0.3)[1:] == (0, "")
