"""Pictures from the wire: bounded before they are decoded."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamseg.client.jpeg import decode_jpeg, decode_with_pillow, jpeg_size
from streamseg.errors import ProtocolError

PICTURE = np.full((30, 50, 3), (40, 120, 200), np.uint8)  # blue, green, red
JPEG = cv2.imencode(".jpg", PICTURE)[1].tobytes()


def test_red_comes_first():
    rgb = decode_jpeg(JPEG, (50, 30))
    assert (rgb.shape, rgb.dtype) == ((30, 50, 3), np.uint8)
    np.testing.assert_allclose(rgb.astype(int), PICTURE[..., ::-1], atol=4)


def test_gray_pictures_become_rgb():
    gray = cv2.imencode(".jpg", PICTURE[..., 0])[1].tobytes()
    np.testing.assert_allclose(decode_jpeg(gray, (50, 30)).astype(int), 40, atol=4)


def test_progressive_headers_are_read():
    progressive = cv2.imencode(".jpg", PICTURE, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    assert jpeg_size(progressive) == (50, 30)


def test_another_size_is_refused_before_it_is_decoded():
    with pytest.raises(ProtocolError, match="50x30 pixels for a frame of 640x480"):
        decode_jpeg(JPEG, (640, 480))
    at = JPEG.index(b"\xff\xc0") + 5
    bomb = JPEG[:at] + b"\xff\xff\xff\xff" + JPEG[at + 4 :]
    assert jpeg_size(bomb) == (65535, 65535)
    with pytest.raises(ProtocolError, match="65535x65535"):
        decode_jpeg(bomb, (50, 30))


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", JPEG[:20], cv2.imencode(".png", PICTURE)[1].tobytes()]
)
def test_what_is_not_a_jpeg_is_refused(data):
    with pytest.raises(ProtocolError, match="not a JPEG"):
        decode_jpeg(data, (50, 30))


@given(cut=st.integers(0, len(JPEG)), noise=st.binary(max_size=40))
def test_damaged_pictures_are_refused_or_have_the_size(cut, noise):
    try:
        rgb = decode_jpeg(JPEG[:cut] + noise + JPEG[cut + len(noise) :], (50, 30))
    except ProtocolError:
        return
    assert rgb.shape == (30, 50, 3)


def test_pillow_decodes_where_opencv_is_absent():
    np.testing.assert_allclose(decode_with_pillow(JPEG).astype(int), decode_jpeg(JPEG, (50, 30)).astype(int), atol=2)
    with pytest.raises(ProtocolError, match="not a JPEG that Pillow can read"):
        decode_with_pillow(JPEG[:40])
