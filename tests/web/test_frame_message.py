"""One binary message holds a picture and the masks of the same frame, readable by a browser."""

from dataclasses import replace

import numpy as np
import pytest

from streamseg.client import FramePair
from streamseg.protocol.palette import PALETTE
from streamseg.web.feed import Feed
from streamseg.web.frame_message import frame_message
from streamseg.web.stream_view import StreamView
from tests.web.live_client import Frame
from tests.web.pairs import SIZE, pair

VIEW = StreamView("cam", Feed("ipc:///nowhere", "cam"))


def message(frame_pair):
    return Frame(frame_message(frame_pair, VIEW, n=3, age_ms=1.234, screen_ms=None))


def test_a_repeated_frame_is_marked():
    given = pair({})
    repeating = FramePair(given.image, replace(given.masks, repeats=5))
    assert message(repeating).header["repeats"] == 5


def test_the_sample_aspect_ratio_is_passed_on():
    given = pair({})
    assert message(given).header["sample_aspect"] == [1, 1]
    wide = FramePair(given.image, replace(given.masks, sample_aspect=(16, 11)))
    assert message(wide).header["sample_aspect"] == [16, 11]


@pytest.mark.parametrize("encoding", ["coco_rle", "bits_zstd"])
def test_masks_come_as_they_are(encoding):
    rng = np.random.default_rng(5)
    masks = {1: rng.random(SIZE[::-1]) > 0.5, 2: np.zeros(SIZE[::-1], bool), 9: np.ones(SIZE[::-1], bool)}
    given = pair(masks, encoding=encoding)
    frame = message(given)
    assert frame.header["n"] == 3
    assert (frame.header["frame"], frame.header["repeats"]) == (7, None)
    assert frame.header["age_ms"] == 1.2
    assert frame.jpeg == given.image.jpeg
    for obj_id, mask in masks.items():
        np.testing.assert_array_equal(frame.mask(obj_id), mask)


def test_colors_are_those_of_drawings():
    frame = message(pair({1: np.ones(SIZE[::-1], bool), 2: np.ones(SIZE[::-1], bool)}))
    colors = [obj["colour"] for obj in frame.header["objects"]]
    assert colors == ["#{:02x}{:02x}{:02x}".format(*color) for color in PALETTE[:2]]
