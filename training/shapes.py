"""Generated pictures: textures, and blobs and polygons filled with them."""

from __future__ import annotations

import cv2
import numpy as np

from training.material import Photo, Picture

_SIDE_PX = 128


def texture(rng: np.random.Generator, photos: list[Photo], side_px: int = _SIDE_PX) -> Picture:
    """Return ``uint8 [side, side, 3]``: a piece of a photograph, stripes, cells, or a gradient with noise."""
    kind = rng.integers(4)
    if kind == 0 and photos:
        return _photo_crop(rng, photos[rng.integers(len(photos))].rgb, side_px)
    colors = rng.uniform(0, 255, (2, 3)).astype(np.float32)
    y, x = np.mgrid[0:side_px, 0:side_px].astype(np.float32) / side_px
    angle = rng.uniform(0, 2 * np.pi)
    along = np.cos(angle) * x + np.sin(angle) * y
    if kind == 1:
        blend = (np.sin(along * rng.uniform(8, 50)) > rng.uniform(-0.5, 0.5)).astype(np.float32)
    elif kind == 2:
        cells = int(rng.integers(3, 20))
        grid = rng.uniform(0, 1, (cells, cells)).astype(np.float32)
        how = cv2.INTER_NEAREST if rng.random() < 0.5 else cv2.INTER_CUBIC
        blend = np.clip(cv2.resize(grid, (side_px, side_px), interpolation=how), 0, 1)
    else:
        blend = (along - along.min()) / np.ptp(along)
    picture = colors[0] + blend[..., None] * (colors[1] - colors[0])
    picture += rng.normal(0, rng.uniform(0, 12), picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8)


def shape(rng: np.random.Generator, photos: list[Photo]) -> Picture:
    """Return ``uint8 [side, side, 4]``: a textured blob, polygon or ellipse, perhaps with a hole or limbs."""
    mask = np.zeros((_SIDE_PX, _SIDE_PX), np.uint8)
    cv2.fillPoly(mask, [_outline(rng, 0.46)], 255)
    for _ in range(rng.integers(0, 4) if rng.random() < 0.4 else 0):
        center = rng.uniform(0.25, 0.75, 2)
        cv2.fillPoly(mask, [_outline(rng, rng.uniform(0.1, 0.25), center)], 255)
    if rng.random() < 0.15:
        cv2.fillPoly(mask, [_outline(rng, 0.15)], 0)
    mask[[0, -1]] = 0
    mask[:, [0, -1]] = 0
    rgb = texture(rng, photos)
    if rng.random() < 0.4:
        other = np.zeros_like(mask)
        cv2.fillPoly(other, [_outline(rng, rng.uniform(0.15, 0.3), rng.uniform(0.3, 0.7, 2))], 1)
        rgb = np.where(other[..., None] > 0, texture(rng, photos), rgb)
    return np.dstack([rgb, mask])


def _outline(rng: np.random.Generator, radius: float, center: np.ndarray | tuple[float, float] = (0.5, 0.5)) -> Picture:
    """Return ``int32 [N, 2]``: a closed outline around ``center``, in pixels."""
    if rng.random() < 0.4:
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 9)))
        radii = rng.uniform(0.5, 1.0, len(angles))
    else:
        angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        orders = np.arange(1, 6)
        waves = rng.normal(0, 0.35, 5) / orders
        radii = 1 + (waves * np.cos(orders * angles[:, None] + rng.uniform(0, 2 * np.pi, 5))).sum(1)
        radii = np.clip(radii / radii.max(), 0.1, 1)
    axes = np.array([1.0, rng.uniform(0.4, 1.0)])[rng.permutation(2)]
    points = np.stack([np.cos(angles), np.sin(angles)], 1) * radii[:, None] * axes * radius + np.asarray(center)
    return np.round(points * _SIDE_PX).astype(np.int32)


def _photo_crop(rng: np.random.Generator, rgb: Picture, side_px: int) -> Picture:
    side = int(rng.uniform(0.1, 0.6) * min(rgb.shape[:2]))
    top, left = (int(rng.integers(0, extent - side)) for extent in rgb.shape[:2])
    return cv2.resize(rgb[top : top + side, left : left + side], (side_px, side_px), interpolation=cv2.INTER_AREA)
