from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from sam2.utils.misc import _load_img_as_tensor

from streamseg.errors import StreamsegError
from streamseg.frame import Frame, FrameFormat, FrameStamps, PixelFormat
from streamseg.tracker.preprocess import Preprocessor, resizes_vertically_first
from streamseg.tracker.rgb import RgbConverter

STAMPS = FrameStamps(0, "file", 0, 0, None, (1, 25))
FORMATS = get_args(PixelFormat)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CPU = torch.device("cpu")


def picture_frame(fmt: FrameFormat) -> Frame:
    """Smooth shapes with noise on top, in planes of that layout; read-only as those of a ring may be."""
    rng = np.random.default_rng(1)
    planes = []
    for rows, columns in fmt.plane_shapes:
        y, x = np.mgrid[:rows, :columns]
        smooth = 128 + 100 * np.sin(x / (3 + columns / 9)) * np.cos(y / (3 + rows / 9))
        plane = (smooth + rng.integers(-20, 21, smooth.shape)).clip(0, 255).astype(np.uint8)
        plane.flags.writeable = False
        planes.append(plane)
    return Frame(7, 0, fmt, tuple(planes), STAMPS)


def levels(model_input: torch.Tensor) -> NDArray[np.float32]:
    """Back to ``[S, S, 3]`` in 0..255."""
    picture = model_input.float() * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)
    return (255 * picture).permute(1, 2, 0).numpy()


def with_pil(frame: Frame, side: int) -> NDArray[np.float64]:
    return np.asarray(Image.fromarray(RgbConverter()(frame)).resize((side, side))).astype(float)


@pytest.mark.parametrize("side", [64, 256, 512])
@pytest.mark.parametrize("pixel_format", FORMATS)
def test_cpu_agrees_with_pil(pixel_format, side):
    frame = picture_frame(FrameFormat(640, 359, pixel_format))
    error = np.abs(levels(Preprocessor(side, CPU, torch.float32)(frame)) - with_pil(frame, side))
    assert error.max() <= 2.01
    assert (error > 1.01).mean() < 1e-4
    assert error.mean() < 0.02


TALL = [(180, 320), (90, 270), (101, 219), (300, 500), (40, 400), (200, 337), (200, 336), (65, 66)]


@pytest.mark.parametrize("size", TALL)
@pytest.mark.parametrize("side", [64, 128])
def test_tall_frames_agree_with_pil(size, side):
    """Noise alone: the order of the passes shows everywhere."""
    width, height = size
    picture = np.random.default_rng(2).integers(0, 256, (height, 3 * width), dtype=np.uint8)
    frame = Frame(0, 0, FrameFormat(width, height, "rgb24"), (picture,), STAMPS)
    wanted = with_pil(frame, side)
    preprocessor = Preprocessor(side, CPU, torch.float32)
    on_device = preprocessor._resize_float([torch.tensor(picture)], frame.format).permute(1, 2, 0).numpy()
    for error in (np.abs(levels(preprocessor(frame)) - wanted), np.abs(on_device - wanted)):
        assert error.max() <= 2.01
        assert (error > 1.01).mean() < 1e-3
        assert error.mean() < 0.02


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (1, 65), (1, 1000), (2, 1), (2, 500), (65, 1), (1000, 1), (3, 70)])
@pytest.mark.parametrize("pixel_format", ["rgb24", "gray8"])
def test_tiny_frames_agree_with_pil(size, pixel_format):
    frame = picture_frame(FrameFormat(*size, pixel_format))
    preprocessor = Preprocessor(64, CPU, torch.float32)
    on_device = preprocessor._resize_float([torch.tensor(plane) for plane in frame.planes], frame.format)
    wanted = with_pil(frame, 64)
    assert np.abs(on_device.permute(1, 2, 0).numpy() - wanted).max() <= 1
    assert np.abs(levels(preprocessor(frame)) - wanted).max() <= 1.01


def test_the_order_of_passes_is_the_installed_pillows():
    """Pillow's own result is compared with its two passes in either order, around the place where the order changes."""
    rng = np.random.default_rng(3)
    for side in (32, 64):
        for width in (24, 33, 40, 70, 100, 151):
            turn = side + 2 * max(width - side, 0)
            for height in (side + 1, turn - 1, turn, turn + 1, turn + 40, 4 * width + side):
                if height <= side or width == side:
                    continue  # one pass, or an enlargement: both orders are alike or not in question
                picture = Image.fromarray(rng.integers(0, 256, (height, width), dtype=np.uint8))
                first = (width, side) if resizes_vertically_first((width, height), side) else (side, height)
                in_two = picture.resize(first).resize((side, side))
                assert np.array_equal(picture.resize((side, side)), in_two), (side, width, height)


