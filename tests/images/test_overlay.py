from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamseg.images.found_mask import FoundMask
from streamseg.images.overlay import color_of, draw_on_transparent, overlay, side_by_side
from streamseg.images.records import found_mask


def found(x0: int, y0: int, x1: int, y1: int) -> FoundMask:
    mask: NDArray[np.bool_] = np.zeros((60, 80), dtype=np.bool_)
    mask[y0:y1, x0:x1] = True
    return found_mask(mask, 0.9)


BACKGROUND = np.full((60, 80, 3), 100, dtype=np.uint8)
LARGE, SMALL = found(10, 10, 50, 50), found(20, 20, 30, 30)


def test_small_masks_lie_on_large_ones_in_any_order() -> None:
    first, second = (overlay(BACKGROUND, masks, borders=False) for masks in ([LARGE, SMALL], [SMALL, LARGE]))
    np.testing.assert_array_equal(first, second)
    for mask, (y, x) in ((LARGE, (12, 12)), (SMALL, (25, 25))):
        np.testing.assert_allclose(first[y, x], (np.array(color_of(mask)) + 100) / 2, atol=1)
    assert (first[55, 70] == 100).all()


def test_colors_are_stable_and_differ() -> None:
    assert color_of(LARGE) == color_of(found(10, 10, 50, 50)) != color_of(SMALL)


def test_masks_can_be_drawn_on_a_transparent_layer() -> None:
    layer = draw_on_transparent(BACKGROUND.shape, [LARGE], borders=False)
    assert layer.shape == (60, 80, 4)
    assert set(np.unique(layer[..., 3])) == {0, 128}
    assert ((layer[..., 3] > 0) == LARGE.mask).all()


def test_borders_follow_the_outline() -> None:
    plain, drawn = (overlay(BACKGROUND, [LARGE], borders=borders) for borders in (False, True))
    changed = np.argwhere((plain != drawn).any(axis=2))
    assert len(changed) > 100
    inside = (changed > 13).all(axis=1) & (changed < 47).all(axis=1)
    assert not inside.any()


def test_side_by_side_doubles_the_width_and_no_mask_changes_nothing() -> None:
    assert side_by_side(BACKGROUND, overlay(BACKGROUND, [])).shape == (60, 160, 3)
    np.testing.assert_array_equal(overlay(BACKGROUND, []), BACKGROUND)
