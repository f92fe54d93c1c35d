from __future__ import annotations

from fractions import Fraction
from typing import get_args

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from streamseg.frame import ColorMatrix, Frame, FrameFormat, FrameStamps, PixelFormat, yuv_to_rgb_matrix
from streamseg.tracker.rgb import RgbConverter, sample_rgb

STAMPS = FrameStamps(0, "file", 0, 0, None, (1, 25))
FORMATS = get_args(PixelFormat)
MATRICES = get_args(ColorMatrix)


def noise_frame(fmt: FrameFormat, seed: int = 0) -> Frame:
    """Random planes, read-only as those of a ring may be."""
    rng = np.random.default_rng(seed)
    planes = tuple(rng.integers(0, 256, shape, dtype=np.uint8) for shape in fmt.plane_shapes)
    for plane in planes:
        plane.flags.writeable = False
    return Frame(0, 0, fmt, planes, STAMPS)


def exact_rgb(frame: Frame) -> NDArray[np.float64]:
    """Slow and plain: each pixel by the formulas of the standards, rounded."""
    fmt = frame.format
    h, w = fmt.height, fmt.width
    if fmt.pixel_format in ("rgb24", "bgr24"):
        picture = frame.planes[0].reshape(h, w, 3).astype(float)
        return picture if fmt.pixel_format == "rgb24" else picture[..., ::-1]
    if fmt.pixel_format == "gray8":
        return np.repeat(frame.planes[0][..., None].astype(float), 3, axis=2)
    y = frame.planes[0].astype(float)
    if fmt.pixel_format == "nv12":
        u, v = frame.planes[1][:, ::2].astype(float), frame.planes[1][:, 1::2].astype(float)
    else:
        u, v = frame.planes[1].astype(float), frame.planes[2].astype(float)
    u, v = (plane.repeat(2, 0).repeat(2, 1)[:h, :w] - 128 for plane in (u, v))
    if not fmt.full_range:
        y, u, v = (y - 16) * 255 / 219, u * 255 / 224, v * 255 / 224
    kr, kb = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}[fmt.matrix]
    red, blue = y + 2 * (1 - kr) * v, y + 2 * (1 - kb) * u
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    return np.stack((red, green, blue), axis=-1).clip(0, 255).round()


@pytest.mark.parametrize("size", [(64, 48), (33, 17), (1, 1), (2, 3)])
@pytest.mark.parametrize("pixel_format", FORMATS)
def test_every_layout_and_odd_sizes(pixel_format, size):
    frame = noise_frame(FrameFormat(*size, pixel_format))
    rgb = RgbConverter()(frame)
    assert rgb.shape == (size[1], size[0], 3)
    assert rgb.dtype == np.uint8
    assert np.abs(rgb - exact_rgb(frame)).max() <= 1


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", MATRICES)
def test_every_matrix_and_range(matrix, full_range):
    frame = noise_frame(FrameFormat(64, 64, "yuv420p", matrix, full_range))
    error = np.abs(RgbConverter()(frame) - exact_rgb(frame))
    assert error.max() <= 1
    assert error.mean() < 0.1


def test_white_is_white():
    for full_range, white in ((False, 235), (True, 255)):
        for matrix in MATRICES:
            rgb = yuv_to_rgb_matrix(matrix, full_range) @ np.array([white, 128, 128, 1], dtype=np.float32)
            assert np.abs(rgb - 255).max() < 1e-3


@pytest.mark.parametrize(("matrix", "colorspace"), [("bt601", 5), ("bt709", 1)])
@pytest.mark.parametrize(("full_range", "color_range"), [(False, 1), (True, 2)])
def test_agrees_with_ffmpeg(matrix, colorspace, full_range, color_range):
    """FFmpeg's own conversion truncates, which makes it about one level darker; ours rounds."""
    frame = noise_frame(FrameFormat(64, 48, "yuv420p", matrix, full_range))
    video = av.VideoFrame(64, 48, "yuv420p")
    video.pts, video.time_base = 0, Fraction(1, 25)
    for plane, values in zip(video.planes, frame.planes, strict=True):
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size).copy()
        rows[: values.shape[0], : values.shape[1]] = values
        plane.update(rows.tobytes())
    video.colorspace, video.color_range = colorspace, color_range
    difference = RgbConverter()(frame) - video.to_ndarray(format="rgb24").astype(float)
    assert np.abs(difference).max() <= 4
    assert np.abs(difference).mean() < 1.5


def test_frames_of_changing_size_share_a_converter():
    converter = RgbConverter()
    for size in ((64, 48), (128, 96), (33, 17), (64, 48)):
        for pixel_format in FORMATS:
            frame = noise_frame(FrameFormat(*size, pixel_format), seed=size[0])
            assert np.abs(converter(frame) - exact_rgb(frame)).max() <= 1


@pytest.mark.parametrize("step", [1, 2, 3, 7])
@pytest.mark.parametrize("pixel_format", FORMATS)
def test_samples_are_pixels_of_their_blocks(pixel_format, step):
    frame = noise_frame(FrameFormat(33, 17, pixel_format))
    coarse, exact = sample_rgb(frame, step), exact_rgb(frame)
    assert coarse.shape == (-(-17 // step), -(-33 // step), 3)
    for row in range(coarse.shape[0]):
        for column in range(coarse.shape[1]):
            y, x = min(row * step + step // 2, 16), min(column * step + step // 2, 32)
            assert np.abs(coarse[row, column] - exact[y, x]).max() <= 1
