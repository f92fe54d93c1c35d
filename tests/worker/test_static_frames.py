"""Which pictures count as the same: noise does not matter, movement does."""

from __future__ import annotations

import functools
import io
from dataclasses import replace
from typing import get_args

import av
import cv2
import numpy as np
import pytest

from streamseg.frame import Frame, FrameFormat, FrameStamps, PixelFormat, Plane
from streamseg.sources.scene.source import Scene
from streamseg.worker.static_frames import SETTLED, StaticFrames, block_means

SECOND = 1_000_000_000
SIZE = (320, 180)
FORMATS: tuple[PixelFormat, ...] = get_args(PixelFormat)
STAMPS = FrameStamps(0, "arrival", 0, 0, None, (1, 30))


def planes_of(rgb: Plane, pixel_format: PixelFormat) -> tuple[Plane, ...]:
    """The picture as a source would deliver it; sizes are even."""
    height, width = rgb.shape[:2]
    match pixel_format:
        case "rgb24":
            return (rgb.reshape(height, 3 * width),)
        case "bgr24":
            return (np.ascontiguousarray(rgb[..., ::-1]).reshape(height, 3 * width),)
        case "gray8":
            return (np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8),)
    i420 = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420), np.uint8)
    luma, rest = i420[:height], i420[height:].reshape(2, height // 2, width // 2)
    if pixel_format == "yuv420p":
        return luma, rest[0], rest[1]
    return luma, np.ascontiguousarray(rest.transpose(1, 2, 0)).reshape(height // 2, width)


def as_frame(rgb: Plane, number: int = 0, pixel_format: PixelFormat = "yuv420p", epoch: int = 0) -> Frame:
    fmt = FrameFormat(rgb.shape[1], rgb.shape[0], pixel_format)
    return Frame(number, epoch, fmt, planes_of(rgb, pixel_format), STAMPS)


@functools.cache
def still(size: tuple[int, int] = SIZE) -> Plane:
    return Scene(f"scene:default?size={size[0]}x{size[1]}").render(0)


def noisy(rgb: Plane, seed: int, sigma: float = 5.0) -> Plane:
    noise = np.random.default_rng(seed).normal(0, sigma, rgb.shape)
    return np.clip(rgb + noise, 0, 255).round().astype(np.uint8)


def shifted(rgb: Plane, box: tuple[int, int, int, int], by: int) -> Plane:
    """The picture with what lies in a box (x, y, w, h) moved to the right."""
    x, y, w, h = box
    moved = rgb.copy()
    moved[y : y + h, x + by : x + by + w] = rgb[y : y + h, x : x + w]
    return moved


def after(first: Plane, pixel_format: PixelFormat = "yuv420p") -> StaticFrames:
    """A comparison that has seen a picture come to rest."""
    return settled(as_frame(first, 0, pixel_format))


def settled(frame: Frame, now_ns: int = 0) -> StaticFrames:
    """A comparison for which a picture has come to rest."""
    compared = StaticFrames()
    for _ in range(1 + SETTLED):
        compared.tracked(frame, now_ns)
    return compared


def test_nothing_is_static_before_a_frame_was_tracked():
    assert not StaticFrames().unchanged(as_frame(still()), 0)


@pytest.mark.parametrize("pixel_format", FORMATS)
def test_noise_is_static_in_every_format(pixel_format):
    compared = after(noisy(still(), 0), pixel_format)
    assert all(compared.unchanged(as_frame(noisy(still(), seed), seed, pixel_format), seed) for seed in range(1, 20))


@pytest.mark.parametrize("pixel_format", FORMATS)
def test_a_small_thing_that_moves_is_seen_in_every_format(pixel_format):
    picture = np.full((180, 320, 3), 90, np.uint8)
    picture[100:112, 40:52] = 150
    compared = after(noisy(picture, 0), pixel_format)
    moved = shifted(picture, (36, 100, 16, 12), by=4)
    assert not compared.unchanged(as_frame(noisy(moved, 1), 1, pixel_format), 1)


@pytest.mark.parametrize("pixel_format", FORMATS)
@pytest.mark.parametrize("size", [(322, 182), (34, 18), (8, 8), (2, 2)])
def test_changes_at_every_edge_are_seen(pixel_format, size):
    width, height = size
    picture = np.full((height, width, 3), 60, np.uint8)
    changed = picture.copy()
    changed[-2:, -2:] = 255
    compared = after(picture, pixel_format)
    assert compared.unchanged(as_frame(picture, 1, pixel_format), 1)
    assert not compared.unchanged(as_frame(changed, 2, pixel_format), 2)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "nv12", "gray8"])
def test_odd_sizes_are_compared_to_the_edge(pixel_format):
    fmt = FrameFormat(321, 181, pixel_format)
    dark = tuple(np.full(shape, 60, np.uint8) for shape in fmt.plane_shapes)
    compared = settled(Frame(0, 0, fmt, dark, STAMPS))
    assert compared.unchanged(Frame(1, 0, fmt, dark, STAMPS), 1)
    for place in range(len(dark)):
        planes = tuple(plane.copy() for plane in dark)
        planes[place][-5:, -6:] = 255
        assert not compared.unchanged(Frame(2, 0, fmt, planes, STAMPS), 2)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "nv12"])
