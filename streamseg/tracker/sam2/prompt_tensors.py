"""Converts points, boxes and masks to the model's inputs, exactly as the official predictor does.

Follows ``SAM2VideoPredictor.add_new_points_or_box`` and ``add_new_mask``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import Tensor
from torch.nn import functional


class GivenPrompt(TypedDict, total=False):
    """A prompt in normalized coordinates (0..1 of width and height). A mask comes without points and box.

    Attributes:
        points_norm: ``[P, 2]`` float32.
        labels: ``[P]`` int; 1 positive, 0 negative.
        box_norm: ``[4]`` float32: x0, y0, x1, y1.
        mask: ``[H, W]`` bool of any size.
    """

    points_norm: Tensor | None
    labels: Tensor | None
    box_norm: Tensor | None
    mask: Tensor | None


@dataclass(frozen=True, slots=True, eq=False)
class PromptTensors:
    """A prompt in the model's coordinates: points or a mask.

    Attributes:
        points: ``[1, P, 2]`` float32 in pixels of the model input; a box is two points and comes first.
        labels: ``[1, P]`` int32; 1 positive, 0 negative, 2 and 3 corners of a box.
        mask: ``[1, 1, image_size, image_size]`` float32 of 0 and 1.
    """

    points: Tensor | None = None
    labels: Tensor | None = None
    mask: Tensor | None = None


def prompt_tensors(
    given: GivenPrompt, earlier: PromptTensors | None, image_size: int, device: torch.device
) -> PromptTensors:
    """Convert a prompt to the model's coordinates. Points add to earlier ones; a box or a mask replaces them.

    Args:
        given: The prompt.
        earlier: The earlier prompt on the same frame.
        image_size: Side of the model input.
        device: Where the result goes.

    Raises:
        ValueError: The prompt is empty, or the numbers of points and labels differ.
    """
    mask, box_norm = given.get("mask"), given.get("box_norm")
    if mask is not None:
        return PromptTensors(mask=mask_tensor(mask, image_size, device))
    points, labels = point_tensors(given.get("points_norm"), given.get("labels"), box_norm, image_size, device)
    if earlier is not None and box_norm is None and earlier.points is not None and earlier.labels is not None:
        points = torch.cat([earlier.points, points], dim=1)
        labels = torch.cat([earlier.labels, labels], dim=1)
    return PromptTensors(points=points, labels=labels)


def point_tensors(
    points_norm: Tensor | None, labels: Tensor | None, box_norm: Tensor | None, image_size: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Convert a box and points to one list of points in pixels of the model input.

    Args:
        points_norm: ``[P, 2]`` float32, 0..1 of width and height.
        labels: ``[P]`` of 0 and 1.
        box_norm: ``[4]`` float32; its corners come first, with labels 2 and 3.
        image_size: Side of the model input.
        device: Where the result goes.

    Returns:
        ``[1, P, 2]`` float32 and ``[1, P]`` int32.

    Raises:
        ValueError: There are neither points nor a box, or the numbers of points and labels differ.
    """
    coords = torch.zeros(0, 2) if points_norm is None else points_norm.float().cpu()
    kinds = torch.zeros(0, dtype=torch.int32) if labels is None else labels.to("cpu", torch.int32)
    if coords.shape != (len(kinds), 2):
        raise ValueError(f"points are {tuple(coords.shape)} and labels {tuple(kinds.shape)}: expected [P, 2] and [P]")
    if box_norm is not None:
        coords = torch.cat([box_norm.float().cpu().reshape(2, 2), coords])
        kinds = torch.cat([torch.tensor([2, 3], dtype=torch.int32), kinds])
    if len(kinds) == 0:
        raise ValueError("the prompt is empty: expected points, a box or a mask")
    return (coords[None] * image_size).to(device), kinds[None].to(device)


def mask_tensor(mask: Tensor, image_size: int, device: torch.device) -> Tensor:
    """Resize a mask to the model input.

    Args:
        mask: ``[H, W]`` bool.
        image_size: Side of the model input.
        device: Where the result goes.

    Returns:
        ``[1, 1, image_size, image_size]`` float32 of 0 and 1.
    """
    full = mask[None, None].float().to(device)
    if full.shape[-2:] == (image_size, image_size):
        return full
    size = (image_size, image_size)
    return (
        functional.interpolate(full, size=size, mode="bilinear", align_corners=False, antialias=True) >= 0.5
    ).float()
