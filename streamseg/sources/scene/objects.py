"""Painters of the generated scene's objects: each draws one object, once, into a sprite.

A painter works in the object's own coordinates: u to the right (its heading), v down, the object within -1..1, on a
grid of texels. It returns the color of each texel and its signed distance from the object's outline.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from streamseg.sources.scene.texture import Field, blend, flat, mix, noise, smoothstep, uniform

Painter = Callable[[int, Field, Field, float], tuple[Field, Field]]
"""(seed, u, v, texel) -> (color ``[h, w, 3]`` 0..1, inside ``[h, w]``: > 0 inside, in units of u, v)."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object.

    Attributes:
        name: Name for people.
        paint: Its painter.
        half_height: Extent of its sprite in v, including room for its shadow; in u it is always 1.
        swims: It bends like a fish, and points where it moves.
        plain: One flat color with hard edges and no shadow.
    """

    name: str
    paint: Painter
    half_height: float = 1.0
    swims: bool = False
    plain: bool = False


def _koi(seed: int, u: Field, v: Field, texel: float) -> tuple[Field, Field]:
    along = np.clip((u + 0.62) / 1.44, 0.0, 1.0)  # 0 at the root of the tail, 1 at the nose
    width = 0.055 + 0.36 * along**0.75 * (1.0 - along) ** 0.45
    body = np.where((u > -0.62) & (u < 0.82), width - np.abs(v), -1.0)
    fork = np.clip((-0.48 - u) / 0.4, 0.0, 1.0)
    notch = u + 0.90 - 0.55 * np.maximum(0.24 - np.abs(v), 0.0)
    tail = np.minimum(0.06 + 0.30 * fork - np.abs(v), np.minimum(-0.48 - u, notch))
    front_fins = _ellipse(u, np.abs(v), 0.30, 0.25, 0.20, 0.085, 2.35)
    fins = np.maximum(front_fins, _ellipse(u, np.abs(v), -0.22, 0.15, 0.13, 0.05, 2.55))
    inside = np.maximum(np.maximum(body, tail), fins)

    h, w = u.shape
    cream = flat((0.97, 0.93, 0.86), u)
    patches = noise(mix(seed, 11), h, w, 0.42 / texel, 3)
    red = (0.93, 0.30 + 0.16 * uniform(seed, 12), 0.07)
    skin = blend(cream, red, smoothstep(0.47, 0.52, patches + 0.06 * u))
    spots = noise(mix(seed, 13), h, w, 0.2 / texel, 3)
    skin = blend(skin, (0.10, 0.11, 0.14), 0.9 * smoothstep(0.655, 0.69, spots))
    scales = np.cos(u * 58.0) * np.cos(v * 58.0) * smoothstep(0.66, 0.5, u)
    across = np.clip(np.abs(v) / width, 0.0, 1.0)
    roundness = 0.50 + 0.52 * np.sqrt(1.0 - across * across * 0.96)
    shine = np.exp(-(((v + 0.07) / 0.045) ** 2)) * smoothstep(-0.5, 0.2, u) * smoothstep(0.8, 0.6, u)
    skin = skin * (roundness * (1.0 + 0.07 * scales))[..., None] + (0.20 * shine)[..., None]
    dorsal = (np.abs(v) < 0.016 * smoothstep(-0.35, 0.1, u)) & (u > -0.3) & (u < 0.32)
    skin = blend(skin, (0.62, 0.30, 0.16), 0.55 * dorsal.astype(np.float64))
    for side in (-1.0, 1.0):
        eye = np.hypot(u - 0.665, v - side * 0.125)
        skin = blend(skin, (0.05, 0.05, 0.06), smoothstep(0.036, 0.026, eye))

    rays = 0.5 + 0.5 * np.cos(np.arctan2(v, u + 0.2) * 64.0)
    veil = blend(cream, red, 0.45 * smoothstep(0.40, 0.55, patches)) * (0.66 + 0.22 * rays)[..., None]
    return blend(veil, skin, smoothstep(-texel, texel, body)), inside


def _lily_pad(seed: int, u: Field, v: Field, texel: float) -> tuple[Field, Field]:
    angle, radius = np.arctan2(v, u), np.hypot(u, v)
    rim = 0.84 + 0.012 * np.sin(5.0 * angle + 6.3 * uniform(seed, 21)) + 0.008 * np.sin(11.0 * angle)
    notch = np.abs(v) - 0.30 * (u - 0.06)
    inside = np.minimum(rim - radius, np.where(u > 0.0, notch, 1.0))
    h, w = u.shape
    mottle = noise(mix(seed, 22), h, w, 0.35 / texel, 4)
    color = blend(flat((0.16, 0.40, 0.13), u), (0.46, 0.66, 0.22), smoothstep(0.2, 0.8, mottle) * 0.75)
    spokes = np.abs(np.sin(angle * 6.5))
    vein = smoothstep(0.16, 0.02, spokes * radius) * smoothstep(0.82, 0.55, radius)
    color = blend(color, (0.70, 0.82, 0.42), 0.55 * vein)
    color = blend(color, (0.50, 0.30, 0.16), 0.75 * smoothstep(0.075, 0.0, inside))
    light = 0.82 + 0.20 * radius + 0.14 * spokes * radius - 0.16 * v
    gloss = np.exp(-(((u + 0.30) / 0.34) ** 2) - ((v + 0.36) / 0.20) ** 2)
    return color * light[..., None] + (0.16 * gloss)[..., None], inside


_MAPLE_HALF: Final = (
    (0.86, 0.0), (0.66, 0.13), (0.70, 0.20), (0.40, 0.17), (0.34, 0.20), (0.56, 0.46), (0.47, 0.47), (0.50, 0.64),
    (0.32, 0.58), (0.29, 0.66), (0.10, 0.30), (0.04, 0.33), (0.0, 0.62), (-0.08, 0.54), (-0.20, 0.62), (-0.19, 0.46),
    (-0.33, 0.44), (-0.22, 0.22), (-0.36, 0.20), (-0.30, 0.035), (-0.84, 0.028),
)  # fmt: skip
_MAPLE_VEINS: Final = ((0.86, 0.0), (0.50, 0.58), (-0.18, 0.56))


def _maple_leaf(seed: int, u: Field, v: Field, texel: float) -> tuple[Field, Field]:
    half = np.array(_MAPLE_HALF)
    inside = _polygon(np.concatenate([half, half[::-1] * [1.0, -1.0]]), u, v, texel)
    h, w = u.shape
    blush = noise(mix(seed, 31), h, w, 0.5 / texel, 4)
    color = blend(flat((0.72, 0.10, 0.06), u), (0.96, 0.52, 0.10), smoothstep(0.35, 0.72, blush + 0.10 * u))
    crease, root_u = np.full(u.shape, 9.0), -0.3
    for tip_u, tip_v in _MAPLE_VEINS:
        vein_u = tip_u - root_u
        share = np.clip(((u - root_u) * vein_u + np.abs(v) * tip_v) / (vein_u**2 + tip_v**2), 0.0, 1.0)
        away = np.hypot(u - root_u - share * vein_u, np.abs(v) - share * tip_v)
        crease = np.minimum(crease, away + 0.012 * share)
    fold = smoothstep(0.0, 0.22, crease)
    light = 0.80 + 0.30 * fold - 0.22 * v * (1.0 - 0.3 * fold)
    color = blend(color * light[..., None], (0.98, 0.80, 0.42), 0.75 * smoothstep(0.022, 0.008, crease))
    return blend(color, (0.45, 0.16, 0.08), smoothstep(-0.28, -0.34, u) * smoothstep(0.06, 0.03, np.abs(v))), inside


_BALL_PANELS: Final = (
    (0.93, 0.20, 0.18), (0.96, 0.95, 0.92), (0.16, 0.42, 0.86),
    (0.98, 0.78, 0.16), (0.96, 0.95, 0.92), (0.20, 0.66, 0.38),
)  # fmt: skip


def _ball(seed: int, u: Field, v: Field, texel: float) -> tuple[Field, Field]:
    del texel
    radius = np.hypot(u, v) / 0.78
    z = np.sqrt(np.clip(1.0 - radius * radius, 0.0, 1.0))
    # The ball's pole points toward the viewer, a little to one side.
    tilt = 0.5
    pole, side = v * np.sin(tilt) / 0.78 + z * np.cos(tilt), v * np.cos(tilt) / 0.78 - z * np.sin(tilt)
    panel = np.arctan2(side, u / 0.78) * 3.0 / np.pi + 6.0 * uniform(seed, 41)
    color = np.array(_BALL_PANELS)[np.floor(panel).astype(np.intp) % 6]
    seam = np.abs(panel - np.rint(panel)) * np.sqrt(np.clip(1.0 - pole * pole, 0.0, 1.0))
    color = blend(color, (0.55, 0.55, 0.55), 0.5 * smoothstep(0.035, 0.012, seam))
    color = blend(color, (0.97, 0.96, 0.94), smoothstep(0.955, 0.965, pole))
    facing = -0.42 * u / 0.78 - 0.55 * v / 0.78 + 0.72 * z
    light = 0.42 + 0.66 * np.clip(facing, 0.0, 1.0)
    gloss = np.clip(facing, 0.0, 1.0) ** 40
    return color * light[..., None] + (0.55 * gloss)[..., None], (1.0 - radius) * 0.78


def _ellipse(u: Field, v: Field, center_u: float, center_v: float, a: float, b: float, angle: float) -> Field:
    du, dv = u - center_u, v - center_v
    along, across = du * np.cos(angle) + dv * np.sin(angle), dv * np.cos(angle) - du * np.sin(angle)
    return np.asarray((1.0 - np.hypot(along / a, across / b)) * b)


def _polygon(points: Field, u: Field, v: Field, texel: float) -> Field:
    """Signed distance to a polygon's outline, from its rasterized area; exact to a quarter of a texel at the edge.

    Not filled by OpenCV, whose versions differ in the pixels along an edge.
    """
    fine = 4
    rows, columns = u.shape[0] * fine, u.shape[1] * fine
    x, y = ((points - (u[0, 0] - 0.5 * texel, v[0, 0] - 0.5 * texel)) / texel * fine).T
    toggles = np.zeros((rows, columns + 1), dtype=np.int32)
    for x0, y0, x1, y1 in zip(x, y, np.roll(x, -1), np.roll(y, -1), strict=True):
        if y0 == y1:
            continue
        crossed = np.arange(max(0, round(min(y0, y1))), min(rows, round(max(y0, y1))))  # rows whose center it passes
        at = x0 + (crossed + 0.5 - y0) / (y1 - y0) * (x1 - x0)
        np.add.at(toggles, (crossed, np.clip(np.ceil(at - 0.5), 0, columns).astype(np.intp)), 1)
    filled = np.cumsum(toggles[:, :columns], axis=1) & 1
    coverage = filled.reshape(u.shape[0], fine, u.shape[1], fine).sum(axis=(1, 3)) / fine**2
    return np.asarray((coverage - 0.5) * texel)


def plain_kind(shape: str, color: tuple[int, int, int]) -> Kind:
    """Return a flat shape (``disc``, ``square``, ``triangle`` or ``star``) of one color."""

    def paint(seed: int, u: Field, v: Field, texel: float) -> tuple[Field, Field]:
        del seed
        if shape == "disc":
            inside = 0.8 - np.hypot(u, v)
        elif shape == "square":
            inside = 0.66 - np.maximum(np.abs(u), np.abs(v))
        else:
            corners, inner = (3, 0.42) if shape == "triangle" else (5, 0.40)
            turns = np.arange(2 * corners) / (2 * corners) * 2.0 * np.pi
            reach = np.where(np.arange(2 * corners) % 2 == 0, 0.88, inner)
            inside = _polygon(np.stack([np.cos(turns) * reach, np.sin(turns) * reach], axis=1), u, v, texel)
        return flat((color[0] / 255.0, color[1] / 255.0, color[2] / 255.0), u), inside

    return Kind(shape, paint, plain=True)


KOI: Final = Kind("koi", _koi, half_height=0.56, swims=True)
LILY_PAD: Final = Kind("lily pad", _lily_pad)
MAPLE_LEAF: Final = Kind("maple leaf", _maple_leaf, half_height=0.86)
BALL: Final = Kind("ball", _ball)
