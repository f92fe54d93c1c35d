"""The objects of a composed clip, and what happens between them.

Look-alikes that cross, covers that hide an object for some frames, and objects that leave and return.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from training.effects import color_change, recolor
from training.material import Material, Picture
from training.motion import BEND_MARGIN, Floats, Shot, bends, fold, path, quads, view_order
from training.shapes import shape, texture

# Relative frequency of objects from each pool that is not empty.
_POOL_SHARES = {"cutouts": 0.35, "turns": 0.25, "renders": 0.15, "garments": 0.08, "shapes": 0.17}
_TWIN_SHARE, _CROSSING_SHARE, _COVER_SHARE, _LEAVE_SHARE, _UNBOUND_SHARE = 0.25, 0.5, 0.2, 0.15, 0.15
_LONGEST_ABSENCE = 30
_HALF_RES_ABOVE = 1.6


@dataclass(slots=True)
class Sprite:
    """One object on its way through a clip.

    Attributes:
        views: ``uint8 [h, w, 4]``, all of one size.
        order: ``int64 [T]``: the view that each frame shows.
        corners: ``float32 [T, 4, 2]``, pixels of the clip.
        bends: ``float32 [T, k, k, 2]``, as in :func:`training.motion.bends`; None: rigid.
    """

    views: list[Picture]
    order: NDArray[np.int64]
    corners: Floats
    bends: Floats | None

    @property
    def centers(self) -> Floats:
        """``float32 [T, 2]``: its centers."""
        return self.corners.mean(1)

    @property
    def extent_px(self) -> float:
        """Its largest extent over all frames."""
        return float(np.ptp(self.corners, axis=1).max())

    def move_along(self, centers: Floats) -> None:
        """Move it so that its center follows ``centers [T, 2]``."""
        self.corners += (centers - self.centers)[:, None]


def cast(material: Material, rng: np.random.Generator, shot: Shot) -> list[Sprite]:
    """Return the objects of a clip; later ones cover earlier ones."""
    sprites: list[Sprite] = []
    for _ in range(int(rng.choice([1, 2, 3, 4], p=[0.2, 0.35, 0.3, 0.15]))):
        diameter = shot.side_px * float(np.exp(rng.uniform(np.log(0.15), np.log(0.85))))
        views = _pick(material, rng)
        object_ = _enter(views, rng, shot, diameter)
        sprites.append(object_)
        if rng.random() < _TWIN_SHARE:
            sprites.append(_twin(object_, views, diameter, rng, shot))
        if shot.frames >= 4 and rng.random() < _COVER_SHARE:
            sprites.append(_cover(object_, material, rng, shot))
        elif shot.frames > 1 and rng.random() < _LEAVE_SHARE:
            _leave(object_.corners, rng, shot.side_px)
    return sprites


def _pick(material: Material, rng: np.random.Generator) -> list[Picture]:
    """Return the views of one object: several if it can turn in depth, otherwise one."""
    pools = {name: getattr(material, name, None) for name in _POOL_SHARES}
    names = [name for name, pool in pools.items() if pool or name == "shapes"]
    shares = np.array([_POOL_SHARES[name] for name in names])
    name = names[rng.choice(len(names), p=shares / shares.sum())]
    if name == "shapes":
        return [shape(rng, material.photos)]
    pool = pools[name]
    assert pool is not None
    chosen = pool[rng.integers(len(pool))]
    change = color_change(rng, 0.25)
    return [recolor(view, change) for view in (chosen if name == "turns" else [chosen])]


def _enter(views: list[Picture], rng: np.random.Generator, shot: Shot, diameter: float) -> Sprite:
    side_px, frames, gap = shot.side_px, shot.frames, shot.gap
    if rng.random() < 0.5:
        views = [view[:, ::-1] for view in views]
    bent = bends(rng, frames, gap) if rng.random() < (0.2 if len(views) > 1 else 0.6) else None
    if bent is not None:
        margin = round(BEND_MARGIN * max(views[0].shape))
        views = [np.pad(view, ((margin, margin), (margin, margin), (0, 0))) for view in views]
        diameter *= 1 + 2 * BEND_MARGIN
    extent = np.array(views[0].shape[1::-1], np.float32)
    wide = np.array([shot.squeeze, 1], np.float32)
    center = side_px / 2 + rng.uniform(-0.4, 0.4, 2).astype(np.float32) * side_px * wide
    step_px = 0.07 * (diameter * side_px) ** 0.5
    places = center + path(rng, frames, step_px * gap, 0.2 * step_px)
    if rng.random() > _UNBOUND_SHARE:
        reach = 0.6 * side_px * wide
        places = np.stack([fold(places[:, k], side_px / 2 - reach[k], side_px / 2 + reach[k]) for k in (0, 1)], -1)
    corners = quads(rng, shot, extent / extent.max() * diameter, places, rng.normal(0, 0.35), gap)
    shrink = diameter / float(extent.max())
    if shrink < 1 / _HALF_RES_ABOVE:
        small = np.maximum(extent * shrink * 1.3, 2).astype(int)
        size = (int(small[0]), int(small[1]))
        views = [cv2.resize(view, size, interpolation=cv2.INTER_AREA) for view in views]
    order = view_order(rng, frames, len(views), gap) if len(views) > 1 else np.zeros(frames, np.int64)
    return Sprite([np.ascontiguousarray(view) for view in views], order, shot.squeezed(corners), bent)


def _twin(original: Sprite, views: list[Picture], diameter: float, rng: np.random.Generator, shot: Shot) -> Sprite:
    """Return a look-alike of about the same size, which may cross the original's path."""
    change = color_change(rng, 0.1)
    twin = _enter([recolor(view, change) for view in views], rng, shot, diameter * rng.uniform(0.8, 1.25))
    if shot.frames > 2 and rng.random() < _CROSSING_SHARE:
        distance = original.extent_px * rng.uniform(0.9, 2.0)
        crossing = rng.uniform(0.3, 0.8) * (shot.frames - 1)
        side = 1 - np.arange(shot.frames, dtype=np.float32) / crossing
        twin.move_along(original.centers + (distance * side)[:, None] * _direction(rng))
    return twin


