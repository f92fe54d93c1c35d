"""Tells look-alikes of a stream apart where they cross, by their motion: part of the memory policy ``contact``.

When two objects of the same colors cross, the decoder gives both of them the upper one, and afterwards nothing in the
picture says which is which. Their motion does. While two objects are apart, place and velocity of each follow its mask.
From the moment in which they touch until they are apart again, each is assumed to move on at its last velocity. Each
mask gives way where the other object is expected to be: if their masks merge or one of them vanishes, and as long as
they are apart.

Trackers of boxes assume a constant velocity for objects that are out of sight, too (SORT, Bewley et al. 2016). The
ratio of two Gaussians around the expected places decides between two objects, as that of their colors does in
:mod:`streamseg.tracker.sam2.appearance`. Its use for masks is our own.

The *motion* of a lane on a frame is a row of :data:`MOTION_FIELDS` numbers: the place where it was last measured (x,
y); its velocity per frame; its shape (variances of x and y, covariance); the number of frames since then; and the doubt
about it. Lengths are shares of the picture's side, so that they hold for every size of the model's input. A shape of
zeros means that nothing is known.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

MOTION_FIELDS: Final = 9
_PLACE, _VELOCITY, _SHAPE, _AGE, _DOUBT = slice(0, 2), slice(2, 4), slice(4, 7), 7, 8

_TOUCHING: Final = 1.0
"""Doubt: the object touches a look-alike. Its place and velocity are not measured."""
_CROSSING: Final = 2.0
"""Doubt: their masks have merged, or one of them has vanished. Its mask gives way to the other one."""

_NEWEST: Final = 0.3
"""Share of the newest measurement in the velocity."""
_CORE: Final = 3.0
"""Cells farther from the center than this many half sides of a square of the same area are specks: not measured."""
_REACH: Final = 2.2
"""How far an object reaches from its center, in standard deviations of its cells: 2 in an ellipse, more with a tail."""
_SPREAD: Final = 1.5
"""Factor of the shapes' variances in the Gaussians. Three times the exact one: the places are only expected."""
_ASTRAY: Final = 4.0
"""Squared distance from the expected place, as a multiple of both variances' sum, that disproves the velocity."""
_FAR: Final = 0.25
"""Look-alikes are apart if they have moved less than this share of their distance: faster ones may change places."""
_LONGEST: Final = 120
"""Frames of doubt after which the motion is forgotten: what stays together does not keep its velocity."""


def measured(motion: Tensor, masks: Tensor, merged: Tensor, alike: Tensor) -> tuple[Tensor, Tensor]:
    """Measure the masks of a frame, and find look-alikes that may be mistaken for each other there.

    Args:
        motion: ``[L, MOTION_FIELDS]``; the motion for the frame, from the frames before it.
        masks: ``[L, h, w]`` float32; the masks on that frame, 0 or 1.
        merged: ``[L, L]`` bool; whether two masks have much in common.
        alike: ``[L, L]`` bool; whether two lanes are of one stream and look alike.

    Returns:
        The motion after the frame, ``[L, MOTION_FIELDS]``, and the pairs that are crossing, ``[L, L]`` bool.
    """
    place, shape = _measure(masks)
    gone = masks.sum((1, 2)) == 0
    doubt, crossing = _in_doubt(motion, place, shape, gone, merged, alike)
    return _after(motion, place, shape, doubt), crossing


