"""Effects of a camera on pictures: color, exposure, blur, noise and compression."""

from __future__ import annotations

import cv2
import numpy as np

from training.material import Picture
from training.motion import Floats, path


def color_change(rng: np.random.Generator, strength: float) -> Floats:
    """Return ``[3, 4]``: gain and offset of each channel, sometimes with the channels mixed."""
    matrix = np.diag(np.exp(rng.normal(0, strength, 3)))
    if rng.random() < 0.5 * strength:
        matrix = matrix[rng.permutation(3)]
    if rng.random() < 0.3:
        gray = rng.uniform(0, 1)
        matrix = (1 - gray) * matrix + gray * np.full((3, 3), 1 / 3)
    offset = rng.normal(0, 60 * strength, 3)
    return np.column_stack([matrix, offset]).astype(np.float32)


def recolor(picture: Picture, change: Floats) -> Picture:
    """Return RGB ``[H, W, 3]`` or RGBA ``[H, W, 4]`` with its color changed and its alpha kept."""
    rgb = cv2.transform(np.ascontiguousarray(picture[..., :3]), change)
    return rgb if picture.shape[2] == 3 else np.dstack([rgb, picture[..., 3]])


def photograph(pictures: Picture, rng: np.random.Generator) -> Picture:
    """Apply exposure, blur, noise and compression to ``[T, S, S, 3]``, partly changing from frame to frame."""
    frames = len(pictures)
    gain = np.exp(np.clip(rng.normal(0, 0.15) + path(rng, frames, 0.05, 0.05)[:, 0], -0.7, 0.5))
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
