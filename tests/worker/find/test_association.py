from __future__ import annotations

import numpy as np
import pytest

from streamseg.tracker.types import BoolMask
from streamseg.worker.find.association import Rules, Sight, Tentative, associate, duplicates, inside, iou, suppress
from streamseg.worker.find.grid import GRID

EVERYWHERE = np.ones((GRID, GRID), np.bool_)


def box(x0: float, y0: float, x1: float, y1: float) -> BoolMask:
    mask = np.zeros((GRID, GRID), np.bool_)
    mask[round(y0 * GRID) : round(y1 * GRID), round(x0 * GRID) : round(x1 * GRID)] = True
    return mask


def sight(mask: BoolMask, score: float = 0.9, number: int = 0, key: str = "") -> Sight:
    return Sight(mask, score, number, key=key)


def rules(confirm: int = 1, level: str = "whole", allowed: BoolMask = EVERYWHERE) -> Rules:
    return Rules(level, 0.003, 0.4, confirm, allowed)  # type: ignore[arg-type]


A, B = box(0.1, 0.1, 0.3, 0.3), box(0.6, 0.6, 0.8, 0.8)


def test_a_mask_that_no_tracked_object_covers_is_new():
    found = associate([sight(A), sight(B, number=1)], [A], [], rules())
    assert [one.number for one in found.confirmed] == [1]


@pytest.mark.parametrize(
    ("mask", "new"),
    [
        (box(0.28, 0.1, 0.48, 0.3), True),  # a tenth of it is covered
        (box(0.25, 0.1, 0.45, 0.3), False),  # a quarter
        (box(0.0, 0.0, 0.6, 0.6), True),  # it contains the tracked object, which is a small part of it
        (box(0.1, 0.1, 0.3, 0.35), False),
    ],
)
def test_a_mask_that_is_mostly_covered_is_not_new(mask: BoolMask, new: bool):
    assert bool(associate([sight(mask)], [A], [], rules()).confirmed) is new


def test_too_small_too_large_and_outside_of_the_region_is_not_found():
    tiny, huge = box(0.5, 0.5, 0.53, 0.53), box(0, 0, 0.8, 0.8)
    assert not associate([sight(tiny), sight(huge)], [], [], rules()).confirmed
    left = box(0, 0, 0.5, 1)
    assert associate([sight(A)], [], [], rules(allowed=left)).confirmed
    assert not associate([sight(B)], [], [], rules(allowed=left)).confirmed


def test_an_object_is_confirmed_once_it_was_seen_often_enough():
    tentative: list[Tentative] = []
    for moved in (0.0, 0.02, 0.04):
        outcome = associate([sight(box(0.1 + moved, 0.1, 0.3 + moved, 0.3))], [], tentative, rules(confirm=3))
        tentative = outcome.tentative
    assert len(outcome.confirmed) == 1
    assert not outcome.tentative


def test_a_thin_object_that_moves_is_seen_again():
    thin, moved = box(0.1, 0.1, 0.13, 0.5), box(0.14, 0.1, 0.17, 0.5)
    assert iou(thin, moved) == 0.0
    assert associate([sight(moved)], [], [Tentative(sight(thin))], rules(confirm=2)).confirmed
    assert not associate([sight(B)], [], [Tentative(sight(A))], rules(confirm=2)).confirmed


def test_a_tentative_object_that_is_missed_twice_is_dropped():
    tentative = [Tentative(sight(A), seen=2)]
    once = associate([], [], tentative, rules(confirm=3))
    assert [one.missed for one in once.tentative] == [1]
    assert not associate([], [], once.tentative, rules(confirm=3)).tentative
    assert associate([sight(A)], [], once.tentative, rules(confirm=3)).confirmed


def test_a_look_at_tentative_objects_finds_no_others():
    outcome = associate([sight(A), sight(B)], [], [Tentative(sight(A))], rules(confirm=3), only_known=True)
    assert [one.seen for one in outcome.tentative] == [2]


def test_a_dismissed_object_is_not_new():
    assert not associate([sight(box(0.12, 0.1, 0.32, 0.3))], [], [], rules(), dismissed=[A]).confirmed


@pytest.mark.parametrize(("level", "expected"), [("whole", [0, 2]), ("part", [1, 2]), ("all", [0, 1, 2])])
def test_the_level_decides_between_nested_masks(level: str, expected: list[int]):
    whole, part = box(0.1, 0.1, 0.5, 0.5), box(0.2, 0.2, 0.3, 0.3)
    sights = [sight(whole, 0.7, 0), sight(part, 0.9, 1), sight(B, 0.5, 2)]
    assert sorted(one.number for one in suppress(sights, level)) == expected  # type: ignore[arg-type]


def test_the_best_of_equal_masks_stays():
    assert [one.number for one in suppress([sight(A, 0.5, 0), sight(A, 0.8, 1)], "all")] == [1]


def test_a_key_finds_a_tentative_object_wherever_it_is():
    outcome = associate([sight(B, key="7")], [], [Tentative(sight(A, key="7"))], rules(confirm=2))
    assert [one.key for one in outcome.confirmed] == ["7"]


def test_the_younger_found_object_is_the_duplicate_and_never_a_users():
    assert duplicates([(1, True, A), (2, True, A), (3, True, B)]) == {2: 1}
    assert duplicates([(1, True, A), (2, False, A)]) == {1: 2}
    assert duplicates([(1, False, A), (2, False, A)]) == {}


def test_measures_of_empty_masks_are_zero():
    empty = np.zeros((GRID, GRID), np.bool_)
    assert iou(empty, empty) == inside(empty, A) == 0.0
