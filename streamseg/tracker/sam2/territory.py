"""Which pixels belong to which object of a stream, while objects touch: the memory policy ``contact``.

Two objects touch, both masks cover both, both are remembered, and afterwards both masks lie on the same object. To
prevent that, each object keeps a *territory*: for each cell of its mask, how steadily it has been part of it (a
running mean, 0..1). A territory moves on with the object's velocity. Where another object of the stream has held a
cell for longer, the logit of the mask is lowered by the difference, before the mask is published and remembered.

Own work; a territory is a motion model as in SAMURAI (Yang et al. 2024), for masks instead of boxes and for several
objects. The bank keeps the territories of the two newest frames of each lane, and a frame only reads those of earlier
frames: a batch may be split, and its parts may be tracked in any order, with the same result. All of it is tensor
arithmetic of fixed shape without a value read by the host, except where torch runs it on a CPU without compiling it:
there, lanes of other streams are left out.
"""

from __future__ import annotations

from functools import reduce
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

_LIFE: Final = 45
"""A territory older than this many frames counts for nothing."""
_RATE: Final = 0.35
"""Share of the newest mask in the running mean."""
_FADE: Final = 0.97
"""Share of a territory that is left for each frame on which its object is not seen."""
_MARGIN: Final = 0.05
"""Differences below this lower nothing."""
_HELD: Final = 0.15
"""Nor do cells which the other object holds for less than this."""
_STRENGTH: Final = 60.0
"""Logits per unit of the difference."""
_NEAR: Final = 2
"""Two objects are in contact if their territories are at most this many cells apart."""
_GAIN: Final = 0.3
"""Share of the newest step in the velocity."""
_LARGEST_STEP: Final = 0.025
"""Share of the picture's side that a velocity may change towards, per frame and in each direction."""
_SLOWER: Final = 0.95
"""Share of its velocity that an object keeps on each frame on which it is not seen."""
_AGREEMENT: Final = 0.5
"""In contact, a candidate mask's predicted IoU is raised by this times its IoU with the territory."""

SLOTS: Final = 2
"""Territories that are kept of a lane: when one part of a batch has been tracked, the next reads the older one."""
MOTION: Final = 7
"""Numbers of a lane's motion: velocity, rest of a cell not moved yet, center (x and y each), frames since it began."""

_NO_FRAME: Final = -(1 << 40)
"""Far from every frame, as ``NEVER`` of the bank."""

_PARTS: Final = (slice(0, 2), slice(2, 4), slice(4, 6), slice(6, 7))


class Territories(NamedTuple):
    """What ``B`` lanes hold on a frame, before its masks are known.

    Attributes:
        held: ``[B, h, w]``, 0..1; each lane's territory.
        lowered: ``[B, h, w]``; what others take from the logits.
        touching: ``[B]`` bool; whether another object is near.
        motion: ``[B, 7]``; as stored, moved to this frame.
    """

    held: Tensor
    lowered: Tensor
    touching: Tensor
    motion: Tensor


def at_frame(
    territory: Tensor, motion: Tensor, territory_frame: Tensor, stream: Tensor, lanes: Tensor, frames: Tensor
) -> Territories:
    """Move the newest earlier territories of all lanes to each lane's frame, and compare them.

    Args:
        territory: ``[L, 2, h, w]``; of the bank.
        motion: ``[L, 2, 7]``; of the bank.
        territory_frame: ``[L, 2]``; the frames that they are of.
        stream: ``[L]``; the stream of each lane; negative: none.
        lanes: ``[B]``; the lanes to track.
        frames: ``[B]``; their frames.
    """
    # Lanes of one stream are on one frame, and lanes of other streams do not count.
    same = (stream[None] == stream[lanes][:, None]) & (stream[None] >= 0)
    own = torch.arange(len(stream), device=stream.device)[None] == lanes[:, None]
    every, shift = torch.arange(len(stream), device=stream.device), _shift
    if stream.device.type == "cpu" and not torch.compiler.is_compiling():
        every, shift = (same | own).any(0).nonzero()[:, 0], _shift_by_slices
        same, own = same[:, every], own[:, every]
    place = own.int().argmax(1)
    now = torch.where(same, frames[:, None], -1).amax(0)
    territory_frame = territory_frame[every]
    held_frame, slot = torch.where(territory_frame < now[:, None], territory_frame, _NO_FRAME).max(1)
    motion = motion[every, slot]
    age = now - held_frame
    counts = age <= _LIFE
    age = torch.where(counts, age, 0).float()
    way = motion[:, 2:4] + motion[:, :2] * age[:, None]
    cells = way.round()
    moved = shift(territory[every, slot], cells.long()) * (counts * _FADE ** (age - 1).clamp(min=0))[:, None, None]
    moved_motion = torch.cat(
        [motion[:, :2], way - cells, motion[:, 4:6] + motion[:, :2] * age[:, None], motion[:, 6:]], 1
    )
    moved_motion = moved_motion * counts[:, None]
    held = moved[place]
    rivals = torch.where((same & ~own)[:, :, None, None], moved[None], 0.0).amax(1)
    more = rivals - held
    lowered = torch.where((more > _MARGIN) & (rivals > _HELD), _STRENGTH * more, 0.0)
    around = _widened((held > 0.5).float())
    touching = (around * (rivals > 0.5)).flatten(1).amax(1) > 0
    return Territories(held, lowered, touching, moved_motion[place])


