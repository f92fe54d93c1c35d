"""Decides which pixels belong to which object of a stream where objects touch: the memory policy ``contact``.

When two objects touch, both masks may cover both objects. Both masks are remembered, and afterwards lie on the same
object. Memory attention and decoder see each object alone, so they cannot prevent that. Colors can: each object has a
*look*, the histogram of the colors inside its mask on the prompted frame. Where another object of the stream was on the
previous frame, and its look explains the picture better than the object's own, the logit of the object's mask is
lowered before the mask is published and remembered. Objects that look alike are told apart by their motion
(:mod:`streamseg.tracker.sam2.motion`).

A mask that covers another object with a different look is *mixed*. One that touches another object and has other
colors than its own look is *foreign*: it has slid onto the background. The spatial memory skips such frames, and frames
on which the object was not seen.

Color histograms of tracked objects come from mean-shift tracking (Comaniciu et al. 2003), the decision between two of
them by their ratio from Collins and Liu (2003); their use for masks of several objects is our own. A frame reads only
masks of earlier frames, so a batch may be split and its parts tracked in any order with the same result. Everything is
tensor arithmetic of fixed shape, and the host reads no value, except in eager torch on a CPU, where lanes of other
streams are left out.
"""

from __future__ import annotations

from functools import reduce
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from streamseg.tracker.preprocess import MEAN, STD
from streamseg.tracker.sam2.memory_policy import NEVER
from streamseg.tracker.sam2.motion import apart, later, measured, nearer_to_another

BINS: Final = (8, 16, 16)
"""Colors are distinguished by luma and two chroma differences, as in YCbCr."""
COLORS: Final = BINS[0] * BINS[1] * BINS[2]

_CHROMA_RANGE: Final = 0.35
"""Chroma, at most 0.5, is clipped here: hardly any picture has more."""
_UNKNOWN: Final = 2e-3
"""Added to the share of each color in a look: a color missing from the prompted frame proves little."""
_MARGIN: Final = 0.3
"""A log ratio below this is ignored, of colors or of places."""
_STRENGTH: Final = 40.0
"""Logits per unit of the log ratio above that."""
_SUREST: Final = 6.0
"""The largest log ratio of places that counts, about that of colors: float16 holds its logits."""
_NEAR: Final = 2
"""Another object is considered up to this many cells around its last mask."""
_SHARED: Final = 0.25
"""Two masks are merged if they share more than this part of the smaller one,"""
_ALIKE: Final = 0.65
"""and mixed if the looks of their objects agree by less than this, too (Bhattacharyya coefficient)."""
_FOREIGN: Final = 1.0
"""A mask is foreign if the mean log share of its colors is this much lower than that of the look's own colors."""

SLOTS: Final = 2
"""Number of masks kept per lane: after one part of a batch is tracked, the next part reads the older ones."""


def _to_bins() -> tuple[tuple[float, float, float, float], ...]:
    """Return for luma and both chromas the factors of normalized red, green and blue, and the offset."""
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    luma = torch.tensor([0.299, 0.587, 0.114])  # BT.601, like the two factors of chroma
    blue, red = 0.564 * (torch.eye(3)[2] - luma), 0.713 * (torch.eye(3)[0] - luma)
    bins = torch.tensor(BINS, dtype=torch.float32)
    matrix = torch.stack([luma, blue / (2 * _CHROMA_RANGE), red / (2 * _CHROMA_RANGE)]) * bins[:, None]
    offset = matrix @ mean + torch.tensor([0, 0.5, 0.5]) * bins
    rows = torch.cat([matrix * std, offset[:, None]], dim=1).tolist()
    return tuple((red, green, blue, added) for red, green, blue, added in rows)


_TO_BINS: Final = _to_bins()
"""Plain numbers: a tensor would be copied to the device for each frame, which CUDA graphs cannot record."""


class Evidence(NamedTuple):
    """Evidence about ``B`` lanes from other objects of their streams, before a frame's masks are known.

    Attributes:
        lowered: ``[B, h, w]``; subtracted from the logits.
        mixed: ``[B]`` bool; whether the lane's last mask covered another object with a different look.
        mask_frame: ``[B]``; the frame of that mask.
        motion: ``[B, MOTION_FIELDS]``; the lane's motion for the frame, see :mod:`streamseg.tracker.sam2.motion`; zeros
            if it has no look-alike.
        last: ``[B, h, w]`` float32, 0 or 1; that mask if it touches another object's, and the lane has no look-alike;
            else zeros.
        own: ``[B, h, w]``; how well the lane's own look explains each cell: the log share of its colors, less that of
            the look's own colors; zeros if that mask touches no other one.
    """

    lowered: Tensor
    mixed: Tensor
    mask_frame: Tensor
    motion: Tensor
    last: Tensor
    own: Tensor

    def foreign(self, masks: Tensor) -> Tensor:
        """Return which masks ``[B, h, w]`` bool have colors that are not those of their objects: ``[B]`` bool."""
        inside = masks.float()
        return (inside * (self.own + _FOREIGN)).flatten(1).sum(1) < 0


