"""Scores of masks at low resolution: a first filter that drops masks that cannot pass at full resolution."""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor

from streamseg.images.parameters import AutomaticParameters
from streamseg.tracker.sam2.point_decoder import Decoded

_MARGIN_OF_BORDER: Final = 1.0
"""Assumed error of a low-res area, as a share of the mask's border pixels."""


class Candidates(NamedTuple):
    """Masks of ``N`` candidates on one crop, in the order of the reference.

    Attributes:
        level: An object is where the logits are above this.
        logits: ``[N, h, w]``. Unless exact, they are ``float16`` and the level is 0: half precision keeps the signs,
            and its error near 0 is a thousandth of the value.
        ious: ``float32 [N]`` on the CPU.
        points: ``float32 [N, 2]`` on the CPU; the prompts in pixels of the crop.
        boxes: ``float32 [N, 4]`` on the CPU; off by about a pixel unless exact, where they are not used.
    """

    level: float
    logits: Tensor
    ious: Tensor
    points: Tensor
    boxes: Tensor


def candidates(found: Decoded, points: Tensor, size: tuple[int, int], values: AutomaticParameters) -> Candidates:
    """Return the candidates of one batch that may pass the filters.

    Args:
        found: Masks with a high enough predicted IoU.
        points: ``float32 [B, 2]``; the batch's prompts in pixels of the crop.
        size: (width, height) of the crop.
        values: The parameters.
    """
    level = values.mask_threshold
    if values.exact:
        return Candidates(
            level, found.logits, found.ious.cpu(), points[found.points].cpu(), torch.zeros(len(found.ious), 4)
        )
    offset, logits = values.stability_score_offset, found.logits if level == 0 else found.logits - level
    outer = (logits > -offset).sum(dim=(1, 2))
    inner = (logits > offset).sum(dim=(1, 2))
    # The error of an area is proportional to its border, which for a round mask grows with the square root of the area.
    margin = _MARGIN_OF_BORDER * 4 * outer.sqrt() / outer.clamp(min=1)
    possible = (inner / outer + margin >= values.stability_score_thresh) & (logits.amax(dim=(1, 2)) > 0)
    logits, chosen = logits[possible], found.keep(possible)
    boxes = low_res_boxes(logits, size)
    return Candidates(0.0, logits.half(), chosen.ious.cpu(), points[chosen.points].cpu(), boxes.cpu())


def joined(parts: list[Candidates]) -> Candidates:
    """Return the candidates of several batches as one."""
    _, *tensors = zip(*parts, strict=True)
    return Candidates(parts[0].level, *(torch.cat(values) for values in tensors))


def low_res_boxes(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Return ``float32 [N, 4]``: the boxes that non-empty masks will have at (width, height), off by about a pixel.

    Interpolates the logits only at the result's pixels nearest to their centers; smaller details are lost. A mask
    begins or ends where the logits cross 0 between two of those rows or columns.
    """
    width, height = size
    rows, columns = _nearest_samples(logits.shape[1], height), _nearest_samples(logits.shape[2], width)
    sampled = _lerp(_lerp(logits, rows, height, 1), columns, width, 2)
    top, bottom = _extent(sampled, rows, height)
    left, right = _extent(sampled.transpose(1, 2), columns, width)
    return torch.stack([left, top, right, bottom], dim=1)


def _nearest_samples(count: int, length: int) -> Tensor:
    """Return, for each of ``count`` low-res rows, the nearest of ``length`` rows."""
    centers = (torch.arange(count) + 0.5) * (length / count) - 0.5
    return centers.round().clamp(0, length - 1).long()


def _lerp(logits: Tensor, samples: Tensor, length: int, dim: int) -> Tensor:
    """Interpolate logits along a dimension at some of the ``length`` rows of the result."""
    count = logits.shape[dim]
    at = ((samples + 0.5) * (count / length) - 0.5).clamp(0, count - 1)
    low = at.long().clamp(max=max(count - 2, 0))
    share = (at - low).to(logits).view(-1, *[1] * (2 - dim))
    low = low.to(logits.device)
    return torch.lerp(logits.index_select(dim, low), logits.index_select(dim, (low + 1).clamp(max=count - 1)), share)


def _extent(logits: Tensor, samples: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Return the first and last of ``length`` rows in which ``[N, h, w]``, given at some rows, will be above 0."""
    places = samples.to(logits)
    first = torch.ceil(_first_crossing(logits, places)).clamp(min=0)
    last = length - 1 - torch.ceil(_first_crossing(logits.flip(1), length - 1 - places.flip(0))).clamp(min=0)
    return first, torch.maximum(first, last)


def _first_crossing(logits: Tensor, places: Tensor) -> Tensor:
    """Return the place where ``[N, h, w]``, with rows at ``places``, first crosses 0; -1 if the first row is above."""
    row = (logits.amax(dim=2) > 0).int().argmax(dim=1)
    lanes, before = torch.arange(len(logits), device=logits.device), (row - 1).clamp(min=0)
    here, there = logits[lanes, row], logits[lanes, before]
    share = torch.where(here > 0, here / (here - there).clamp(min=1e-6), 0.0).amax(dim=1)
    return torch.where(row == 0, -1.0, torch.lerp(places[row], places[before], share))
