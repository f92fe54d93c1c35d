"""From a captured frame to the model's input.

The reference (``sam2/utils/misc.py``, ``_load_img_as_tensor``) takes an RGB picture, resizes it to a square with PIL
(bicubic, antialiased, rounded to 8 bit), divides by 255 and normalises. The same is done here, from any pixel layout
of the ring: chroma is repeated to full size as FFmpeg does it by default, the colour matrix is applied and rounded,
then the picture is resized and normalised. On the CPU the steps are OpenCV's and torch's 8-bit kernels; on a device the
raw planes are uploaded and everything is done there in float32.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from streamseg.errors import StreamsegError
from streamseg.frame import ColourMatrix, Frame, FrameFormat, Plane

_LUMA_WEIGHTS: Final[dict[ColourMatrix, tuple[float, float]]] = {
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
}
"""Shares of red and blue in luma (ITU-R BT.601, BT.709, BT.2020 non-constant luminance)."""


def yuv_to_rgb_matrix(matrix: ColourMatrix, full_range: bool) -> NDArray[np.float32]:
    """Return ``float32 [3, 4]``: RGB = result @ (Y, U, V, 1), all in 0..255."""
    red, blue = _LUMA_WEIGHTS[matrix]
    green = 1.0 - red - blue
    luma, chroma, black = (1.0, 1.0, 0.0) if full_range else (255 / 219, 255 / 224, 16.0)
    coefficients = np.array(
        [
            [1.0, 0.0, 2 * (1 - red)],
            [1.0, -2 * (1 - blue) * blue / green, -2 * (1 - red) * red / green],
            [1.0, 2 * (1 - blue), 0.0],
        ]
    ) * (luma, chroma, chroma)
    offset = -coefficients @ (black, 128.0, 128.0)
    return np.concatenate([coefficients, offset[:, None]], axis=1).astype(np.float32)


class RgbConverter:
    """Turns frames of any layout into 8-bit RGB on the CPU.

    Keeps scratch memory for the largest frame so far: a fresh 6 MB array for each 1080p frame costs more in page
    faults than the conversion itself.
    """

    def __init__(self) -> None:
        self._scratch: dict[str, Plane] = {}

    def __call__(self, frame: Frame) -> Plane:
        """Return ``uint8 [height, width, 3]`` RGB.

        Lifetime: valid until the next call and no longer than the frame: an ``rgb24`` frame is returned as it is.
        """
        fmt = frame.format
        h, w = fmt.height, fmt.width
        match fmt.pixel_format:
            case "rgb24":
                return frame.planes[0].reshape(h, w, 3)
            case "bgr24":
                rgb = self._take("rgb", (h, w, 3))
                return _array(cv2.cvtColor(frame.planes[0].reshape(h, w, 3), cv2.COLOR_BGR2RGB, rgb))
            case "gray8":
                return _array(cv2.cvtColor(frame.planes[0], cv2.COLOR_GRAY2RGB, self._take("rgb", (h, w, 3))))
            case "yuv420p" | "nv12":
                luma, *chroma = _yuv_planes(fmt, frame.planes)
                full = [self._double(name, plane)[:h, :w] for name, plane in zip("uv", chroma, strict=True)]
                yuv = cv2.merge((luma, *full), self._take("yuv", (h, w, 3)))
                matrix = yuv_to_rgb_matrix(fmt.matrix, fmt.full_range)
                return _array(cv2.transform(yuv, matrix, self._take("rgb", (h, w, 3))))

    def _double(self, name: str, plane: Plane) -> Plane:
        """Repeat each sample twice in both directions: a 16-bit product writes two equal bytes at once."""
        rows, columns = plane.shape
        out = self._take(name, (2 * rows, 2 * columns))
        np.multiply(plane, 257, out=out.view(np.uint16)[0::2], dtype=np.uint16)
        out[1::2] = out[0::2]
        return out

    def _take(self, name: str, shape: tuple[int, ...]) -> Plane:
        size = int(np.prod(shape))
        if name not in self._scratch or self._scratch[name].size < size:
            self._scratch[name] = np.empty(size, dtype=np.uint8)
        return self._scratch[name][:size].reshape(shape)


class Preprocessor:
    """Turns frames into model input.

    Used by one thread. Measured on two Zen 4 cores from 1080p ``yuv420p``: see ``docs/models.md``.

    Args:
        image_size: Side of the square model input in pixels.
        device: Where the result lies.
        dtype: Of the result; the arithmetic is float32 or 8-bit.
        mean: Of RGB, in 0..1.
        std: Of RGB, in 0..1.
    """

    def __init__(
        self,
        image_size: int,
        device: torch.device,
        dtype: torch.dtype,
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
    ) -> None:
        self._side = (image_size, image_size)
        self._device = device
        self._dtype = dtype
        mean_rgb, std_rgb = (torch.tensor(values, dtype=torch.float64).view(3, 1, 1) for values in (mean, std))
        self._scale = (1 / (255 * std_rgb)).to(device, torch.float32)
        self._shift = (-mean_rgb / std_rgb).to(device, torch.float32)
        self._to_rgb = RgbConverter()

    def __call__(self, frame: Frame) -> torch.Tensor:
        """Return ``dtype [3, image_size, image_size]``: normalised RGB on the device.

        The frame's planes are not used after the return.

        Raises:
            StreamsegError: the planes are not what the frame's format says.
        """
        shapes = tuple(plane.shape for plane in frame.planes)
        if shapes != frame.format.plane_shapes:
            raise StreamsegError(f"frame {frame.frame_id} has planes {shapes} in place of {frame.format.plane_shapes}")
        if self._device.type == "cpu":
            resized = self._resize_8bit(self._to_rgb(frame))
        else:
            resized = self._resize_float(self._upload(frame), frame.format)
        return torch.addcmul(self._shift, resized, self._scale).to(self._dtype)

    def _resize_8bit(self, rgb: Plane) -> torch.Tensor:
        """``float32 [3, S, S]`` in 0..255. Within one level of PIL; torch's vectorised kernel wants channels last."""
        picture = _tensor(rgb).permute(2, 0, 1)[None]
        resized = functional.interpolate(picture, size=self._side, mode="bicubic", antialias=True)
        return resized[0].contiguous().float()

    def _upload(self, frame: Frame) -> list[torch.Tensor]:
        # Planes as they are: a quarter of the bytes of float RGB, or less. The pinned copies outlive the frame: torch's
        # host allocator keeps them until the transfer is done.
        return [_tensor(plane).pin_memory().to(self._device, non_blocking=True) for plane in frame.planes]

    def _resize_float(self, planes: Sequence[torch.Tensor], fmt: FrameFormat) -> torch.Tensor:
        """``float32 [3, S, S]`` in 0..255 (``[1, S, S]`` from grey), rounded where the reference rounds."""
        picture = _float_rgb(planes, fmt)[None]
        resized = functional.interpolate(picture, size=self._side, mode="bicubic", antialias=True)
        return resized[0].clamp_(0, 255).round_()


def _float_rgb(planes: Sequence[torch.Tensor], fmt: FrameFormat) -> torch.Tensor:
    """``float32 [3, height, width]`` in 0..255 (``[1, ...]`` from grey) on the planes' device."""
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
    matrix = torch.from_numpy(yuv_to_rgb_matrix(fmt.matrix, fmt.full_range)).to(yuv.device)
    rgb = torch.einsum("ij,jhw->ihw", matrix[:, :3], yuv) + matrix[:, 3].view(3, 1, 1)
    return rgb.clamp_(0, 255).round_()


def _yuv_planes(fmt: FrameFormat, planes: Sequence[Plane]) -> tuple[Plane, Plane, Plane]:
    if fmt.pixel_format == "nv12":
        return planes[0], planes[1][:, 0::2], planes[1][:, 1::2]
    return planes[0], planes[1], planes[2]


def _tensor(plane: Plane) -> torch.Tensor:
    """Share a plane's memory. The ring's may be read-only, which torch warns of; nothing here writes to them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(plane)


def _array(mat: cv2.typing.MatLike) -> Plane:
    return np.asarray(mat, dtype=np.uint8)