def test_a_tall_picture_comes_out_as_from_the_official_loader(tmp_path):
    picture = np.random.default_rng(4).integers(0, 256, (480, 200, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "0.png")
    official, *_ = _load_img_as_tensor(tmp_path / "0.png", 128)
    expected = (official.float() - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    frame = Frame(0, 0, FrameFormat(200, 480, "rgb24"), (picture.reshape(480, 600),), STAMPS)
    ours = Preprocessor(128, CPU, torch.float32)(frame)
    assert (ours - expected).abs().max() <= 1.01 / 255 / min(STD)


@pytest.mark.parametrize("matrix", ["bt601", "bt709", "bt2020"])
@pytest.mark.parametrize("pixel_format", FORMATS)
def test_the_device_path_gives_the_same(pixel_format, matrix):
    """Run on the CPU here; on CUDA only the upload differs."""
    frame = picture_frame(FrameFormat(201, 97, pixel_format, matrix, full_range=matrix == "bt709"))
    planes = [torch.tensor(plane) for plane in frame.planes]
    resized = Preprocessor(128, CPU, torch.float32)._resize_float(planes, frame.format)
    error = np.abs(resized.permute(1, 2, 0).numpy() - with_pil(frame, 128))
    assert error.max() <= 2
    assert (error > 1).mean() < 1e-3
    assert error.mean() < 0.1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("pixel_format", FORMATS)
def test_cuda_agrees_with_the_cpu(pixel_format):
    frame = picture_frame(FrameFormat(640, 359, pixel_format))
    on_cpu, on_cuda = (Preprocessor(256, torch.device(kind), torch.float32)(frame).cpu() for kind in ("cpu", "cuda"))
    assert np.abs(levels(on_cuda) - levels(on_cpu)).max() <= 3


def test_an_rgb_picture_comes_out_as_from_the_official_loader(tmp_path):
    frame = picture_frame(FrameFormat(320, 240, "rgb24"))
    Image.fromarray(frame.planes[0].reshape(240, 320, 3)).save(tmp_path / "0.png")
    official, *_ = _load_img_as_tensor(tmp_path / "0.png", 128)
    expected = (official.float() - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    ours = Preprocessor(128, CPU, torch.float32)(frame)
    one_level = 1 / 255 / min(STD)
    assert (ours - expected).abs().max() <= 1.01 * one_level
    assert (ours == expected).float().mean() + ((ours - expected).abs() < 1e-5).float().mean() > 0.9


def test_shape_dtype_and_order_of_colors():
    red = np.zeros((10, 30), dtype=np.uint8)
    red[:, 0::3] = 255
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        result = Preprocessor(64, CPU, dtype)(Frame(0, 0, FrameFormat(10, 10, "rgb24"), (red,), STAMPS))
        assert result.shape == (3, 64, 64)
        assert result.dtype == dtype
        assert result.is_contiguous()
        assert np.abs(levels(result) - (255, 0, 0)).max() < (0.01 if dtype == torch.float32 else 1)


def test_mean_and_std_can_be_set():
    frame = picture_frame(FrameFormat(64, 64, "gray8"))
    result = Preprocessor(64, CPU, torch.float32, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))(frame)
    assert np.abs(255 * result[0].numpy() - frame.planes[0]).max() < 0.01


@pytest.mark.parametrize("pixel_format", FORMATS)
def test_the_result_outlives_the_planes_and_the_next_call(pixel_format):
    fmt = FrameFormat(64, 64, pixel_format)
    preprocessor = Preprocessor(64, CPU, torch.float32)
    planes = tuple(np.full(shape, 200, dtype=np.uint8) for shape in fmt.plane_shapes)
    result = preprocessor(Frame(0, 0, fmt, planes, STAMPS))
    before = result.clone()
    for plane in planes:
        plane[:] = 20
    preprocessor(Frame(1, 0, fmt, planes, STAMPS))
    assert torch.equal(result, before)


def test_planes_that_do_not_fit_their_format():
    frame = Frame(3, 0, FrameFormat(64, 64, "yuv420p"), (np.zeros((64, 64), np.uint8),), STAMPS)
    with pytest.raises(StreamsegError, match=r"frame 3 has planes \(\(64, 64\),\): expected \(\(64, 64\), \(32, 32\)"):
        Preprocessor(64, CPU, torch.float32)(frame)