def _cover(hidden: Sprite, material: Material, rng: np.random.Generator, shot: Shot) -> Sprite:
    """Return a large object that hides the other one for some frames as it passes."""
    size = hidden.extent_px * rng.uniform(1.2, 1.8)
    if rng.random() < 0.5:
        rgb = texture(rng, material.photos)
        opaque = np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])
        views = [np.pad(opaque, ((1, 1), (1, 1), (0, 0)))]
    else:
        views = _pick(material, rng)[:1]
        size *= 1.3
    cover = _enter(views, rng, shot, size)
    come = int(rng.integers(1, max(2, min(8, shot.frames // 3))))
    first = int(rng.integers(come, max(come + 1, shot.frames - 1)))
    last = first + int(rng.integers(1, min(_LONGEST_ABSENCE, max(2, shot.frames - first - 1)) + 1))
    times = np.arange(shot.frames, dtype=np.float32)
    away = np.minimum((times - first) / come, 0) + np.maximum((times - last) / come, 0)
    reach = 0.55 * (hidden.extent_px + cover.extent_px)
    cover.move_along(hidden.centers + (reach * away)[:, None] * _direction(rng))
    return cover


def _leave(corners: Floats, rng: np.random.Generator, side_px: int) -> None:
    """Move the object out of the picture for some frames after the first; it may return, elsewhere."""
    first = int(rng.integers(1, len(corners)))
    last = first + int(rng.integers(1, min(_LONGEST_ABSENCE, len(corners) - first) + 1))
    corners[first:last] += 4 * side_px
    if last < len(corners):
        corners[last:] += rng.normal(0, 0.2 * side_px, 2).astype(np.float32)


def _direction(rng: np.random.Generator) -> Floats:
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.cos(angle), np.sin(angle)], np.float32)
