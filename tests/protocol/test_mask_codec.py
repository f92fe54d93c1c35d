"""The mask codec: exact for any mask, and harmless for any bytes."""

from __future__ import annotations

import sys
import tracemalloc

import numpy as np
import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco

from streamseg.errors import ConfigError, ProtocolError
from streamseg.protocol.mask_codec import MAX_PIXELS, decode_mask, encode_bits, encode_rle, require_encoding
from tests.protocol import mask_vectors

MASKS = st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(lambda shape: arrays(np.bool_, shape))
ENCODINGS = ("coco_rle", "bits_zstd")


def blob(height, width, seed=0):
    """A mask with a ragged outline, as a model gives."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:height, :width]
    wobble = np.sin(xx / 9) + np.cos(yy / 7) + rng.normal(0, 0.3, (height, width))
    return ((xx / width - 0.5) ** 2 + (yy / height - 0.5) ** 2) * 20 + 0.4 * wobble < 3


def packed(mask):
    return np.packbits(mask, axis=1).tobytes()


def size_of(mask):
    return mask.shape[1], mask.shape[0]


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(mask=MASKS)
@example(mask=np.zeros((1, 1), bool))
@example(mask=np.ones((1, 9), bool))
@example(mask=blob(117, 203))
def test_round_trip(encoding, mask):
    data = encode_bits(packed(mask), size_of(mask), encoding)
    decoded = decode_mask(data, size_of(mask), encoding)
    assert decoded.dtype == np.bool_
    assert decoded.flags.c_contiguous
    np.testing.assert_array_equal(decoded, mask)


@pytest.mark.parametrize("mask", [blob(117, 203), np.ones((1, 9), bool), np.ones((9, 1), bool)])
def test_decoding_is_the_same_with_and_without_opencv(mask, monkeypatch):
    import cv2

    assert sys.modules["cv2"] is cv2
    with_opencv = decode_mask(encode_rle(mask), size_of(mask), "coco_rle")
    monkeypatch.delitem(sys.modules, "cv2")
    without = decode_mask(encode_rle(mask), size_of(mask), "coco_rle")
    for decoded in (with_opencv, without):
        assert np.array_equal(decoded, mask)
        assert decoded.dtype == bool
        assert decoded.flags.c_contiguous
        assert decoded.flags.writeable


@given(mask=MASKS)
@example(mask=blob(300, 211))
def test_rle_is_what_pycocotools_writes(mask):
    expected = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
    assert encode_rle(mask) == expected
    assert encode_bits(packed(mask), size_of(mask), "coco_rle") == expected


def test_large_runs_round_trip():
    mask = np.zeros((3000, 4000), bool)
    mask[2999, 3999] = mask[0, 0] = True
    np.testing.assert_array_equal(decode_mask(encode_rle(mask), (4000, 3000), "coco_rle"), mask)


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(data=st.binary(max_size=80), width=st.integers(1, 30), height=st.integers(1, 30))
@settings(max_examples=400)
def test_hostile_bytes_are_refused_or_a_mask_of_that_size(encoding, data, width, height):
    try:
        mask = decode_mask(data, (width, height), encoding)
    except ProtocolError:
        return
    assert mask.shape == (height, width)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools with numpy 2
@given(data=st.lists(st.integers(48, 111), min_size=1, max_size=60).map(bytes), side=st.integers(1, 12))
@settings(max_examples=400)
def test_hostile_counts_are_refused_or_add_up(data, side):
    try:
        mask = decode_mask(data, (side, side), "coco_rle")
    except ProtocolError:
        return
    # What we take, pycocotools reads the same way.
    np.testing.assert_array_equal(mask, coco.decode({"size": [side, side], "counts": data}).astype(bool))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"`", id="ends within a number"),
        pytest.param(b"0" * 17 + b"P", id="ends within a number after others"),
        pytest.param(b"\x00\xff", id="characters that are none"),
        pytest.param(b"oooooooooo0", id="a number of eleven characters"),
        pytest.param(b"oooooo?", id="a run of 2**34"),
        pytest.param(b"N", id="a negative run"),
        pytest.param(b"0", id="too few pixels"),
        pytest.param(b"`0o0", id="overlong groups that add up to nothing"),
        pytest.param(b"T1", id="too many pixels"),
    ],
)
def test_malformed_rle_is_refused(data):
    with pytest.raises(ProtocolError, match="coco_rle"):
        decode_mask(data, (4, 4), "coco_rle")


def test_zstd_bomb_is_refused_before_it_is_unpacked():
    bomb = zstandard.ZstdCompressor().compress(bytes(2**28))
    with pytest.raises(ProtocolError, match="announces 268435456 bytes"):
        decode_mask(bomb, (16, 4), "bits_zstd")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(zstandard.ZstdCompressor(write_content_size=False).compress(bytes(8)), id="no size announced"),
        pytest.param(zstandard.ZstdCompressor().compress(bytes(7)), id="too short"),
        pytest.param(zstandard.ZstdCompressor().compress(bytes(8)) + b"more", id="something after it"),
        pytest.param(zstandard.ZstdCompressor().compress(bytes(8))[:-1], id="cut off"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"not zstd at all", id="something else"),
    ],
)
def test_malformed_zstd_is_refused(data):
    with pytest.raises(ProtocolError, match="bits_zstd"):
        decode_mask(data, (16, 4), "bits_zstd")


@pytest.mark.parametrize("size", [(0, 4), (4, 0), (-1, -1), (2**14, 2**13), (MAX_PIXELS + 1, 1)])
def test_impossible_sizes_are_refused(size):
    with pytest.raises(ProtocolError, match="cannot be"):
        decode_mask(b"0", size, "coco_rle")


def test_parts_that_are_too_long_are_refused():
    with pytest.raises(ProtocolError, match="too long"):
        decode_mask(bytes(2**23 + 1), (4, 4), "coco_rle")


def test_unknown_encoding_is_refused():
    with pytest.raises(ProtocolError, match="'vp9' is unknown"):
        decode_mask(b"", (4, 4), "vp9")
    with pytest.raises(ProtocolError, match="'none'"):
        encode_bits(b"\x00", (4, 1), "none")


def test_bits_of_the_wrong_length_are_refused():
    with pytest.raises(ProtocolError, match="9x2 mask packs to 4 bytes, not 3"):
        encode_bits(b"abc", (9, 2), "coco_rle")


def test_missing_zstandard_is_reported_clearly(monkeypatch):
    require_encoding("bits_zstd")
    monkeypatch.setitem(sys.modules, "zstandard", None)
    require_encoding("coco_rle")
    with pytest.raises(ConfigError, match=r"pip install 'streamseg\[fast\]'"):
        require_encoding("bits_zstd")
    with pytest.raises(ConfigError, match="not installed"):
        decode_mask(b"", (4, 4), "bits_zstd")


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (480, 640), (1500, 1400)])
@pytest.mark.parametrize("density", [0.0, 0.02, 0.5, 1.0])
def test_masks_of_any_number_of_runs_read_back(shape, density):
    mask = np.random.default_rng(7).random(shape) < density
    np.testing.assert_array_equal(decode_mask(encode_rle(mask), (shape[1], shape[0]), "coco_rle"), mask)


@pytest.mark.parametrize(
    "data",
    [b"0" * 2**23, b"1" * 2**23, b"PPPPPP0" * (2**23 // 7), b"o" * (2**23 - 1) + b"0"],
    ids=["empty runs", "runs of one", "long numbers", "one endless number"],
)
@pytest.mark.parametrize("size", [(10, 10), (8192, 8192)])
def test_the_longest_rle_that_does_not_add_up_is_refused_before_it_is_expanded(data, size):
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError, match="coco_rle"):
            decode_mask(data, size, "coco_rle")
        assert tracemalloc.get_traced_memory()[1] < 48 * 2**20  # the mask alone would take 64 MiB
    finally:
        tracemalloc.stop()


def test_the_vectors_for_other_languages_are_current_and_ours():
    assert mask_vectors.FILE.read_text() == mask_vectors.text(), "run python -m tests.protocol.mask_vectors"
    for vector in mask_vectors.vectors():
        size, counts = (vector["width"], vector["height"]), vector["counts"].encode()
        if "area" in vector:
            assert mask_vectors.summary(decode_mask(counts, size, "coco_rle")).items() <= vector.items()
        else:
            with pytest.raises(ProtocolError):
                decode_mask(counts, size, "coco_rle")
