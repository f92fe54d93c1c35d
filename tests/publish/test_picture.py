"""Pictures have the colors that the camera saw, whatever the layout, matrix and range."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from streamseg.frame import Frame, FrameFormat, FrameStamps
from streamseg.publish.picture import encode_jpeg, to_bgr

STAMPS = FrameStamps(0, "file", 0, 0, None, (1, 1))
# Kr, Kb of the three recommendations, written down independently of the code under test.
SHARES = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}
COLORS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (200, 120, 40), (30, 60, 220)]


def rgb_to_yuv(rgb, matrix, full_range):
    """The standards' own formulas, from red, green and blue to luma and chroma."""
    kr, kb = SHARES[matrix]
    r, g, b = (np.asarray(rgb, float)[..., i] / 255 for i in range(3))
    y = kr * r + (1 - kr - kb) * g + kb * b
    u, v = (b - y) / (2 * (1 - kb)), (r - y) / (2 * (1 - kr))
    if full_range:
        return [np.rint(p).clip(0, 255).astype(np.uint8) for p in (255 * y, 255 * u + 128, 255 * v + 128)]
    return [np.rint(p).astype(np.uint8) for p in (219 * y + 16, 224 * u + 128, 224 * v + 128)]


def picture(width, height):
    """Blocks of even size in all colors, so that halved chroma is exact except at odd edges."""
    rgb = np.zeros((height, width, 3), np.uint8)
    for index, color in enumerate(COLORS):
        rgb[4 * (index % 2) : 4 * (index % 2) + 4, 4 * (index // 2) : 4 * (index // 2) + 4] = color
    return rgb


def frame(rgb, pixel_format, matrix="bt601", full_range=False):
    height, width = rgb.shape[:2]
    y, u, v = rgb_to_yuv(rgb, matrix, full_range)
    u, v = np.ascontiguousarray(u[::2, ::2]), np.ascontiguousarray(v[::2, ::2])
    planes = {
        "rgb24": (rgb.reshape(height, -1),),
        "bgr24": (np.ascontiguousarray(rgb[..., ::-1]).reshape(height, -1),),
        "gray8": (np.ascontiguousarray(rgb[..., 1]),),
        "yuv420p": (y, u, v),
        "nv12": (y, np.ascontiguousarray(np.stack([u, v], -1)).reshape(u.shape[0], -1)),
    }[pixel_format]
    layout = FrameFormat(width, height, pixel_format, matrix, full_range)
    assert tuple(plane.shape for plane in planes) == layout.plane_shapes
    for plane in planes:
        plane.flags.writeable = False  # as in the ring
    return Frame(0, 0, layout, planes, STAMPS)


@pytest.mark.parametrize("size", [(16, 8), (15, 7), (16, 7), (15, 8)])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", SHARES)
@pytest.mark.parametrize("pixel_format", ["yuv420p", "nv12"])
def test_yuv_is_converted_by_its_own_matrix_and_range(pixel_format, matrix, full_range, size):
    rgb = picture(*size)
    bgr = to_bgr(frame(rgb, pixel_format, matrix, full_range))
    assert bgr.shape == rgb.shape
    np.testing.assert_allclose(bgr[..., ::-1].astype(int), rgb, atol=3)  # 8-bit luma and chroma are that coarse


def test_the_wrong_matrix_would_be_seen():
    rgb = picture(16, 8)
    as_709 = frame(rgb, "yuv420p", "bt709")
    wrong = Frame(0, 0, FrameFormat(16, 8, "yuv420p", "bt601"), as_709.planes, STAMPS)
    assert np.abs(to_bgr(wrong)[..., ::-1].astype(int) - rgb).max() > 20


@pytest.mark.parametrize("pixel_format", ["rgb24", "bgr24"])
def test_rgb_is_exact(pixel_format):
    rgb = picture(15, 7)
    np.testing.assert_array_equal(to_bgr(frame(rgb, pixel_format))[..., ::-1], rgb)


@pytest.mark.parametrize("pixel_format", ["rgb24", "bgr24", "yuv420p", "nv12", "gray8"])
def test_jpeg_has_size_place_and_color(pixel_format):
    rgb = np.zeros((90, 160, 3), np.uint8)
    rgb[:40, :60] = (200, 120, 40)
    decoded = cv2.imdecode(
        np.frombuffer(encode_jpeg(frame(rgb, pixel_format, "bt709"), 90), np.uint8), cv2.IMREAD_COLOR
    )
    expected = (120, 120, 120) if pixel_format == "gray8" else (200, 120, 40)
    assert decoded.shape == (90, 160, 3)
    np.testing.assert_allclose(decoded[20, 30, ::-1].astype(int), expected, atol=6)
    np.testing.assert_allclose(decoded[70, 120].astype(int), 0, atol=6)


def test_a_lower_quality_gives_a_smaller_jpeg():
    rng = np.random.default_rng(0)
    noisy = frame(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8), "rgb24")
    assert len(encode_jpeg(noisy, 30)) < len(encode_jpeg(noisy, 95))
