"""Composes clips with exact masks: objects that move over a photograph under a moving camera.

Hidden and returning objects, look-alikes, objects in their natural place, changes of light, blur and noise are all
sampled. A clip depends only on its random generator.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from training.cast import Sprite, cast
from training.effects import color_change, photograph, recolor
from training.material import Material, Photo, Picture
from training.motion import Floats, Shot, bend, fold, path, quads
from training.shapes import texture

_MIN_VISIBLE = 0.003
_HALF_RES_ABOVE = 1.6
_OUTLINED_SHARE = 0.55
_MAX_NATURAL_OBJECTS = 5


@dataclass(slots=True)
class Clip:
    """A short video with the masks of some of its objects.

    Attributes:
        frames: ``uint8 [T, S, S, 3]``, RGB.
        masks: ``bool [M, T, S, S]``: the visible part of each object; all are visible in frame 0.
    """

    frames: Picture
    masks: NDArray[np.bool_]


def compose_clip(
    material: Material,
    rng: np.random.Generator,
    *,
    frames: int,
    side_px: int,
    max_objects: int,
    gap: float,
    vanish_share: float = 0.0,
) -> Clip:
    """Compose one clip.

    Args:
        material: Its material; if empty, backgrounds and objects are generated.
        rng: Source of all random decisions.
        frames: Its length.
        side_px: Side of its square frames.
        max_objects: Maximum number of objects with masks; there is at least one.
        gap: Time between its frames: 1 is the pace of a video, 4 is fast.
        vanish_share: Share of pasted objects that vanish for a while without being covered.
    """
    while True:
        # The tracker squeezes every picture to a square, and most cameras' pictures are wide.
        squeeze = 1.0 if rng.random() < 0.3 else float(rng.uniform(1.2, 1.9))
        clip = _try_compose(material, rng, Shot(frames, side_px, gap, squeeze), max_objects, vanish_share)
        if len(clip.masks):
            return clip


def _try_compose(
    material: Material, rng: np.random.Generator, shot: Shot, max_objects: int, vanish_share: float
) -> Clip:
    pictures, owners = _background(material, rng, shot)
    sprites = cast(material, rng, shot)
    natural = int(owners.max(initial=0))
    for number, sprite in enumerate(sprites, start=natural + 1):
        _paste(pictures, owners, sprite, number, _frames_in_sight(rng, shot.frames, vanish_share))
    visible = [n for n in range(1, natural + len(sprites) + 1) if (owners[0] == n).mean() > _MIN_VISIBLE]
    chosen = rng.permutation(visible)[:max_objects].astype(np.int64)
    masks = owners[None] == chosen[:, None, None, None]
    return Clip(photograph(pictures, rng), masks)


def _warp(picture: Picture, corners: Floats, side_px: int, *, nearest: bool = False, border: int) -> Picture:
    height, width = picture.shape[:2]
    source = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    matrix = cv2.getPerspectiveTransform(source, corners.astype(np.float32))
    how = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    return cv2.warpPerspective(picture, matrix, (side_px, side_px), flags=how, borderMode=border)


def _choose_photo(material: Material, rng: np.random.Generator) -> Photo:
    outlined = material.photos and (rng.random() < _OUTLINED_SHARE or not material.backgrounds)
    if outlined:
        return material.photos[rng.integers(len(material.photos))]
    if material.backgrounds:
        return Photo(material.backgrounds[rng.integers(len(material.backgrounds))])
    return Photo(texture(rng, []))


def _background(material: Material, rng: np.random.Generator, shot: Shot) -> tuple[Picture, NDArray[np.int16]]:
    """Return the frames without pasted objects, and each pixel's owner: 0, or an object of the photograph."""
    photo, side_px = _choose_photo(material, rng), shot.side_px
    rgb, masks = photo.rgb, photo.masks
    zoom = float(np.exp(rng.uniform(np.log(1.05), np.log(2.6)))) * side_px / min(rgb.shape[:2])
    if zoom < 1 / _HALF_RES_ABOVE:
        size = (rgb.shape[1] // 2, rgb.shape[0] // 2)
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
        masks = [cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST) for mask in masks]
        zoom *= 2
    rgb = recolor(rgb, color_change(rng, 0.2))
    flip = rng.random() < 0.5
    corners = shot.squeezed(_camera(rng, shot, np.array(rgb.shape[1::-1], np.float32) * zoom))
    if flip:
        corners = np.ascontiguousarray(corners[:, [1, 0, 3, 2]])
    pictures = np.stack([_warp(rgb, quad, side_px, border=cv2.BORDER_REFLECT_101) for quad in corners])
    owners = np.zeros((shot.frames, side_px, side_px), np.int16)
    if masks and rng.random() < 0.6:
        for number, index in enumerate(rng.permutation(len(masks))[:_MAX_NATURAL_OBJECTS], start=1):
            for owner, quad in zip(owners, corners, strict=True):
                owner[_warp(masks[index], quad, side_px, nearest=True, border=cv2.BORDER_CONSTANT) > 0] = number
    return pictures, owners


def _camera(rng: np.random.Generator, shot: Shot, size_px: Floats) -> Floats:
    """Return ``[T, 4, 2]``: the photograph's corners under a moving or resting camera."""
    side_px, gap = shot.side_px, 0.4 * shot.gap
    slack = np.maximum(size_px - side_px, 0) / 2 + 0.05 * side_px
    offset = rng.uniform(-1, 1, 2).astype(np.float32) * slack
    still = rng.random() < 0.25
    step_px = 0.08 * side_px
    offsets = offset + path(rng, shot.frames, step_px * gap, 0.2 * step_px)
    places = side_px / 2 + np.stack([fold(offsets[:, k], -slack[k], slack[k]) for k in (0, 1)], -1)
    corners = quads(rng, shot, size_px, places, rng.normal(0, 0.08), gap)
    if still:
        corners[:] = corners[0]
    return corners


def _frames_in_sight(rng: np.random.Generator, frames: int, vanish_share: float) -> list[int]:
    """Return the frames that show an object: all, or the ones before and after it vanishes."""
    if not vanish_share or rng.random() >= vanish_share:
        return list(range(frames))
    first = int(rng.integers(1, frames))
    last = int(rng.integers(first, frames))
    return [t for t in range(frames) if not first <= t <= last]


def _paste(pictures: Picture, owners: NDArray[np.int16], sprite: Sprite, number: int, frames: list[int]) -> None:
    side_px = pictures.shape[1]
    for t in frames:
        picture, owner, corners = pictures[t], owners[t], sprite.corners[t]
        low = np.floor(corners.min(0)).astype(int).clip(0, side_px)
        high = np.ceil(corners.max(0)).astype(int).clip(0, side_px) + 1
        if (high - low).min() <= 1:
            continue
        extent = int((high - low).max())
        rgba = sprite.views[sprite.order[t]]
        if sprite.bends is not None:
            rgba = bend(rgba, sprite.bends[t])
        warped = _warp(rgba, corners - low, extent, border=cv2.BORDER_CONSTANT)
        box = np.s_[low[1] : high[1], low[0] : high[0]]
        target = picture[box]
        warped = warped[: target.shape[0], : target.shape[1]]
        alpha = warped[..., 3:].astype(np.float32) / 255
        target[:] = (target + alpha * (warped[..., :3].astype(np.float32) - target) + 0.5).astype(np.uint8)
        owner[box][warped[..., 3] > 127] = number
