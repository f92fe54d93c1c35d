"""Converts a captured frame to the model's input.

The reference (``sam2/utils/misc.py``, ``_load_img_as_tensor``) resizes an RGB picture to a square with PIL (bicubic,
antialiased, rounded to 8 bit), divides by 255 and normalizes. This module does the same from every pixel layout of the
ring: it repeats chroma to full size as FFmpeg does by default, applies the color matrix and rounds, then resizes and
normalizes. On the CPU the steps are 8-bit kernels of OpenCV and torch. On a device, the raw planes are uploaded and
everything runs there in float32.

The resize has two passes, and the result is rounded to 8 bit after each, so their order matters.
:func:`resizes_vertically_first` follows the installed Pillow.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from importlib import metadata
from typing import Final

import torch
from torch.nn import functional

from streamseg.errors import StreamsegError
from streamseg.frame import ColorMatrix, Frame, FrameFormat, Plane, yuv_to_rgb_matrix
from streamseg.tracker.rgb import RgbConverter

MEAN: Final = (0.485, 0.456, 0.406)
"""Mean of RGB in 0..1 for the normalization of the models' input."""
STD: Final = (0.229, 0.224, 0.225)
"""Its standard deviation."""


class Preprocessor:
    """Converts frames to model input.

    Not thread-safe. ``docs/models.md`` lists its cost and its error.

    Args:
        image_size: Side of the square model input in pixels.
        device: Device of the result.
        dtype: Type of the result; the arithmetic is float32 or 8-bit.
        mean: Mean of RGB, in 0..1.
        std: Standard deviation of RGB, in 0..1.
    """

    def __init__(
        self,
        image_size: int,
        device: torch.device,
        dtype: torch.dtype,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
    ) -> None:
        self._side = (image_size, image_size)
        self._device = device
        self._dtype = dtype
        mean_rgb, std_rgb = (torch.tensor(values, dtype=torch.float64).view(3, 1, 1) for values in (mean, std))
        self._scale = (1 / (255 * std_rgb)).to(device, torch.float32)
        self._shift = (-mean_rgb / std_rgb).to(device, torch.float32)
        self._to_rgb = RgbConverter()

    def __call__(self, frame: Frame) -> torch.Tensor:
        """Return ``dtype [3, image_size, image_size]``: normalized RGB on the device.

        The frame's planes are not used after this returns.

        Raises:
            StreamsegError: The planes do not match the frame's format.
        """
        return self.normalize(self.resize(frame))

    def resize(self, frame: Frame) -> torch.Tensor:
        """Return ``uint8 [3, image_size, image_size]`` RGB on the device (``[1, ...]`` for gray): a compact copy.

        Raises:
            StreamsegError: The planes do not match the frame's format.
        """
        shapes = tuple(plane.shape for plane in frame.planes)
        if shapes != frame.format.plane_shapes:
            raise StreamsegError(f"frame {frame.frame_id} has planes {shapes}: expected {frame.format.plane_shapes}")
        if self._device.type == "cpu":
            return self._resize_8bit(self._to_rgb(frame))
        return self._resize_float(self._upload(frame), frame.format).to(torch.uint8)  # already integers

    def resize_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """Scale the result of another preprocessor's :meth:`resize` to this one's size."""
        scaled = functional.interpolate(pixels[None].float(), size=self._side, mode="bilinear", antialias=True)
        return scaled[0].round().clamp(0, 255).to(torch.uint8)

    def normalize(self, pixels: torch.Tensor) -> torch.Tensor:
        """Convert the result of :meth:`resize` to ``dtype [3, image_size, image_size]``."""
        return torch.addcmul(self._shift, pixels.float(), self._scale).to(self._dtype)

    def _resize_8bit(self, rgb: Plane) -> torch.Tensor:
        """Return ``uint8 [3, S, S]``, nearly equal to PIL's result; torch's fast kernel needs channels last."""
        picture = _tensor(rgb).permute(2, 0, 1)[None]
        height, width = rgb.shape[:2]
        if resizes_vertically_first((width, height), self._side[0]):  # the kernel itself starts horizontally
            picture = functional.interpolate(picture, size=(self._side[0], width), mode="bicubic", antialias=True)
        resized = functional.interpolate(picture, size=self._side, mode="bicubic", antialias=True)
        return resized[0].contiguous()

    def _upload(self, frame: Frame) -> list[torch.Tensor]:
        # The planes have at most a quarter of the bytes of float RGB. The pinned copies outlive the frame: torch's
        # host allocator keeps them until the transfer is done.
        return [_tensor(plane).pin_memory().to(self._device, non_blocking=True) for plane in frame.planes]

    def _resize_float(self, planes: Sequence[torch.Tensor], fmt: FrameFormat) -> torch.Tensor:
        """Return ``float32 [3, S, S]`` in 0..255 (``[1, S, S]`` for gray).

        In PIL's order and rounded to 8 bit after each pass: in a single pass, bright edges overshoot and differ by up
        to 5 levels.
        """
        picture = _float_rgb(planes, fmt)[None]
        side = self._side[0]
        vertically_first = resizes_vertically_first((fmt.width, fmt.height), side)
        # Torch's float kernel returns wrong rows (up to 217 levels off) for pictures that are one pixel wide. Use two
        # equal columns instead.
        picture = picture.expand(-1, -1, -1, max(fmt.width, 2))
        for size in ((side, picture.shape[-1]) if vertically_first else (fmt.height, side), self._side):
            picture = functional.interpolate(picture, size=size, mode="bicubic", antialias=True).clamp_(0, 255).round_()
        return picture[0]


