from __future__ import annotations

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamseg.errors import ProtocolError
from streamseg.protocol.polygons import TOLERANCE_PX, decode_polygons, encode_polygons


def blob(seed: int, size: tuple[int, int] = (120, 90)) -> np.ndarray:
    """A mask with several pieces and holes."""
    noise = np.random.default_rng(seed).normal(size=size[::-1]).astype(np.float32)
    return (cv2.GaussianBlur(noise, (0, 0), 5) > 0.02).astype(np.uint8)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=25)
def test_no_pixel_is_wrong_by_more_than_the_tolerance(seed: int) -> None:
    mask = blob(seed)
    decoded = decode_polygons(encode_polygons(mask), (120, 90))
    wrong = decoded != mask.astype(bool)
    # Distance of each pixel from the border of the true mask, on both sides.
    inside, outside = (cv2.distanceTransform(np.pad(part, 1), cv2.DIST_L2, 5)[1:-1, 1:-1] for part in (mask, 1 - mask))
    assert np.maximum(inside, outside)[wrong].max(initial=0) <= 2 * TOLERANCE_PX
    assert iou(decoded, mask.astype(bool)) > 0.9


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (2, 2), (5, 3)])
def test_small_full_masks_are_exact(shape: tuple[int, int]) -> None:
    mask = np.ones(shape, np.uint8)
    assert decode_polygons(encode_polygons(mask), shape[::-1]).all()


def test_a_rectangle_has_four_corners_and_a_ring_keeps_its_hole() -> None:
    mask = np.ones((20, 30), np.uint8)
    assert msgspec.json.decode(encode_polygons(mask)) == {
        "tolerance_px": TOLERANCE_PX,
        "polygons": [[[0, 0], [0, 19], [29, 19], [29, 0]]],
    }
    mask[5:15, 8:22] = 0
    assert np.array_equal(decode_polygons(encode_polygons(mask), (30, 20)), mask.astype(bool))


def test_an_empty_mask_has_no_polygon() -> None:
    data = encode_polygons(np.zeros((4, 5), np.uint8))
    assert not decode_polygons(data, (5, 4)).any()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "polygons"),
        (b"\xff\x00", "polygons"),
        (b"[]", "polygons"),
        (b'{"tolerance_px":1}', "polygons"),
        (b'{"tolerance_px":1,"polygons":[[[0,0],[1]]]}', "polygons"),
        (b'{"tolerance_px":1,"polygons":[[[0,0],[1.5,0]]]}', "polygons"),
        (b'{"tolerance_px":1,"polygons":[[[0,0],[5,0]]]}', "outside the 5x4"),
        (b'{"tolerance_px":1,"polygons":[[[0,-1]]]}', "outside the 5x4"),
        (b'{"tolerance_px":1,"polygons":[[[0,99999999999999999999]]]}', "polygons"),
        (b'{"tolerance_px":1,"polygons":[[' + b"[0,0]," * 100_001 + b"[0,0]]]}", "more than 100000 corners"),
    ],
)
def test_malformed_parts_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        decode_polygons(data, (5, 4))


def test_a_part_without_corners_is_an_empty_mask() -> None:
    assert not decode_polygons(b'{"tolerance_px":1,"polygons":[[],[]]}', (5, 4)).any()
