"""Every pixel format must give the RGB that FFmpeg itself would give: that is what the reference model is run on."""

import struct
from pathlib import Path

import av
import numpy as np
import pytest

from streamseg.frame import FrameFormat, Plane
from streamseg.sources.av_picture import PictureReader
from tests.servers.live_servers import write_video

COLORSPACE = {"bt601": 5, "bt709": 1, "bt2020": 9}


def first_picture(graph: str) -> av.VideoFrame:
    with av.open(graph, format="lavfi") as container:
        return next(container.decode(video=0))


def rgb_of(frame_format: FrameFormat, planes: tuple[Plane, ...]) -> np.ndarray:
    """Build an FFmpeg picture from planes and let FFmpeg turn it into RGB."""
    name = "gray" if frame_format.pixel_format == "gray8" else frame_format.pixel_format
    picture = av.VideoFrame(frame_format.width, frame_format.height, name)
    picture.colorspace = COLORSPACE[frame_format.matrix]
    picture.color_range = 2 if frame_format.full_range else 1
    for target, source in zip(picture.planes, planes, strict=True):
        rows, row_bytes = source.shape
        np.frombuffer(target, np.uint8).reshape(-1, target.line_size)[:rows, :row_bytes] = source
    return picture.to_ndarray(format="rgb24")


@pytest.mark.parametrize(
    ("pixel_format", "expected"),
    [
        ("yuv420p", "yuv420p"),
        ("yuvj420p", "yuv420p"),
        ("nv12", "nv12"),
        ("rgb24", "rgb24"),
        ("bgr24", "bgr24"),
        ("gray", "gray8"),
        ("gray10le", "gray8"),
        ("ya8", "gray8"),
        ("yuv422p", "yuv420p"),
        ("yuvj422p", "yuv420p"),
        ("yuyv422", "yuv420p"),
        ("yuv444p", "yuv420p"),
        ("yuv420p10le", "yuv420p"),
        ("nv21", "yuv420p"),
        ("gbrp", "rgb24"),
        ("rgba", "rgb24"),
        ("bgr8", "rgb24"),
    ],
)
@pytest.mark.parametrize("color", ["0x3060c0", "0xd02010"])
def test_colors_are_those_of_ffmpeg(pixel_format: str, expected: str, color: str) -> None:
    picture = first_picture(f"color=c={color}:size=64x48,format={pixel_format}")
    frame_format, planes = PictureReader().read(picture)

    assert frame_format.pixel_format == expected
    assert tuple(plane.shape for plane in planes) == frame_format.plane_shapes
    difference = np.abs(rgb_of(frame_format, planes).astype(int) - picture.to_ndarray(format="rgb24"))
    assert difference.max() <= 5  # FFmpeg dithers 10 bits; a wrong matrix or range is off by 15 and more


def test_palettes_become_rgb() -> None:
    picture = av.VideoFrame(64, 48, "pal8")
    np.frombuffer(picture.planes[0], np.uint8)[:] = 7
    palette = np.frombuffer(picture.planes[1], np.uint8).reshape(256, 4)
    palette[7] = (10, 120, 240, 255)  # blue, green, red, alpha
    frame_format, planes = PictureReader().read(picture)
    assert frame_format.pixel_format == "rgb24"
    assert planes[0].reshape(48, 64, 3)[20, 30].tolist() == [240, 120, 10]


@pytest.mark.parametrize(("code", "matrix"), [(0, "bt601"), (1, "bt709"), (2, "bt601"), (5, "bt601"), (9, "bt2020")])
@pytest.mark.parametrize(("color_range", "full"), [(0, False), (1, False), (2, True)])
@pytest.mark.parametrize("size", [(64, 48), (1920, 1080)])
def test_matrix_and_range_are_those_of_the_picture(
    code: int, matrix: str, color_range: int, full: bool, size: tuple[int, int]
) -> None:
    picture = av.VideoFrame(*size, "yuv420p")
    for plane, value in zip(picture.planes, (120, 90, 200), strict=True):
        np.frombuffer(plane, np.uint8)[:] = value
    picture.colorspace, picture.color_range = code, color_range

    frame_format, planes = PictureReader().read(picture)

    assert (frame_format.matrix, frame_format.full_range) == (matrix, full)
    np.testing.assert_array_equal(rgb_of(frame_format, planes), picture.to_ndarray(format="rgb24"))


@pytest.mark.parametrize("pixel_format", ["yuv420p", "nv12", "rgb24", "gray"])
def test_native_planes_are_not_copied(pixel_format: str) -> None:
    picture = first_picture(f"testsrc2=size=100x60,format={pixel_format}")
    _, planes = PictureReader().read(picture)

    for plane, original in zip(planes, picture.planes, strict=True):
        assert plane.ctypes.data == original.buffer_ptr
        assert plane.strides == (original.line_size, 1)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "nv12", "rgb24", "gray"])
def test_odd_sizes_are_read(pixel_format: str) -> None:
    picture = av.VideoFrame(65, 49, pixel_format)
    for plane in picture.planes:
        data = np.frombuffer(plane, np.uint8)
        data[:] = np.random.default_rng(0).integers(0, 256, data.size)
    frame_format, planes = PictureReader().read(picture)

    assert (frame_format.width, frame_format.height) == (65, 49)
    assert tuple(plane.shape for plane in planes) == frame_format.plane_shapes
    np.testing.assert_array_equal(rgb_of(frame_format, planes), picture.to_ndarray(format="rgb24"))


def test_planes_stay_valid_while_they_are_referred_to() -> None:
    with av.open("testsrc2=size=320x240:rate=25", format="lavfi") as container:
        pictures = container.decode(video=0)
        _, planes = PictureReader().read(next(pictures))
        before = planes[0].copy()
        for _ in range(20):
            next(pictures)
    np.testing.assert_array_equal(planes[0], before)


# Matrices of an MP4's track header that turn a picture clockwise, as telephones write them: a, b, u, c, d, v, x, y, w.
ONE, UNIT = 0x10000, 0x40000000
CLOCKWISE = {
    90: (0, ONE, 0, -ONE, 0, 0, 0, 0, UNIT),
    180: (-ONE, 0, 0, 0, -ONE, 0, 0, 0, UNIT),
    270: (0, -ONE, 0, ONE, 0, 0, 0, 0, UNIT),
}


def turned_video(path: Path, degrees: int, pixel_format: str, codec: str) -> Path:
    write_video(path, frames=1, size=(64, 48), codec=codec, pixel_format=pixel_format, options={"qp": "0"})
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    data[at : at + 36] = struct.pack(">9i", *CLOCKWISE[degrees])
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("degrees", [90, 180, 270])
@pytest.mark.parametrize(
    ("pixel_format", "codec"), [("yuv420p", "libx264"), ("yuv422p", "libx264"), ("rgb24", "png"), ("gray", "png")]
)
def test_turned_videos_are_upright(tmp_path: Path, degrees: int, pixel_format: str, codec: str) -> None:
    path = turned_video(tmp_path / "turned.mov", degrees, pixel_format, codec)
    with av.open(str(path)) as container:
        picture = next(container.decode(video=0))
    lying = picture.to_ndarray(format="rgb24")

    frame_format, planes = PictureReader().read(picture)

    upright = np.rot90(lying, -degrees // 90)
    assert (frame_format.width, frame_format.height) == (upright.shape[1], upright.shape[0])
    assert tuple(plane.shape for plane in planes) == frame_format.plane_shapes
    # FFmpeg interpolates chroma along rows only, so edges differ a little once turned.
    difference = np.abs(rgb_of(frame_format, planes).astype(int) - upright)
    assert difference.mean() < 3