def _in_doubt(
    motion: Tensor, place: Tensor, shape: Tensor, gone: Tensor, merged: Tensor, alike: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the doubt about each lane, ``[L]`` float32, and the pairs that are crossing, ``[L, L]`` bool.

    Args: as :func:`measured`, with what :func:`_measure` returns; ``gone``: ``[L]`` bool; whether the mask is empty.
    """
    # A mask that gave way is smaller than its object, so the shape of before counts.
    shape = torch.where(_known(motion)[:, None], motion[:, _SHAPE], shape)
    place = torch.where(gone[:, None], _expected(motion), place)
    between = place[:, None] - place[None]
    x, y = between.unbind(2)
    # The variance of an object along the line to another one, times the square of their distance.
    along = (shape[:, 0, None] * x**2 + shape[:, 1, None] * y**2 + 2 * shape[:, 2, None] * x * y).clamp(min=0)
    near = between.square().sum(2) < _REACH * (along.sqrt() + along.t().sqrt())
    hidden = gone[None] | gone[:, None]  # one of the two
    before = torch.minimum(motion[:, None, _DOUBT], motion[None, :, _DOUBT])
    touching = alike & near & (~hidden | (before >= _TOUCHING))
    crossing = alike & (merged | (touching & (hidden | (before >= _CROSSING))))
    return torch.maximum(_TOUCHING * touching.any(1), _CROSSING * crossing.any(1)), crossing


def _after(motion: Tensor, place: Tensor, shape: Tensor, doubt: Tensor) -> Tensor:
    """Return the motion after a frame, ``[L, MOTION_FIELDS]``.

    Args: as :func:`_in_doubt`, and the ``doubt`` that it returns.
    """
    known, age = _known(motion), motion[:, _AGE]
    moved = (place - motion[:, _PLACE]) / age.clamp(min=1)[:, None]
    # The first change is the velocity; a change over several frames counts as that many.
    newest = torch.where((motion[:, _VELOCITY] == 0).all(1), 1.0, 1 - (1 - _NEWEST) ** age)[:, None]
    velocity = torch.lerp(motion[:, _VELOCITY], moved, newest) * known[:, None]
    now = torch.cat([place, velocity, shape, torch.zeros_like(place)], 1)
    seen = shape[:, :2].sum(1) > 0
    # Seen apart from another one, but not where it was expected: it has not kept its velocity.
    away = (place - _expected(motion)).square().sum(1) > _ASTRAY * motion[:, _SHAPE][:, :2].sum(1)
    astray = (doubt == _TOUCHING) & seen & away
    doubtful = (doubt > 0) & (age < _LONGEST) & ~astray
    forget = (doubt > 0) & ~doubtful
    before = torch.cat([motion[:, :_DOUBT], (doubt * doubtful)[:, None]], 1)
    return torch.where((seen & (doubt == 0))[:, None], now, before) * ~forget[:, None]


def later(motion: Tensor, frames: Tensor) -> Tensor:
    """Return the motion ``[L, MOTION_FIELDS]`` for a frame that is that many frames ``[L]`` later."""
    return torch.cat([motion[:, :_AGE], (motion[:, _AGE] + frames)[:, None], motion[:, _DOUBT:]], 1)


def apart(motion: Tensor, seen: Tensor, alike: Tensor) -> Tensor:
    """Return the pairs of look-alikes that cannot have come near each other since they were measured, ``[L, L]`` bool.

    Args:
        motion: ``[L, MOTION_FIELDS]``; the motion for the current frame.
        seen: ``[L]`` bool; whether the last mask shows the object.
        alike: ``[L, L]`` bool; whether two lanes are of one stream and look alike.
    """
    velocity, expected = motion[:, _VELOCITY], _expected(motion)
    moved = velocity.square().sum(1).sqrt() * motion[:, _AGE]
    distance = (expected[:, None] - expected[None]).square().sum(2).sqrt()
    # A velocity of exactly 0 means measured only once.
    sure = seen & _known(motion) & (velocity != 0).any(1) & (motion[:, _DOUBT] == 0)
    return alike & sure[:, None] & sure[None] & (moved[:, None] + moved[None] < _FAR * distance)


def nearer_to_another(motion: Tensor, place: Tensor, side: int) -> Tensor:
    """Return by how much each cell speaks for another lane and against the own one, by their expected places.

    Args:
        motion: ``[L, MOTION_FIELDS]``; the motion for the current frame.
        place: ``[B]``; the own lanes.
        side: Side of the result, in cells.

    Returns:
        ``[B, L, side, side]``; log ratios, 0 where nothing is known, and where a lane without doubt reaches.
    """
    cells = _cells(side, motion.device)
    expected = _expected(motion)
    from_x, from_y = ((cells - expected[:, axis, None]) for axis in (0, 1))
    distance = from_y.square()[:, :, None] + from_x.square()[:, None, :]
    spread = _SPREAD * motion[:, _SHAPE][:, :2].sum(1)
    ratio = distance[place][:, None] - distance[None]
    ratio = ratio / (spread[place][:, None] + spread[None]).clamp(min=1e-6)[:, :, None, None]
    known = _known(motion)
    # Halfway may be inside the larger one of two objects, so each keeps its own ellipse (Mahalanobis distance).
    xx, yy, xy = motion[place][:, _SHAPE, None, None].unbind(1)
    x, y = from_x[place][:, None, :], from_y[place][:, :, None]
    beyond = xx * y**2 + yy * x**2 - 2 * xy * x * y > _REACH**2 * (xx * yy - xy**2)
    counts = beyond | (motion[place][:, _DOUBT] > 0)[:, None, None]
    return ratio * (known[place][:, None] & known[None])[:, :, None, None] * counts[:, None]


def _expected(motion: Tensor) -> Tensor:
    """Return where lanes ``[L, MOTION_FIELDS]`` are expected: ``[L, 2]``."""
    return motion[:, _PLACE] + motion[:, _AGE, None] * motion[:, _VELOCITY]


def _known(motion: Tensor) -> Tensor:
    """Return whether anything is known about lanes ``[L, MOTION_FIELDS]``: ``[L]`` bool."""
    return motion[:, _SHAPE][:, :2].sum(1) > 0


def _measure(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Measure masks ``[L, h, w]`` float32 of 0 and 1.

    Returns:
        Centers ``[L, 2]``, and variances and covariance of x and y ``[L, 3]``; zeros if a mask is empty.
    """
    side = masks.shape[1]
    cells = _cells(side, masks.device)
    x, y, area = _centers(masks, cells)
    away = (cells - x[:, None]).square()[:, None, :] + (cells - y[:, None]).square()[:, :, None]
    masks = masks * (away <= ((_CORE / (2 * side)) ** 2 * area)[:, None, None])
    x, y, area = _centers(masks, cells)
    one_cell = (area > 0) / (12 * side**2)
    count = area.clamp(min=1)
    # No matrix products, which autocast would round; and from the center, without a difference of large numbers.
    from_x, from_y = cells - x[:, None], cells - y[:, None]
    xx = (masks.sum(1) * from_x.square()).sum(1) / count + one_cell
    yy = (masks.sum(2) * from_y.square()).sum(1) / count + one_cell
    xy = ((masks * from_x[:, None]).sum(2) * from_y).sum(1) / count
    return torch.stack([x, y], 1), torch.stack([xx, yy, xy], 1)


def _centers(masks: Tensor, cells: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return x and y of the centers of masks ``[L, h, w]``, and their number of cells: ``[L]`` each."""
    columns, rows = masks.sum(1), masks.sum(2)
    area = columns.sum(1)
    return (columns * cells).sum(1) / area.clamp(min=1), (rows * cells).sum(1) / area.clamp(min=1), area


def _cells(side: int, device: torch.device) -> Tensor:
    """Return the centers of that many cells, as shares of the side."""
    return (torch.arange(side, device=device, dtype=torch.float32) + 0.5) / side
