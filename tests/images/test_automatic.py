"""Automatic masks against sam2's generator, on the same weights in the same run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from streamseg.errors import ConfigError, ModelError, PromptError
from streamseg.images import AutomaticMasks
from streamseg.images.model import ImageModel, load_model
from tests.images.reference import best_ious, iou, reference_masks

LOW = {"pred_iou_thresh": 0.3, "stability_score_thresh": 0.3, "points_per_side": 8}
CASES: dict[str, dict[str, Any]] = {
    "low thresholds": LOW,
    "no thresholds": LOW | {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "points_per_side": 4},
    "several batches": LOW | {"points_per_batch": 24},
    "strict duplicates": LOW | {"box_nms_thresh": 0.4},
    "one mask a point": LOW | {"multimask_output": False},
    "refined": LOW | {"use_m2m": True, "points_per_side": 5},
    "mask threshold": LOW | {"mask_threshold": 0.7, "stability_score_offset": 0.4},
    "crops": LOW | {"crop_n_layers": 1, "crop_n_points_downscale_factor": 2},
    "two layers of crops": LOW
    | {"points_per_side": 4, "crop_n_layers": 2, "crop_nms_thresh": 0.3, "crop_overlap_ratio": 0.2},
    "grids": LOW
    | {"points_per_side": None, "point_grids": [np.array([[0.25, 0.5], [0.7, 0.4], [0.5, 0.9], [0.1, 0.1]])]},
}


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, nano: ImageModel, picture: NDArray[np.uint8]) -> tuple[dict[str, Any], Any]:
    parameters = CASES[request.param]
    found = reference_masks(nano.network, picture, **parameters)
    assert found
    return parameters, found


def test_exact_masks_are_the_reference_s(
    case: tuple[dict[str, Any], Any], nano: ImageModel, picture: NDArray[np.uint8]
) -> None:
    parameters, wanted = case
    given = AutomaticMasks(nano, exact=True, **parameters).generate(picture)
    assert len(given) == len(wanted)
    for ours, theirs in zip(given, wanted, strict=True):
        assert ours.keys() == theirs.keys()
        np.testing.assert_array_equal(ours["segmentation"], theirs["segmentation"])
        assert (ours["area"], ours["bbox"], ours["crop_box"]) == (theirs["area"], theirs["bbox"], theirs["crop_box"])
        assert ours["point_coords"] == [pytest.approx(theirs["point_coords"][0], abs=1e-3)]
        assert ours["predicted_iou"] == pytest.approx(theirs["predicted_iou"], abs=1e-6)
        assert ours["stability_score"] == pytest.approx(theirs["stability_score"], abs=1e-6, nan_ok=True)


def test_default_masks_are_nearly_the_reference_s(
    case: tuple[dict[str, Any], Any], nano: ImageModel, picture: NDArray[np.uint8]
) -> None:
    parameters, wanted = case
    given = AutomaticMasks(nano, **parameters).generate(picture)
    certain = [
        record
        for record in wanted
        if record["area"]
        and record["predicted_iou"] > parameters["pred_iou_thresh"] + 0.02
        and record["stability_score"] > parameters["stability_score_thresh"] + 0.02
    ]
    assert certain
    matched = best_ious(certain, given)
    assert min(matched) > 0.8  # none is missing
    assert float(np.mean(matched)) > 0.99
    assert len(given) <= len(wanted) + 1


def test_a_single_unstable_mask_is_replaced_only_with_postprocessing(picture: NDArray[np.uint8]) -> None:
    parameters = LOW | {"multimask_output": False}
    found = {}
    for wanted in (False, True):
        model = load_model("nano", device="cpu", apply_postprocessing=wanted)
        found[wanted] = AutomaticMasks(model, **parameters).generate(picture)
        theirs = reference_masks(model.network, picture, **parameters)
        assert len(found[wanted]) == len(theirs)
        assert min(best_ious(theirs, found[wanted])) > 0.99
    plain, stable = ([record["segmentation"] for record in found[wanted]] for wanted in (False, True))
    assert not all(any(np.array_equal(mask, other) for other in plain) for mask in stable)


def test_crops_without_masks_are_no_error(nano: ImageModel, picture: NDArray[np.uint8]) -> None:
    # The reference raises an IndexError.
    for exact in (False, True):
        masks = AutomaticMasks(nano, points_per_side=2, crop_n_layers=1, pred_iou_thresh=1.0, exact=exact)
        assert masks.generate(picture) == []


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (300, 2), (40, 30)])
def test_pictures_of_any_size_work(nano: ImageModel, size: tuple[int, int]) -> None:
    picture = np.full((size[1], size[0], 3), 127, dtype=np.uint8)
    for crops in (0, 2):
        masks = AutomaticMasks(nano, **LOW | {"points_per_side": 2, "crop_n_layers": crops}).generate(picture)
        assert all(record["segmentation"].shape == size[::-1] for record in masks)


def test_small_regions_are_removed(nano: ImageModel, picture: NDArray[np.uint8]) -> None:
    before = AutomaticMasks(nano, **LOW).generate(picture)
    after = AutomaticMasks(nano, **LOW, min_mask_region_area=60).generate(picture)
    assert after
    assert sum(_small_regions(record["segmentation"], 60) for record in before) > 5
    assert sum(_small_regions(record["segmentation"], 60) for record in after) == 0
    assert all(record["area"] == record["segmentation"].sum() for record in after)


def _small_regions(mask: NDArray[np.bool_], area: int) -> int:
    import cv2

    count = 0
    for part in (mask, ~mask):
        _, _, stats, _ = cv2.connectedComponentsWithStats(part.astype(np.uint8), connectivity=8)
        areas = stats[1:, cv2.CC_STAT_AREA]
        count += int((areas < min(area, areas.max(initial=0))).sum())
    return count


@pytest.mark.parametrize("mode", ["uncompressed_rle", "coco_rle"])
def test_output_modes_are_the_reference_s(nano: ImageModel, picture: NDArray[np.uint8], mode: str) -> None:
    wanted = reference_masks(nano.network, picture, output_mode=mode, **LOW)
    given = AutomaticMasks(nano, output_mode=mode, exact=True, **LOW).generate(picture)
    assert [record["segmentation"] for record in given] == [record["segmentation"] for record in wanted]


def test_nano_has_thresholds_of_its_own(nano: ImageModel, small: Any) -> None:
    assert AutomaticMasks(nano).parameters.pred_iou_thresh < AutomaticMasks(small).parameters.pred_iou_thresh
    assert AutomaticMasks(nano, preset="reference").parameters == AutomaticMasks(small).parameters
    assert AutomaticMasks(nano, pred_iou_thresh=0.9).parameters.pred_iou_thresh == 0.9


def test_from_pretrained_loads_a_model_by_name(picture: NDArray[np.uint8]) -> None:
    masks = AutomaticMasks.from_pretrained("nano", device="cpu", image_size=128, points_per_side=4)
    assert masks.parameters.points_per_side == 4
    assert isinstance(masks.generate(picture), list)


def test_bfloat16_masks_are_nearly_the_float32_ones(picture: NDArray[np.uint8], nano: ImageModel) -> None:
    half = ImageModel(nano.network, "nano", torch.bfloat16)
    wanted = AutomaticMasks(nano, **LOW).generate(picture)
    given = AutomaticMasks(half, **LOW).generate(picture)
    assert float(np.mean(best_ious(wanted, given))) > 0.9


def test_a_callers_autocast_applies(picture: NDArray[np.uint8], nano: ImageModel) -> None:
    """Programs for sam2 call the generator in this context."""
    half = ImageModel(nano.network, "nano", torch.bfloat16)
    for exact in (False, True):
        wanted = AutomaticMasks(half, exact=exact, **LOW).generate(picture)
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            given = AutomaticMasks(nano, exact=exact, **LOW).generate(picture)
            reference = reference_masks(nano.network, picture, **LOW)
        assert len(given) == len(wanted)
        assert all(iou(a["segmentation"], b["segmentation"]) == 1 for a, b in zip(wanted, given, strict=True))
    assert len(given) == len(reference)
    assert all(iou(a["segmentation"], b["segmentation"]) == 1 for a, b in zip(reference, given, strict=True))


def test_pil_pictures_give_the_same_masks(nano: ImageModel, picture: NDArray[np.uint8]) -> None:
    from PIL import Image

    masks = AutomaticMasks(nano, **LOW)
    wanted, given = masks.generate(picture), masks.generate(Image.fromarray(picture))
    assert all(iou(a["segmentation"], b["segmentation"]) == 1 for a, b in zip(wanted, given, strict=True))


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((4, 5), np.uint8), "shape (4, 5)"),
        (np.zeros((4, 5, 4), np.uint8), "shape (4, 5, 4)"),
        (np.zeros((4, 5, 3), np.float32), "float32"),
        (np.zeros((0, 5, 3), np.uint8), "no pixels"),
        ("cat.jpg", "a str is not a picture"),
    ],
)
def test_other_values_than_pictures_are_refused(nano: ImageModel, image: Any, words: str) -> None:
    with pytest.raises(PromptError, match=words.replace("(", r"\(").replace(")", r"\)")):
        AutomaticMasks(nano).generate(image)


def test_other_values_than_models_are_refused() -> None:
    with pytest.raises(ModelError, match="a str is not a model"):
        AutomaticMasks("nano")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="has no network"):
        load_model("color")
    with pytest.raises(ConfigError, match="points_per_sid "):
        AutomaticMasks.from_pretrained("nano", device="cpu", points_per_sid=3)
