"""Masks drawn over a picture."""

from dataclasses import dataclass

import numpy as np
import pytest

from streamseg.common.draw import draw_masks
from streamseg.protocol.palette import PALETTE, color_of
from streamseg.tracker.types import ObjectResult


@dataclass
class Received:
    """As a subscriber gets it."""

    id: int
    label: str
    state: str
    score: float
    roi: tuple[int, int, int, int]
    crop: np.ndarray


GRAY = np.full((180, 320, 3), 100, dtype=np.uint8)


def disc(size: int) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    return np.hypot(x, y) < size / 2


def test_only_the_object_is_tinted_and_its_rim_has_its_color() -> None:
    before = GRAY.copy()
    crop = disc(60)
    drawn = draw_masks(GRAY, [Received(1, "a", "tracked", 0.9, (100, 50, 60, 60), crop)], labels=False)
    assert np.array_equal(before, GRAY), "the picture itself must stay as it was"
    full = np.zeros((180, 320), dtype=bool)
    full[50:110, 100:160] = crop
    assert np.array_equal((drawn != GRAY).any(axis=2), full)
    middle = 0.6 * 100 + 0.4 * np.array(PALETTE[0])
    assert np.abs(drawn[80, 130] - middle).max() <= 1
    first = int(np.flatnonzero(crop[30])[0])
    assert tuple(drawn[80, 100 + first]) == PALETTE[0]


def test_tracker_results_and_full_size_masks_draw_the_same() -> None:
    crop = disc(40)
    full = np.zeros((180, 320), dtype=bool)
    full[100:140, 20:60] = crop
    tracked = ObjectResult(3, (320, 180), (20, 100, 40, 40), crop, int(crop.sum()), (39.5, 119.5), 0.5, 2.0)

    class WithFullMask:
        id, label, state, score, roi, mask = 3, "", "tracked", 0.5, (20, 100, 40, 40), full

    received = Received(3, "", "tracked", 0.5, (20, 100, 40, 40), crop)
    pictures = [draw_masks(GRAY, [item]) for item in (tracked, WithFullMask(), received)]
    assert np.array_equal(pictures[0], pictures[1])
    assert np.array_equal(pictures[0], pictures[2])


def test_colors_belong_to_ids() -> None:
    assert color_of(1) == color_of(1 + len(PALETTE))
    assert len({color_of(obj_id) for obj_id in range(1, len(PALETTE) + 1)}) == len(PALETTE)
    assert color_of(0) in PALETTE


@pytest.mark.parametrize("size", [(320, 180), (640, 360), (1920, 1080), (90, 160), (16, 16)])
def test_labels_stay_inside_and_do_not_cover_each_other(size: tuple[int, int]) -> None:
    width, height = size
    image = np.full((height, width, 3), 100, dtype=np.uint8)
    side = min(size) // 4
    items = [
        Received(number, "fish", "tracked", 0.9, (x, y, side, side), np.ones((side, side), dtype=bool))
        for number, (x, y) in enumerate([(0, 0), (width - side, height - side), (width // 2, height // 2)], 1)
    ]
    drawn = draw_masks(image, items)
    assert drawn.shape == image.shape
    unlabeled = draw_masks(image, items, labels=False)
    assert (drawn != unlabeled).any()
    if size == (320, 180):
        for item in items:  # each label is a patch of its object's color, which the unlabeled picture lacks
            patch = (drawn == item_color(item)).all(axis=2) & ~(unlabeled == item_color(item)).all(axis=2)
            assert patch.sum() > 200


def item_color(item: Received) -> tuple[int, int, int]:
    return color_of(item.id)


def test_an_unseen_object_is_named_in_the_corner_and_nowhere_else() -> None:
    nothing = np.zeros((0, 0), dtype=bool)
    drawn = draw_masks(GRAY, [Received(2, "cat", "lost", 0.0, (0, 0, 0, 0), nothing)])
    changed = np.argwhere((drawn != GRAY).any(axis=2))
    assert len(changed) > 200
    assert changed[:, 0].min() > 150
    assert changed[:, 1].max() < 160
    assert np.array_equal(
        draw_masks(GRAY, [Received(2, "cat", "lost", 0.0, (0, 0, 0, 0), nothing)], labels=False), GRAY
    )


def test_draws_in_place_if_asked() -> None:
    image = GRAY.copy()
    crop = disc(20)
    assert draw_masks(image, [Received(1, "", "tracked", 1.0, (0, 0, 20, 20), crop)], out=image) is image
    assert (image != GRAY).any()
    assert np.array_equal(draw_masks(GRAY, []), GRAY)
