"""Computes image features of a picture exactly as ``SAM2ImagePredictor.set_image`` does.

Unlike the tracker, which follows the video predictor (PIL, bicubic, 8 bit), sam2 resizes single pictures in float32,
bilinearly and antialiased.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamseg.errors import PromptError
from streamseg.images.encoder import encode
from streamseg.images.model import ImageModel
from streamseg.tracker.preprocess import MEAN, STD
from streamseg.tracker.sam2.image_encoder import has_published_neck

Picture = NDArray[np.uint8]
"""``uint8 [H, W, 3]`` RGB."""


class Embedding(NamedTuple):
    """Features of one picture.

    Attributes:
        top: ``[1, C, h, w]`` at stride 16, with ``no_mem_embed`` added.
        stride8: ``[1, C / 4, 2h, 2w]``.
        stride4: ``[1, C / 8, 4h, 4w]``.
        size: (width, height) of the picture.
    """

    top: Tensor
    stride8: Tensor
    stride4: Tensor
    size: tuple[int, int]


def check_picture(picture: Any) -> Picture:
    """Return a picture as ``uint8 [H, W, 3]``; takes PIL images too.

    Raises:
        PromptError: It is something else, or has no pixels.
    """
    if not isinstance(picture, np.ndarray) and hasattr(picture, "convert"):
        picture = np.array(picture.convert("RGB"))
    if not isinstance(picture, np.ndarray):
        raise PromptError(f"a {type(picture).__name__} is not a picture: expected a uint8 array [height, width, 3]")
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise PromptError(
            f"the picture is {picture.dtype} of shape {picture.shape}: expected uint8 RGB of shape [height, width, 3]"
        )
    if picture.size == 0:
        raise PromptError(f"the picture has shape {picture.shape}, no pixels: expected at least one")
    return np.require(picture, requirements=["C", "W"])


def model_input(picture: Picture, image_size: int) -> Tensor:
    """Return ``float32 [1, 3, image_size, image_size]``, normalized."""
    from torchvision.transforms.functional import normalize, resize, to_tensor  # loads torch's compiler: seconds

    resized: Tensor = resize(to_tensor(picture), [image_size, image_size], antialias=True)
    image: Tensor = normalize(resized, list(MEAN), list(STD))
    return image[None]


def embed(model: ImageModel, picture: Picture, *, exact: bool = True) -> Embedding:
    """Encode a picture. Call it within ``model.precision()``.

    Args:
        model: The model.
        picture: The picture.
        exact: The reference's bits; otherwise equal up to rounding, with less memory.
    """
    height, width = picture.shape[:2]
    image = model_input(picture, model.image_size).to(model.device)
    if exact or not has_published_neck(model.network):
        return embed_tensor(model, image, (width, height))
    top, stride8, stride4 = encode(model.network, image)
    if model.network.directly_add_no_mem_embed:
        top = top + model.network.no_mem_embed.view(1, -1, 1, 1)
    return Embedding(top, stride8, stride4, (width, height))


def embed_tensor(model: ImageModel, image: Tensor, size: tuple[int, int]) -> Embedding:
    """Encode ``[1, 3, image_size, image_size]``, normalized, of a picture of (width, height)."""
    network = model.network
    _, features, _, sizes = network._prepare_backbone_features(network.forward_image(image))
    if network.directly_add_no_mem_embed:
        features[-1] = features[-1] + network.no_mem_embed
    # The predictor hard-codes the sizes for 1024 px; these are the model's.
    stride4, stride8, top = (
        level.permute(1, 2, 0).view(1, -1, *shape) for level, shape in zip(features[-3:], sizes[-3:], strict=True)
    )
    return Embedding(top, stride8, stride4, size)


def to_device(values: NDArray[Any], model: ImageModel) -> Tensor:
    """Return an array as float32 on the model's device."""
    return torch.as_tensor(values, dtype=torch.float32, device=model.device)
