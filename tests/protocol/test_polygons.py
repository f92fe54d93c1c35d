from __future__ import annotations

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
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


def farthest(mask: np.ndarray) -> float:
    """The largest distance of a border pixel of a mask from the sides of its polygons."""
    polygons = msgspec.json.decode(encode_polygons(mask))["polygons"]
    start = np.concatenate([np.array(corners, float) for corners in polygons])
    way = np.concatenate([np.roll(np.array(corners, float), -1, axis=0) for corners in polygons]) - start
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    border = np.argwhere((mask == 1) & (cv2.erode(np.pad(mask, 1), cross)[1:-1, 1:-1] == 0))[:, ::-1]
    distances = []
    for pixel in border:
        along = ((pixel - start) * way).sum(1) / np.maximum((way**2).sum(1), 1)
        distances.append(np.hypot(*(start + along.clip(0, 1)[:, None] * way - pixel).T).min())
    return float(max(distances))


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.8, 1.5, 3, 5]))
@settings(deadline=None, max_examples=40)
@example(3, 1.5)
@example(34, 0.8)
def test_no_border_pixel_is_further_from_its_polygon_than_the_stated_tolerance(seed: int, smooth: float) -> None:
    noise = np.random.default_rng(seed).normal(size=(60, 90)).astype(np.float32)
    mask = (cv2.GaussianBlur(noise, (0, 0), smooth) > 0).astype(np.uint8)
    assert farthest(mask) <= TOLERANCE_PX + 1e-6
    ring = np.zeros((100, 140), np.uint8)
    cv2.circle(ring, (70, 50), 5 + seed % 43, 1, -1)
    cv2.circle(ring, (70, 50), 2 + seed % 37, 0, -1)
    assert not ring.any() or farthest(ring) <= TOLERANCE_PX + 1e-6


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