def resizes_vertically_first(size: tuple[int, int], side: int) -> bool:
    """Return whether the installed Pillow resizes a picture of (width, height) to a square vertically first.

    From version 13 on it does so if that removes more than twice as many rows as the horizontal pass removes columns
    (https://github.com/python-pillow/Pillow/pull/9549). A test compares this rule with the installed version.
    """
    width, height = size
    return _pillow_major() >= 13 and height - side > 2 * max(width - side, 0)


@functools.cache
def _pillow_major() -> int:
    return int(metadata.version("pillow").split(".")[0])


def _float_rgb(planes: Sequence[torch.Tensor], fmt: FrameFormat) -> torch.Tensor:
    """Return ``float32 [3, height, width]`` in 0..255 (``[1, ...]`` for gray) on the planes' device."""
    h, w = fmt.height, fmt.width
    match fmt.pixel_format:
        case "rgb24":
            return planes[0].view(h, w, 3).permute(2, 0, 1).float()
        case "bgr24":
            return planes[0].view(h, w, 3).permute(2, 0, 1).flip(0).float()
        case "gray8":
            return planes[0][None].float()
        case "yuv420p":
            chroma = torch.stack(tuple(planes[1:]))
        case "nv12":
            chroma = planes[1].view(planes[1].shape[0], -1, 2).permute(2, 0, 1)
    doubled = functional.interpolate(chroma[None].float(), scale_factor=2.0, mode="nearest")[0, :, :h, :w]
    yuv = torch.cat((planes[0][None].float(), doubled))
    matrix = _matrix(fmt.matrix, fmt.full_range, yuv.device)
    rgb = torch.einsum("ij,jhw->ihw", matrix[:, :3], yuv) + matrix[:, 3].view(3, 1, 1)
    return rgb.clamp_(0, 255).round_()


@functools.cache  # uploading a constant makes the host wait for all queued work
def _matrix(matrix: ColorMatrix, full_range: bool, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(yuv_to_rgb_matrix(matrix, full_range)).to(device)


def _tensor(plane: Plane) -> torch.Tensor:
    """Return a tensor that shares a plane's memory. Torch warns of read-only memory; nothing here writes to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(plane)