def colors_of(images: Tensor, side: int) -> Tensor:
    """Return the colors of frames, for masks of that side: ``[S, 2 side, 2 side]`` int16, below :data:`COLORS`.

    Args:
        images: ``[S, 3, 4 side, 4 side]``, normalized as the model's input.
        side: Side of masks, in cells.
    """
    red, green, blue = _halved(images.float()).unbind(1)
    # Not a matrix product, which autocast would round.
    y, cb, cr = (
        (to_red * red + to_green * green + to_blue * blue + added).clamp(0, bins - 1).to(torch.int16)
        for (to_red, to_green, to_blue, added), bins in zip(_TO_BINS, BINS, strict=True)
    )
    return ((y * BINS[1] + cb) * BINS[2] + cr).view(-1, 2 * side, 2 * side)


def look_of(colors: Tensor, mask: Tensor) -> Tensor:
    """Return the look of an object: ``[COLORS]``; shares that add up to 1, or all 0 if the mask is empty.

    Args:
        colors: ``[2h, 2w]`` from :func:`colors_of`.
        mask: ``[h, w]`` bool.
    """
    whole = mask.float()[None, None].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    inner = 1 - functional.max_pool2d(1 - whole, 3, 1, 1)  # without the border, whose colors are mixed
    weights = torch.where(inner.sum() > 0, inner, whole).flatten()
    histogram = torch.zeros(COLORS, device=mask.device).index_add(0, colors.flatten().long(), weights)
    return blurred(histogram[None] / weights.sum().clamp(min=1))[0]


def blurred(histograms: Tensor) -> Tensor:
    """Spread histograms ``[N, COLORS]`` over neighboring colors: shares that add up to 1; all 0 if one is empty."""
    values = functional.pad(histograms.view(-1, 1, *BINS), (1,) * 6, mode="replicate")
    for dim in (2, 3, 4):
        length = values.shape[dim] - 2
        before, at, after = (values.narrow(dim, start, length) for start in range(3))
        values = 0.25 * before + 0.5 * at + 0.25 * after
    values = values.flatten(1)
    return values / values.sum(1, keepdim=True).clamp(min=1e-9)


