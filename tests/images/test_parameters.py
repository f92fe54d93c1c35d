from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streamseg.errors import ConfigError
from streamseg.images import AutomaticMasks
from streamseg.images.model import ImageModel
from streamseg.images.parameters import PRESETS, AutomaticParameters, parameters


def test_every_parameter_of_the_reference_by_its_name_and_with_its_default() -> None:
    from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator  # slow to import

    theirs = {
        name: value.default
        for name, value in inspect.signature(SAM2AutomaticMaskGenerator.__init__).parameters.items()
        if value.default is not inspect.Parameter.empty
    }
    ours = AutomaticParameters()
    assert {name: getattr(ours, name) for name in theirs} == theirs


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_valid(preset: str) -> None:
    for model in ("nano", "sam2.1_hiera_large", None):
        parameters(preset=preset, model=model)


def test_the_reference_preset_is_the_same_for_every_model() -> None:
    assert parameters(preset="reference", model="nano") == AutomaticParameters()


def test_explicit_arguments_override_presets() -> None:
    assert parameters({"pred_iou_thresh": 0.1}, preset="fine", model="nano").pred_iou_thresh == 0.1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"points_per_side": 0}, "points_per_side 0 is invalid: expected a whole number from 1 to 1024"),
        ({"points_per_side": 2.5}, "points_per_side 2.5"),
        ({"points_per_side": True}, "points_per_side True"),
        ({"points_per_batch": -1}, "points_per_batch -1"),
        ({"pred_iou_thresh": 2}, "pred_iou_thresh 2 is invalid: expected a number from 0 to 1"),
        ({"stability_score_thresh": float("nan")}, "stability_score_thresh nan"),
        ({"crop_n_layers": 9}, "crop_n_layers 9"),
        ({"output_mode": "png"}, "output_mode 'png' is unknown: expected one of binary_mask"),
        ({"use_m2m": 1}, "use_m2m 1 is invalid: expected true or false"),
        ({"points_per_side": None}, "exactly one of points_per_side and point_grids"),
        ({"points_per_side": 8, "point_grids": [[[0.5, 0.5]]]}, "exactly one of"),
        ({"point_grids": [[[0.5, 1.5]]]}, r"point_grids\[0\]"),
        ({"point_grids": 3}, "point_grids is invalid"),
        ({"point_grids": [[[0.5, 0.5]]], "crop_n_layers": 1}, "expected one for each of the 2 crop layers"),
        ({"points": 3}, "points is not a parameter"),
    ],
)
def test_invalid_parameters_are_named(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parameters(given)


def test_an_unknown_preset_is_named() -> None:
    with pytest.raises(ConfigError, match="preset 'best' is unknown: expected one of reference, fine, fast"):
        parameters(preset="best")


@pytest.mark.parametrize("kind", [float, np.float32, np.int64, np.uint8])
def test_whole_numbers_of_any_type_are_whole_numbers(kind: type, picture: NDArray[np.uint8], nano: ImageModel) -> None:
    given = {
        "points_per_side": kind(4),
        "points_per_batch": kind(5),
        "crop_n_layers": kind(1),
        "crop_n_points_downscale_factor": kind(2),
        "min_mask_region_area": kind(9),
        "box_nms_thresh": kind(1),
    }
    wanted = parameters({name: int(value) for name, value in given.items()})
    found = parameters(given)
    assert found == wanted
    for name in given:
        assert type(getattr(found, name)) is type(getattr(wanted, name))
    AutomaticMasks(nano, **given).generate(picture)