def slot_to_write(territory_frame: Tensor, frames: Tensor) -> Tensor:
    """Return where the territories of frames ``[B]`` go: ``[B]``.

    Args:
        territory_frame: ``[B, 2]``; what the lanes hold.
        frames: ``[B]``; a frame that is tracked again keeps its place, another takes that of the oldest.
    """
    return torch.where(territory_frame == frames[:, None], _NO_FRAME - 1, territory_frame).argmin(1)


def agreement(masks: Tensor, territories: Territories) -> Tensor:
    """Return what is added to the predicted IoU of candidate masks ``[B, N, h, w]``: ``[B, N]``, 0 without contact."""
    found, held = (masks > 0).float(), territories.held[:, None]
    shared = torch.minimum(found, held).flatten(2).sum(2)
    together = torch.maximum(found, held).flatten(2).sum(2)
    return _AGREEMENT * territories.touching[:, None] * shared / together.clamp(min=1)


def renewed(before: Territories, mask_logits: Tensor, object_score_logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the territories ``[B, h, w]`` and motions ``[B, 7]`` after a tracked frame.

    Args:
        before: On that frame, before its masks were known.
        mask_logits: ``[B, h, w]``.
        object_score_logits: ``[B]``.
    """
    mask = (mask_logits > 0).float()
    seen = (object_score_logits > 0) & (mask.flatten(1).amax(1) > 0)
    velocity, rest, center, known = (before.motion[:, part] for part in _PARTS)
    started = known > 0
    mean = (1 - _RATE) * before.held + _RATE * mask
    territory = torch.where(started[:, :, None], mean, mask)
    territory = torch.where(seen[:, None, None], territory, _FADE * before.held)
    found = _center(mask)
    # The center that is held was moved by the velocity already.
    limit = _LARGEST_STEP * mask.shape[-1]
    step = (found - center + velocity).clamp(-limit, limit)
    gain = torch.where(known == 1, 1.0, _GAIN) * started
    moved = torch.where(seen[:, None], velocity + gain * (step - velocity), velocity * _SLOWER)
    center = torch.where(seen[:, None], found, center)
    return territory, torch.cat([moved, rest, center, known + seen[:, None]], dim=1)


def _center(mask: Tensor) -> Tensor:
    """Return the centers of masks ``[B, h, w]`` of 0 and 1: ``[B, 2]``, x and y."""
    height, width = mask.shape[1:]
    area = mask.flatten(1).sum(1).clamp(min=1)
    x = (mask.sum(1) * torch.arange(width, device=mask.device)).sum(1) / area
    y = (mask.sum(2) * torch.arange(height, device=mask.device)).sum(1) / area
    return torch.stack([x, y], dim=1)


def _widened(maps: Tensor) -> Tensor:
    """Return the largest value within :data:`_NEAR` cells, of maps ``[B, h, w]``; pooling is slower on a CPU."""
    height, width = maps.shape[1:]
    steps, padded = range(2 * _NEAR + 1), functional.pad(maps, (_NEAR, _NEAR, _NEAR, _NEAR))
    rows = reduce(torch.maximum, [padded[:, step : step + height] for step in steps])
    return reduce(torch.maximum, [rows[:, :, step : step + width] for step in steps])


def _shift(values: Tensor, cells: Tensor) -> Tensor:
    """Move maps ``[L, h, w]`` right and down by ``[L, 2]`` cells; what comes in from outside is 0."""
    height, width = values.shape[1:]
    x = torch.arange(width, device=values.device)[None] - cells[:, :1]
    y = torch.arange(height, device=values.device)[None] - cells[:, 1:]
    inside = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None]
    rows = values.gather(1, y.clamp(0, height - 1)[:, :, None].expand_as(values))
    return rows.gather(2, x.clamp(0, width - 1)[:, None].expand_as(values)) * inside


def _shift_by_slices(values: Tensor, cells: Tensor) -> Tensor:
    """As :func:`_shift`, several times faster on a CPU: it reads the numbers of cells."""
    height, width = values.shape[1:]
    moved = torch.zeros_like(values)
    for new, old, (x, y) in zip(moved, values, cells.tolist(), strict=True):
        if abs(x) < width and abs(y) < height:
            new[max(y, 0) : height + min(y, 0), max(x, 0) : width + min(x, 0)] = old[
                max(-y, 0) : height - max(y, 0), max(-x, 0) : width - max(x, 0)
            ]
    return moved