def evidence(
    looks: Tensor,
    masks: Tensor,
    mask_frame: Tensor,
    motion: Tensor,
    stream: Tensor,
    *,
    lanes: Tensor,
    frames: Tensor,
    colors: Tensor,
) -> Evidence:
    """Compare the lanes of a batch with all lanes of their streams.

    Args:
        looks: ``[L, k, COLORS]``; looks on each conditioning frame; zeros: unknown.
        masks: ``[L, SLOTS, h, w]`` bool; the newest masks.
        mask_frame: ``[L, SLOTS]``; their frames.
        motion: ``[L, SLOTS, MOTION_FIELDS]``; the motion for each of those frames.
        stream: ``[L]``; the stream of each lane; negative: none.
        lanes: ``[B]``; the lanes to track.
        frames: ``[B]``; their frames.
        colors: ``[B, 2h, 2w]``; the picture of each.
    """
    # Lanes of one stream are on one frame, and lanes of other streams do not count.
    same = (stream[None] == stream[lanes][:, None]) & (stream[None] >= 0)
    own = torch.arange(len(stream), device=stream.device)[None] == lanes[:, None]
    on_host = stream.device.type == "cpu" and not torch.compiler.is_compiling()
    if on_host:
        every = (same | own).any(0).nonzero()[:, 0]
        looks, masks, mask_frame, motion, stream = (
            values[every] for values in (looks, masks, mask_frame, motion, stream)
        )
        same, own = same[:, every], own[:, every]
        if len(every) == len(lanes) == 1:  # a single object, the usual case, costs nothing
            nothing = torch.zeros(1, *masks.shape[2:])
            never = torch.full_like(frames, NEVER)
            return Evidence(
                nothing, torch.zeros(1, dtype=torch.bool), never, torch.zeros_like(motion[:, 0]), nothing, nothing
            )
    looks, known = _mean_looks(looks)
    shares = (looks + _UNKNOWN).log()
    place, picture = own.int().argmax(1), (same | own).int().argmax(0)
    now = torch.where(same | own, frames[:, None], -1).amax(0)
    held_frame, slot = torch.where(mask_frame < now[:, None], mask_frame, NEVER).max(1)
    rows = torch.arange(len(slot), device=slot.device)
    holds = held_frame >= 0
    held = (masks[rows, slot] & holds[:, None, None]).float()
    wide = _widened(held)

    rival = (stream[None] == stream[:, None]) & (stream >= 0)[None] & (rows[None] != rows[:, None])
    rival &= known[None] & known[:, None]
    areas, roots = held.flatten(1), looks.sqrt()
    size = areas.sum(1)
    merged = areas @ areas.t() > _SHARED * torch.minimum(size[:, None], size[None]).clamp(min=1)
    merged &= rival & (held_frame[:, None] == held_frame[None])
    alike = roots @ roots.t() >= _ALIKE

    cells = _cell_shares(shares, colors[picture])
    fit = _smoothed(cells)
    near = wide[None] * rival[place][:, :, None, None]
    lowered = (_STRENGTH * functional.relu(fit[None] - fit[place][:, None] - _MARGIN) * near).amax(1)
    alike_rival = alike & rival
    follows = holds & alike_rival.any(1)
    moving = torch.where(follows[:, None], motion[rows, slot], 0.0)
    if not on_host or bool(follows.any()):
        # What is stored with a mask is the motion before it; the mask itself is measured for the next frame, here.
        moving, crossing = measured(moving, held, merged, alike_rival)
        moving = torch.where(follows[:, None], later(moving, now - held_frame), 0.0)
        parted = crossing | apart(moving, size > 0, alike_rival)
        if not on_host or bool(parted.any()):
            nearer = functional.relu(nearer_to_another(moving, place, held.shape[1]) - _MARGIN)
            near = (torch.maximum(wide[None], wide[place][:, None]) > 0) & parted[place][:, :, None, None]
            lowered = torch.maximum(lowered, _STRENGTH * torch.where(near, nearer.clamp(max=_SUREST), 0.0).amax(1))
    mixed = (merged & ~alike).any(1)
    flat = wide.flatten(1)
    touches = (rival & (flat @ flat.t() > 0)).any(1)
    last = held * (touches & ~follows)[:, None, None]
    explained = torch.where(touches[:, None, None], cells - (looks * shares).sum(1)[:, None, None], 0.0)
    return Evidence(lowered, mixed[place], held_frame[place], moving[place], last[place], explained[place])


def slot_to_write(mask_frame: Tensor, frames: Tensor) -> Tensor:
    """Return where the masks of frames ``[B]`` go: ``[B]``.

    Args:
        mask_frame: ``[B, SLOTS]``; what the lanes hold.
        frames: ``[B]``; a frame tracked again keeps its slot, a new one replaces the oldest.
    """
    return torch.where(mask_frame == frames[:, None], NEVER - 1, mask_frame).argmin(1)


def _mean_looks(looks: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean of the known looks ``[L, k, COLORS]`` of each lane, ``[L, COLORS]``, and whether there is any."""
    known = looks.sum(2) > 0
    return (looks * known[:, :, None]).sum(1) / known.sum(1).clamp(min=1)[:, None], known.any(1)


def _cell_shares(shares: Tensor, colors: Tensor) -> Tensor:
    """Return the mean log share of each cell's colors in each look, ``[L, h, w]``.

    Args:
        shares: ``[L, COLORS]``; the log share of each color in each look.
        colors: ``[L, 2h, 2w]``; the pictures.
    """
    return _halved(shares.gather(1, colors.flatten(1).long()).view(colors.shape))


def _smoothed(maps: Tensor) -> Tensor:
    """Return the means of each cell of ``[L, h, w]`` and its neighbors: single cells mean little."""
    cells = functional.pad(maps, (1, 1, 1, 1))
    rows = cells[:, :-2] + cells[:, 1:-1] + cells[:, 2:]
    return (rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]) / 9


def _halved(maps: Tensor) -> Tensor:
    """Return the means of 2x2 values of ``[..., 2h, 2w]``: ``[..., h, w]``; pooling is slower on a CPU."""
    rows = maps[..., ::2, :] + maps[..., 1::2, :]
    return 0.25 * (rows[..., ::2] + rows[..., 1::2])


def _widened(maps: Tensor) -> Tensor:
    """Return the maximum within :data:`_NEAR` cells of maps ``[B, h, w]``; pooling is slower on a CPU."""
    height, width = maps.shape[1:]
    steps, padded = range(2 * _NEAR + 1), functional.pad(maps, (_NEAR, _NEAR, _NEAR, _NEAR))
    rows = reduce(torch.maximum, [padded[:, step : step + height] for step in steps])
    return reduce(torch.maximum, [rows[:, :, step : step + width] for step in steps])
