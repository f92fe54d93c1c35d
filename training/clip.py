"""Composes clips with exact masks: objects that move over a photograph under a moving camera.

Hidden and returning objects, look-alikes, objects in their natural place, changes of light, blur and noise are all
sampled here. A clip depends on its generator alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from training.material import Material, Photo, Picture
from training.shapes import shape, texture

Floats = NDArray[np.float32]

_UNIT_SQUARE: Final = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32) / 2
_MIN_VISIBLE: Final = 0.003
_HALF_RES_ABOVE: Final = 1.6
# Share of an object's extent by which its parts move against each other at the most, and room for it all round.
_BEND, _BEND_MARGIN = 0.09, 0.14


@dataclass(slots=True)
class Clip:
    """A short video with the masks of some of its objects.

    Attributes:
        frames: ``uint8 [T, S, S, 3]``, RGB.
        masks: ``bool [M, T, S, S]``: what is visible of each object; every one is visible in frame 0.
    """

    frames: Picture
    masks: NDArray[np.bool_]


@dataclass(slots=True)
class _Sprite:
    rgba: Picture
    corners: Floats  # [T, 4, 2], pixels of the clip
    bends: Floats | None  # [T, k, k, 2], how parts are displaced, in shares of the extent; None: it is rigid


def compose_clip(
    material: Material, rng: np.random.Generator, *, frames: int, side_px: int, max_objects: int, gap: float
) -> Clip:
    """Compose one clip.

    Args:
        material: What it is made of; with nothing in it, backgrounds and objects are generated.
        rng: Decides everything.
        frames: Its length.
        side_px: Side of its square frames.
        max_objects: How many objects get masks at the most; at least one does.
        gap: How far apart in time its frames lie: 1 is the pace of a video, 4 is fast.
    """
    while True:
        clip = _try_compose(material, rng, frames, side_px, max_objects, gap)
        if len(clip.masks):
            return clip


def _try_compose(
    material: Material, rng: np.random.Generator, frames: int, side_px: int, max_objects: int, gap: float
) -> Clip:
    # The tracker squeezes every picture to a square, and most cameras' are wide.
    squeeze = 1.0 if rng.random() < 0.3 else float(rng.uniform(1.2, 1.9))
    pictures, owners = _background(material, rng, frames, side_px, gap, squeeze)
    sprites = _cast(material, rng, frames, side_px, gap, squeeze)
    natural = int(owners.max(initial=0))
    for number, sprite in enumerate(sprites, start=natural + 1):
        _paste(pictures, owners, sprite, number)
    visible = [n for n in range(1, natural + len(sprites) + 1) if (owners[0] == n).mean() > _MIN_VISIBLE]
    chosen = rng.permutation(visible)[:max_objects].astype(np.int64)
    masks = owners[None] == chosen[:, None, None, None]
    return Clip(_photograph(pictures, rng), masks)


def _path(rng: np.random.Generator, frames: int, step: float, wobble: float) -> Floats:
    """Return ``[T, 2]``: an offset that starts at 0 and goes on with nearly constant velocity."""
    velocity = rng.normal(0, step, 2)
    steps = velocity + rng.normal(0, wobble, (frames - 1, 2))
    return np.concatenate([np.zeros((1, 2)), np.cumsum(steps, 0)]).astype(np.float32)


def _quads(
    rng: np.random.Generator, frames: int, size: Floats, centre: Floats, angle: float, gap: float, step_px: float
) -> Floats:
    """Return ``[T, 4, 2]``: the corners of a picture that moves, turns, grows and leans."""
    diameter = float(size.max())
    turn = angle + _path(rng, frames, 0.05 * gap, 0.03)[:, 0]
    growth = np.exp(np.clip(_path(rng, frames, 0.04 * gap, 0.03), -0.7, 0.7))
    growth = 0.3 * growth + 0.7 * growth.mean(1, keepdims=True)
    place = centre + _path(rng, frames, step_px * gap, 0.2 * step_px)
    cos, sin = np.cos(turn), np.sin(turn)
    rotation = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
    square = _UNIT_SQUARE * size * growth[:, None]
    lean = np.cumsum(rng.normal(0, 0.025, (frames, 4, 2)), 0) * diameter
    return (square @ rotation.transpose(0, 2, 1) + place[:, None] + lean).astype(np.float32)


def _warp(picture: Picture, corners: Floats, side_px: int, *, nearest: bool = False, border: int) -> Picture:
    height, width = picture.shape[:2]
    source = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    matrix = cv2.getPerspectiveTransform(source, corners.astype(np.float32))
    how = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    return cv2.warpPerspective(picture, matrix, (side_px, side_px), flags=how, borderMode=border)


def _squeeze(corners: Floats, side_px: int, by: float) -> None:
    """Shrink the distance of each corner from the middle column, in place."""
    corners[..., 0] = side_px / 2 + (corners[..., 0] - side_px / 2) / by


def _bends(rng: np.random.Generator, frames: int, gap: float) -> Floats:
    """Return ``[T, k, k, 2]``: each part swings, as limbs do, and wanders a little; nothing is displaced at first."""
    parts = int(rng.integers(3, 6))
    shape = (parts, parts, 2)
    strength = rng.uniform(0.2, 1) * _BEND
    pace, phase = rng.uniform(0.1, 0.9, shape) * min(gap, 2.0), rng.uniform(0, 2 * np.pi, shape)
    times = np.arange(frames).reshape(-1, 1, 1, 1)
    swing = np.sin(phase + pace * times) - np.sin(phase)
    wander = np.cumsum(rng.normal(0, 0.15, (frames, *shape)), 0)
    wander -= wander[0]
    return np.clip(strength * (0.7 * swing + wander), -_BEND_MARGIN, _BEND_MARGIN).astype(np.float32)


def _bend(rgba: Picture, displaced: Floats) -> Picture:
    height, width = rgba.shape[:2]
    field = cv2.resize(displaced, (width, height), interpolation=cv2.INTER_CUBIC) * max(height, width)
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    return cv2.remap(rgba, field[..., 0] + x, field[..., 1] + y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def _background(
    material: Material, rng: np.random.Generator, frames: int, side_px: int, gap: float, squeeze: float
) -> tuple[Picture, NDArray[np.int16]]:
    """Return the frames without pasted objects, and who owns each pixel: 0 nobody, else an object of the photograph."""
    photos = material.photos or [Photo(texture(rng, []))]
    photo = photos[rng.integers(len(photos))]
    rgb, masks = photo.rgb, photo.masks
    zoom = float(np.exp(rng.uniform(np.log(1.05), np.log(2.6)))) * side_px / min(rgb.shape[:2])
    if zoom < 1 / _HALF_RES_ABOVE:
        size = (rgb.shape[1] // 2, rgb.shape[0] // 2)
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
        masks = [cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST) for mask in masks]
        zoom *= 2
    rgb = _recolour(rgb, rng, 0.2)
    flip = rng.random() < 0.5
    size_px = np.array(rgb.shape[1::-1], np.float32) * zoom
    slack = np.maximum(size_px - side_px, 0) / 2
    centre = side_px / 2 + rng.uniform(-1, 1, 2).astype(np.float32) * slack
    still = rng.random() < 0.25
    corners = _quads(rng, frames, size_px, centre, rng.normal(0, 0.08), 0.4 * gap, 0.08 * side_px)
    if still:
        corners[:] = corners[0]
    _squeeze(corners, side_px, squeeze)
    if flip:
        corners = np.ascontiguousarray(corners[:, [1, 0, 3, 2]])
    pictures = np.stack([_warp(rgb, quad, side_px, border=cv2.BORDER_REFLECT_101) for quad in corners])
    owners = np.zeros((frames, side_px, side_px), np.int16)
    if masks and rng.random() < 0.6:
        for number, index in enumerate(rng.permutation(len(masks))[:3], start=1):
            for owner, quad in zip(owners, corners, strict=True):
                owner[_warp(masks[index], quad, side_px, nearest=True, border=cv2.BORDER_CONSTANT) > 0] = number
    return pictures, owners


def _cast(
    material: Material, rng: np.random.Generator, frames: int, side_px: int, gap: float, squeeze: float
) -> list[_Sprite]:
    sprites: list[_Sprite] = []
    for _ in range(int(rng.choice([1, 2, 3, 4], p=[0.2, 0.35, 0.3, 0.15]))):
        sprites.append(_enter(_pick(material, rng), rng, frames, side_px, gap, squeeze))
        if rng.random() < 0.25:
            rgba = sprites[-1].rgba[:, ::-1] if rng.random() < 0.5 else sprites[-1].rgba
            sprites.append(_enter(_tint(rgba, rng, 0.1), rng, frames, side_px, gap, squeeze))
    return sprites


def _pick(material: Material, rng: np.random.Generator) -> Picture:
    pools = [pool for pool in (material.cutouts, material.cutouts, material.renders) if pool]
    choice = int(rng.integers(len(pools) + 1))
    if choice == len(pools):
        return shape(rng, material.photos)
    pool = pools[choice]
    return _tint(pool[rng.integers(len(pool))], rng, 0.25)


def _enter(rgba: Picture, rng: np.random.Generator, frames: int, side_px: int, gap: float, squeeze: float) -> _Sprite:
    if rng.random() < 0.5:
        rgba = rgba[:, ::-1]
    diameter = side_px * float(np.exp(rng.uniform(np.log(0.15), np.log(0.85))))
    bends = _bends(rng, frames, gap) if rng.random() < 0.6 else None
    if bends is not None:
        margin = round(_BEND_MARGIN * max(rgba.shape))
        rgba = np.pad(rgba, ((margin, margin), (margin, margin), (0, 0)))
        diameter *= 1 + 2 * _BEND_MARGIN
    extent = np.array(rgba.shape[1::-1], np.float32)
    centre = side_px / 2 + rng.uniform(-0.4, 0.4, 2).astype(np.float32) * side_px * np.array([squeeze, 1], np.float32)
    size = extent / extent.max() * diameter
    corners = _quads(rng, frames, size, centre, rng.normal(0, 0.35), gap, 0.07 * (diameter * side_px) ** 0.5)
    _squeeze(corners, side_px, squeeze)
    shrink = diameter / float(extent.max())
    if shrink < 1 / _HALF_RES_ABOVE:
        small = np.maximum(extent * shrink * 1.3, 2).astype(int)
        rgba = cv2.resize(rgba, (int(small[0]), int(small[1])), interpolation=cv2.INTER_AREA)
    if frames > 1 and rng.random() < 0.2:
        _hide(corners, rng, side_px)
    return _Sprite(np.ascontiguousarray(rgba), corners, bends)


def _hide(corners: Floats, rng: np.random.Generator, side_px: int) -> None:
    """Move the object out of the picture for some frames after the first; it may return, elsewhere."""
    first = int(rng.integers(1, len(corners)))
    last = int(rng.integers(first, len(corners))) + 1
    corners[first:last] += 4 * side_px
    if last < len(corners):
        corners[last:] += rng.normal(0, 0.2 * side_px, 2).astype(np.float32)


def _paste(pictures: Picture, owners: NDArray[np.int16], sprite: _Sprite, number: int) -> None:
    side_px = pictures.shape[1]
    for t, (picture, owner, corners) in enumerate(zip(pictures, owners, sprite.corners, strict=True)):
        low = np.floor(corners.min(0)).astype(int).clip(0, side_px)
        high = np.ceil(corners.max(0)).astype(int).clip(0, side_px) + 1
        if (high - low).min() <= 1:
            continue
        extent = int((high - low).max())
        rgba = sprite.rgba if sprite.bends is None else _bend(sprite.rgba, sprite.bends[t])
        warped = _warp(rgba, corners - low, extent, border=cv2.BORDER_CONSTANT)
        box = np.s_[low[1] : high[1], low[0] : high[0]]
        target = picture[box]
        warped = warped[: target.shape[0], : target.shape[1]]
        alpha = warped[..., 3:].astype(np.float32) / 255
        target[:] = (target + alpha * (warped[..., :3].astype(np.float32) - target) + 0.5).astype(np.uint8)
        owner[box][warped[..., 3] > 127] = number


def _tint(rgba: Picture, rng: np.random.Generator, strength: float) -> Picture:
    return np.dstack([_recolour(np.ascontiguousarray(rgba[..., :3]), rng, strength), rgba[..., 3]])


def _recolour(rgb: Picture, rng: np.random.Generator, strength: float) -> Picture:
    """Change gain and offset of each channel, and sometimes mix the channels."""
    matrix = np.diag(np.exp(rng.normal(0, strength, 3)))
    if rng.random() < 0.5 * strength:
        matrix = matrix[rng.permutation(3)]
    if rng.random() < 0.3:
        grey = rng.uniform(0, 1)
        matrix = (1 - grey) * matrix + grey * np.full((3, 3), 1 / 3)
    offset = rng.normal(0, 60 * strength, 3)
    return cv2.transform(rgb, np.column_stack([matrix, offset]))


def _photograph(pictures: Picture, rng: np.random.Generator) -> Picture:
    """Apply what a camera does: exposure, blur, noise and compression, partly changing from frame to frame."""
    frames = len(pictures)
    gain = np.exp(rng.normal(0, 0.15) + _path(rng, frames, 0.05, 0.05)[:, 0])
    blurred = rng.random() < 0.35
    noise = rng.uniform(0, 10) if rng.random() < 0.5 else 0.0
    compressed = rng.random() < 0.25
    quality = int(rng.integers(25, 85))
    for index, picture in enumerate(pictures):
        if blurred and rng.random() < 0.7:
            picture = _blur(picture, rng)
        picture = cv2.convertScaleAbs(picture, alpha=float(gain[index]))
        if noise:
            grain = rng.integers(-128, 128, picture.shape, np.int8).astype(np.float32) * (noise / 74)
            picture = np.clip(picture + grain, 0, 255).astype(np.uint8)
        if compressed:
            _, code = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
            picture = cv2.imdecode(code, cv2.IMREAD_COLOR)
        pictures[index] = picture
    return pictures


def _blur(picture: Picture, rng: np.random.Generator) -> Picture:
    if rng.random() < 0.5:
        return cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.4, 1.6)) * picture.shape[0] / 192)
    length = max(3, int(rng.uniform(0.02, 0.06) * picture.shape[0]))
    kernel = np.zeros((length, length), np.float32)
    direction = rng.normal(0, 1, 2)
    direction *= (length - 1) / 2 / np.abs(direction).max()
    middle = (length - 1) / 2
    start, end = (np.round(middle + sign * direction).astype(int) for sign in (-1, 1))
    cv2.line(kernel, (int(start[0]), int(start[1])), (int(end[0]), int(end[1])), 1.0)
    return cv2.filter2D(picture, -1, kernel / kernel.sum())