@pytest.mark.parametrize("channel", [0, 1])
def test_a_change_of_color_alone_is_seen(pixel_format, channel):
    before = as_frame(still(), 0, pixel_format)
    chroma = [plane.copy() for plane in before.planes[1:]]
    part = chroma[channel] if pixel_format == "yuv420p" else chroma[0][:, channel::2]
    part[40:48, 60:68] += 20
    compared = settled(before)
    after_it = Frame(1, 0, before.format, (before.planes[0], *chroma), STAMPS)
    assert not compared.unchanged(after_it, 1)


def test_slow_drift_adds_up():
    """Each frame differs from the previous one by noise only; all are compared with the tracked one."""

    def drifted(number: int) -> Frame:
        picture = still().copy()
        picture[60:110, 100:160] = np.clip(picture[60:110, 100:160].astype(int) + number, 0, 255)
        return as_frame(picture, number)

    compared, step = settled(drifted(0)), settled(drifted(0))
    static = []
    for number in range(1, 30):
        static.append(compared.unchanged(drifted(number), number))
        assert step.unchanged(drifted(number), number)
        step.tracked(drifted(number), number)
    changes = static.index(False)
    assert 4 < changes < 15
    assert not any(static[changes:])


def test_a_frame_that_was_not_tracked_changes_nothing():
    compared = after(still())
    light = np.clip(still().astype(int) + 40, 0, 255).astype(np.uint8)
    assert not compared.unchanged(as_frame(light, 1), 1)
    assert not compared.unchanged(as_frame(light, 2), 2)
    for number in range(2, 3 + SETTLED):
        assert not compared.unchanged(as_frame(light, number), number)
        compared.tracked(as_frame(light, number), number)
    assert compared.unchanged(as_frame(light, 20), 20)
    assert not compared.unchanged(as_frame(still(), 21), 21)


def test_a_tracked_frame_that_was_not_compared_is_looked_at():
    compared = after(still())
    compared.unchanged(as_frame(still(), 1), 1)
    other = np.full_like(still(), 20)
    for number in range(2, 3 + SETTLED):
        compared.tracked(as_frame(other, number), number)
    assert compared.unchanged(as_frame(other, 20), 20)


def test_another_epoch_or_format_is_a_change():
    picture = still()
    same = as_frame(picture, 1)
    for changed in (
        replace(same, epoch=1),
        replace(same, format=replace(same.format, full_range=True)),
        replace(same, format=replace(same.format, matrix="bt709")),
        as_frame(picture, 1, "nv12"),
        as_frame(picture[:160], 1),
        as_frame(np.ascontiguousarray(picture[:, :160]), 1),
    ):
        compared = after(picture)
        assert compared.unchanged(same, 1)
        assert not compared.unchanged(changed, 1)


def test_no_longer_than_a_second_and_never_back_in_time():
    compared = settled(as_frame(still(), 0), 5 * SECOND)
    times = [5 * SECOND, 6 * SECOND, 6 * SECOND + 1, 5 * SECOND - 1]
    assert [compared.unchanged(as_frame(still(), 1), now) for now in times] == [True, True, False, False]


def test_a_forgotten_frame_is_not_repeated():
    compared = after(still())
    compared.forget()
    assert not compared.unchanged(as_frame(still(), 1), 1)


def test_masks_settle_before_they_are_repeated():
    compared = StaticFrames()
    for number in range(1 + SETTLED):
        assert not compared.unchanged(as_frame(noisy(still(), number), number), number)
        compared.tracked(as_frame(noisy(still(), number), number), number)
    assert compared.unchanged(as_frame(still(), 20), 20)
    compared.unsettle()
    for number in range(21, 21 + SETTLED):
        assert not compared.unchanged(as_frame(still(), number), number)
        compared.tracked(as_frame(still(), number), number)
    assert compared.unchanged(as_frame(still(), 40), 40)


def test_no_frame_is_held():
    """A slot of the ring is written again as soon as it is released."""
    frame = as_frame(still())
    means = block_means(frame)
    assert not any(np.shares_memory(mean, plane) for mean in means for plane in frame.planes)
    reused = as_frame(still(), 0)
    compared = settled(reused)
    for plane in reused.planes:
        plane[:] = 0
    assert compared.unchanged(as_frame(still(), 1), 1)


def test_a_still_scene_through_a_codec_is_static():
    """H.264 at CRF 28, key frames among them, of a noisy picture: what a cheap camera sends."""
    film = io.BytesIO()
    picture = still((640, 360))
    with av.open(film, "w", format="matroska") as output:
        stream = output.add_stream("h264", rate=30, options={"preset": "ultrafast", "tune": "zerolatency", "crf": "28"})
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 640, 360, "yuv420p", 10
        for number in range(30):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(noisy(picture, number, 3.0), format="rgb24")))
        output.mux(stream.encode())
    film.seek(0)
    with av.open(film) as video:
        pictures = [one.to_ndarray(format="rgb24") for one in video.decode(video=0)]
    compared = after(pictures[5])
    assert sum(compared.unchanged(as_frame(one, number), number) for number, one in enumerate(pictures[6:])) >= 22
