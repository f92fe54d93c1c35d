from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.bench.toy_masks import FRAMES, HEIGHT, SIDE, WIDTH, square_at

# The bench is a folder of scripts, not a package.
sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as DAVIS lays it out: `one` has 1-bit annotations, `two` a palette with a second, still object."""
    folder = tmp_path_factory.mktemp("toy")
    rng = np.random.default_rng(0)
    ground = cv2.GaussianBlur(rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8), (0, 0), 1.0)
    cover = cv2.GaussianBlur(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8), (0, 0), 1.0)
    for name in ("one", "two"):
        (folder / "JPEGImages" / name).mkdir(parents=True)
        (folder / "Annotations" / name).mkdir(parents=True)
        for frame in range(FRAMES):
            picture, truth = ground.copy(), square_at(frame)
            picture[truth] = cover.reshape(-1, 3)
            cv2.imwrite(str(folder / "JPEGImages" / name / f"{frame:05d}.jpg"), picture)
            if name == "one":
                annotation = Image.fromarray(truth)
            else:
                indices = truth.astype(np.uint8)
                indices[50:60, 70:90] = 2
                annotation = Image.fromarray(indices).convert("P")
                annotation.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
            annotation.save(folder / "Annotations" / name / f"{frame:05d}.png")
    return folder
