"""Procedural textures of the generated scene: hashing, smooth noise, pebbles, light on the water.

Reproducible on every machine: random numbers come from an integer hash (numpy's generators may change between
versions), and the rest is float64, whose last-bit differences between machines vanish in 8 bits.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float64]
Picture = NDArray[np.uint8]

_MASK: Final = (1 << 64) - 1


def mix(*parts: int) -> int:
    """Return a 64-bit hash of some integers (splitmix64's finalizer over each)."""
    state = 0x9E3779B97F4A7C15
    for part in parts:
        state = (state ^ (part & _MASK)) * 0xBF58476D1CE4E5B9 & _MASK
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB & _MASK
        state ^= state >> 31
    return state


def uniform(*parts: int) -> float:
    """Return a number in [0, 1) that depends on some integers."""
    return (mix(*parts) >> 11) / (1 << 53)


def lattice(seed: int, rows: int, columns: int) -> Field:
    """Return ``float64 [rows, columns]`` of independent numbers in [0, 1)."""
    state = np.arange(rows * columns, dtype=np.uint64) + np.uint64(mix(seed, 1))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        state = (state ^ (state >> np.uint64(shift))) * np.uint64(factor)
    state ^= state >> np.uint64(31)
    return ((state >> np.uint64(11)).astype(np.float64) / float(1 << 53)).reshape(rows, columns)


def noise(seed: int, height: int, width: int, cell: float, octaves: int = 4) -> Field:
    """Return fractal value noise ``float64 [height, width]`` around 0.5, mostly within 0.2 to 0.8.

    Args:
        seed: Seed of the pattern.
        height: In pixels.
        width: In pixels.
        cell: Size of the largest blobs in pixels; each octave halves it.
        octaves: Number of sizes that are summed.
    """
    total = np.zeros((height, width))
    weight, weights = 1.0, 0.0
    for octave in range(octaves):
        if cell < 1.5:
            break
        row, down = _smooth_steps(height, cell)
        column, right = _smooth_steps(width, cell)
        points = lattice(mix(seed, octave), int(row[-1]) + 2, int(column[-1]) + 2)
        lines = points[row] * (1.0 - down)[:, None] + points[row + 1] * down[:, None]
        total += weight * (lines[:, column] * (1.0 - right) + lines[:, column + 1] * right)
        weights += weight
        weight *= 0.5
        cell *= 0.5
    return total / max(weights, 1.0)


def smoothstep(low: float, high: float, value: Field) -> Field:
    """Return 0 below ``low``, 1 above ``high`` and a smooth ramp between."""
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t))


def blend(color: Field, other: Field | tuple[float, float, float], share: Field | float) -> Field:
    """Return ``color`` with ``share`` (0..1) of it replaced by another; colors are ``float64 [H, W, 3]``."""
    amount = share[..., None] if isinstance(share, np.ndarray) else share
    return np.asarray(color + (np.asarray(other) - color) * amount)


def flat(color: tuple[float, float, float], like: Field) -> Field:
    """Return one color in the shape of a field: ``float64 [H, W, 3]``."""
    return np.broadcast_to(np.array(color), (*like.shape, 3)).copy()


def to_bytes(color: Field) -> Picture:
    """Turn 0..1 into ``uint8``."""
    return np.asarray(np.clip(color * 255.0 + 0.5, 0.0, 255.0), dtype=np.uint8)


