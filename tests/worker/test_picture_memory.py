"""Whether a place still shows the same."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from streamseg.frame import Frame, FrameFormat, FrameStamps
from streamseg.worker.picture_memory import PictureMemory

STAMPS = FrameStamps(0, "arrival", 0, 0, None, (1, 30))
ROI = (100, 60, 40, 30)


def picture(seed: int, pixel_format: str, noise: float = 0.0) -> Frame:
    random = np.random.default_rng(seed)
    coarse = random.integers(40, 215, (9, 16)).repeat(20, 0).repeat(20, 1)
    gray = np.clip(coarse + np.random.default_rng(99).normal(0, noise, coarse.shape), 0, 255).astype(np.uint8)
    planes: tuple[NDArray[np.uint8], ...] = (gray, gray[::2, ::2], gray[::2, ::2])
    if pixel_format == "rgb24":
        planes = (gray.repeat(3, 1),)
    return Frame(0, 0, FrameFormat(320, 180, pixel_format), planes, STAMPS)  # type: ignore[arg-type]


@pytest.mark.parametrize("pixel_format", ["yuv420p", "rgb24"])
def test_the_same_place_agrees_with_noise_and_another_does_not(pixel_format: str) -> None:
    memory = PictureMemory()
    assert not memory.agrees(picture(1, pixel_format), ROI)
    memory.remember(picture(1, pixel_format))
    assert memory.agrees(picture(1, pixel_format, noise=12), ROI)
    assert not memory.agrees(picture(2, pixel_format), ROI)


@pytest.mark.parametrize("roi", [(0, 0, 1, 1), (319, 179, 1, 1), (0, 0, 320, 180)])
def test_places_at_the_border(roi: tuple[int, int, int, int]) -> None:
    memory = PictureMemory()
    memory.remember(picture(1, "rgb24"))
    assert memory.agrees(picture(1, "rgb24"), roi)


def test_flat_pictures_agree_by_their_brightness() -> None:
    def flat(level: int) -> Frame:
        return Frame(0, 0, FrameFormat(320, 180, "rgb24"), (np.full((180, 960), level, np.uint8),), STAMPS)

    memory = PictureMemory()
    memory.remember(flat(80))
    assert memory.agrees(flat(90), ROI)
    assert not memory.agrees(flat(120), ROI)
