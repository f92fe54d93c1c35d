"""A prompter: finds red things. Configure it with `type: prompter_color.py:create`; docs/prompters.md says more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from streamseg.errors import ConfigError
from streamseg.prompters import Picture, Proposal, Tracked

HUES = {"red": 0, "yellow": 30, "green": 60, "cyan": 90, "blue": 120, "magenta": 150}


class ColorPrompter:
    """Proposes the box of each large region of one hue."""

    def __init__(self, color: str, min_pixels: int) -> None:
        self.color, self.hue, self.min_pixels = color, HUES[color], min_pixels

    def prompts(self, picture: Picture, tracked: Sequence[Tracked]) -> list[Proposal]:
        """Called for each picture, at most every `every_s` seconds. Colors are RGB, coordinates are pixels."""
        hue, saturation, value = cv2.split(cv2.cvtColor(picture, cv2.COLOR_RGB2HSV))
        distance = np.abs((hue.astype(int) - self.hue + 90) % 180 - 90)
        mask = ((distance < 12) & (saturation > 120) & (value > 80)).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask)
        return [
            Proposal(box=(x, y, x + w, y + h), label=self.color, score=float(area) / (w * h))
            for x, y, w, h, area in stats[1:].tolist()
            if area >= self.min_pixels
        ]


def create(settings: Mapping[str, Any]) -> ColorPrompter:
    """Called once, with the `settings` of the configuration file."""
    color = settings.get("color", "red")
    if color not in HUES:
        raise ConfigError(f"settings.color: {color!r} is unknown: write one of {', '.join(HUES)}")
    return ColorPrompter(color, int(settings.get("min_pixels", 200)))
