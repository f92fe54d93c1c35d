"""The page's own decoder of masks against the one that wrote them."""

from __future__ import annotations

import numpy as np
import pytest

from streamseg.protocol.mask_codec import encode_rle

pytestmark = pytest.mark.chromium

DECODE = """async ([data, width, height]) => {
    const { decodeRle } = await import("/static/mask_codec.js");
    try { return [...decodeRle(Uint8Array.from(data), width, height)]; } catch (error) { return error.message; }
}"""


def masks():
    rng = np.random.default_rng(11)
    yield np.zeros((5, 7), bool)
    yield np.ones((5, 7), bool)
    yield np.ones((1, 1), bool)
    for share in (0.02, 0.5, 0.98):
        yield rng.random((37, 23)) < share
    yield np.add.outer(np.arange(300), np.arange(200)) % 61 < 20  # runs of more than 32


def test_masks_are_decoded_exactly(web, open_page):
    page = open_page(web.url)
    for mask in masks():
        height, width = mask.shape
        found = page.evaluate(DECODE, [list(encode_rle(mask)), width, height])
        np.testing.assert_array_equal(np.array(found, bool).reshape(mask.shape), mask)


def test_malformed_masks_are_refused(web, open_page):
    page = open_page(web.url)
    for data in (b"", b"1", b"oooo", b"0" * 50, bytes(range(48, 112)), b"\xff\x00"):
        assert "the runs" in page.evaluate(DECODE, [list(data), 5, 7]), data