def pond_floor(seed: int, height: int, width: int, unit: float) -> Picture:
    """Return pebbles under greenish water: ``uint8 [height, width, 3]``.

    Args:
        seed: Seed of the pattern.
        height: In pixels.
        width: In pixels.
        unit: Pixels for each of 360 lines of the video, so that another size shows the same scene.
    """
    nearest, second, stone = _cells(mix(seed, 2), height, width, 24.0 * unit)
    gap = second - nearest
    grain = noise(mix(seed, 3), height, width, 10.0 * unit, 4)
    slope_y, slope_x = np.gradient(0.55 * nearest * nearest - 0.30 * grain - 0.25 * smoothstep(0.0, 0.3, gap))
    light = np.clip(1.0 + (0.7 * slope_x + 1.0 * slope_y) * 6.0 * unit, 0.4, 1.5)
    warmth = ((stone * 7.31) % 1.0)[..., None]
    color = np.array([0.34, 0.44, 0.44]) * (1.0 - warmth) + np.array([0.52, 0.49, 0.40]) * warmth
    color = color * (0.70 + 0.50 * stone)[..., None] * (0.75 + 0.5 * grain)[..., None] * light[..., None]
    color *= (0.38 + 0.62 * smoothstep(0.0, 0.16, gap))[..., None]
    depth = smoothstep(0.25, 0.75, noise(mix(seed, 4), height, width, 260.0 * unit, 3))
    return to_bytes(blend(color, (0.04, 0.22, 0.25), 0.34 + 0.34 * depth))


def water_light(seed: int, height: int, width: int, unit: float) -> Picture:
    """Return the net of light that waves throw on the ground, to be added: ``uint8 [height, width, 3]``."""
    bend_x = noise(mix(seed, 5), height, width, 60.0 * unit, 2)
    bend_y = noise(mix(seed, 6), height, width, 60.0 * unit, 2)
    net = np.zeros((height, width))
    y, x = np.mgrid[0:height, 0:width] / unit
    for turn in range(3):
        angle = 0.7 + 2.1 * turn
        wave = np.cos(angle) * x + np.sin(angle) * y + 85.0 * bend_x - 70.0 * bend_y * (turn - 1)
        net += 1.0 - np.abs(np.sin(wave / 26.0))
    return to_bytes((0.34 * smoothstep(1.15, 2.6, net))[..., None] * np.array([0.72, 0.95, 0.85]))


def calm_ground(seed: int, height: int, width: int, unit: float) -> Picture:
    """Return a plain gray surface with faint grain: ``uint8 [height, width, 3]``."""
    grain = noise(mix(seed, 7), height, width, 40.0 * unit, 5)
    return to_bytes(np.array([0.46, 0.47, 0.48]) + 0.22 * (grain - 0.5)[..., None])


def _smooth_steps(length: int, cell: float) -> tuple[NDArray[np.intp], Field]:
    """Return for each pixel of an axis the lattice point before it, and the share of the next one: ``[length]``."""
    position = np.arange(length) / cell + 0.37  # off the lattice, so that no pixel sits on a kink
    index = np.floor(position).astype(np.intp)
    share = position - index
    return index, share * share * (3.0 - 2.0 * share)


def _cells(seed: int, height: int, width: int, cell: float) -> tuple[Field, Field, Field]:
    """Worley noise: distances to the nearest and second nearest point in cells, and a number for the nearest."""
    rows, columns = int(height / cell) + 4, int(width / cell) + 4
    jitter_y, jitter_x, number = (lattice(mix(seed, part), rows, columns) for part in range(3))
    y, x = np.arange(height) / cell + 1.0, np.arange(width) / cell + 1.0
    row, column = np.floor(y).astype(np.intp), np.floor(x).astype(np.intp)
    nearest = np.full((height, width), 9.0)
    second = np.full((height, width), 9.0)
    stone = np.zeros((height, width))
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            at = np.ix_(row + dy, column + dx)
            off_y = (row + dy - y)[:, None] + 0.12 + 0.76 * jitter_y[at]
            off_x = (column + dx - x)[None, :] + 0.12 + 0.76 * jitter_x[at]
            distance = np.sqrt(off_x * off_x + off_y * off_y)
            closer = distance < nearest
            second = np.where(closer, nearest, np.minimum(second, distance))
            nearest = np.where(closer, distance, nearest)
            stone = np.where(closer, number[at], stone)
    return nearest, second, stone
