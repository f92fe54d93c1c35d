"""Background of the generated scene: a surface that pans, and light that pans over it."""

from __future__ import annotations

import math
from typing import Final

import cv2
import numpy as np

from streamseg.sources.scene.cast import Turns
from streamseg.sources.scene.spec import PLAIN_PRESETS, SceneSpec
from streamseg.sources.scene.texture import Picture, calm_ground, mix, pond_floor, water_light

_REACH: Final = 0.11
"""How far the surface moves to each side, as a fraction of the picture's width and height."""

_GROUND_MS: Final = (47_000, 31_000)
_LIGHT_MS: Final = (13_000, 17_000)


class Background:
    """A moving background.

    Args:
        spec: The scene's spec.
    """

    def __init__(self, spec: SceneSpec) -> None:
        self._size = (spec.width, spec.height)
        self._reach = (max(2, round(_REACH * spec.width)), max(2, round(_REACH * spec.height)))
        width, height = (length + 2 * reach + 2 for length, reach in zip(self._size, self._reach, strict=True))
        unit = spec.height / 360.0
        seed = mix(spec.seed, 99)
        if spec.preset in PLAIN_PRESETS:
            self._ground = _phases(calm_ground(seed, height, width, unit))
            self._light = None
        else:
            self._ground = _phases(pond_floor(seed, height, width, unit))
            self._light = water_light(seed, height, width, unit)

    def draw(self, turns: Turns, out: Picture) -> None:
        """Fill a picture with the background at the time given by ``turns``."""
        width, height = self._size
        x, y = self._offset(turns, _GROUND_MS, 2)
        out[...] = self._ground[y % 2][x % 2][y // 2 : y // 2 + height, x // 2 : x // 2 + width]
        if self._light is not None:
            x, y = self._offset(turns, _LIGHT_MS, 1)
            cv2.add(out, self._light[y : y + height, x : x + width], dst=out)

    def _offset(self, turns: Turns, periods_ms: tuple[int, int], steps_a_pixel: int) -> tuple[int, int]:
        x, y = (
            round(reach * steps_a_pixel * (1.0 + math.sin(2.0 * math.pi * turns(period_ms))))
            for reach, period_ms in zip(self._reach, periods_ms, strict=True)
        )
        return x, y


def _phases(image: Picture) -> list[list[Picture]]:
    """Shift an image by half a pixel down and right: ``[down][right]`` gives the image, one row and column smaller.

    Both phases are a quarter of a pixel off the original, to either side, so that all are equally sharp; otherwise a
    slow pan would flicker.
    """
    wide = image.astype(np.uint16)
    return [
        [
            np.ascontiguousarray(
                ((across[:, :-1] * (3 - 2 * right) + across[:, 1:] * (1 + 2 * right) + 8) >> 4), np.uint8
            )
            for right in (0, 1)
        ]
        for across in (wide[:-1] * (3 - 2 * down) + wide[1:] * (1 + 2 * down) for down in (0, 1))
    ]
