"""Prompted masks against sam2's image predictor, on the same weights in the same run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sam2.modeling.sam2_base import SAM2Base

from streamseg.errors import PromptError
from streamseg.images import Segmenter
from streamseg.images.model import ImageModel, load_model
from tests.images.reference import iou, reference_predictor

PROMPTS: dict[str, dict[str, Any]] = {
    "point": {"point_coords": [[160, 100]], "point_labels": [1]},
    "points": {"point_coords": [[160, 100], [40, 60], [300, 10]], "point_labels": [1, 1, 0]},
    "box": {"box": [50, 30, 200, 150]},
    "box and point": {"box": [50, 30, 200, 150], "point_coords": [[100, 100]], "point_labels": [0]},
    "boxes": {"box": [[50, 30, 200, 150], [0, 0, 40, 40]]},
    "normalized": {"point_coords": [[0.4, 0.6]], "point_labels": [1], "normalize_coords": False},
    "logits": {"box": [50, 30, 200, 150], "return_logits": True},
}


@pytest.fixture(params=["nano", "small"])
def model(request: pytest.FixtureRequest, nano: ImageModel, small: SAM2Base) -> ImageModel:
    return nano if request.param == "nano" else ImageModel(small)


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("name", PROMPTS)
def test_masks_and_scores_are_the_predictor_s(
    model: ImageModel, picture: NDArray[np.uint8], name: str, multimask: bool
) -> None:
    prompt = {key: np.array(value) if isinstance(value, list) else value for key, value in PROMPTS[name].items()}
    reference, ours = reference_predictor(model.network), Segmenter(model)
    reference.set_image(picture)
    ours.set_image(picture)
    wanted, given = (predictor.predict(**prompt, multimask_output=multimask) for predictor in (reference, ours))
    for theirs, own in zip(wanted, given, strict=True):
        assert own.dtype == theirs.dtype
        np.testing.assert_array_equal(own, theirs)


def test_low_res_masks_refine_as_with_the_predictor(nano: ImageModel, picture: NDArray[np.uint8]) -> None:
    reference, ours = reference_predictor(nano.network), Segmenter(nano)
    found = []
    for predictor in (reference, ours):
        predictor.set_image(picture)
        point = {"point_coords": np.array([[160, 100]]), "point_labels": np.array([1])}
        _, _, low = predictor.predict(**point)
        found.append(predictor.predict(**point, mask_input=low[:1], multimask_output=False)[0])
        found.append(predictor.predict(mask_input=low[:1], multimask_output=False)[0])
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_array_equal(found[1], found[3])


def test_a_tensor_gives_what_the_picture_gives(nano: ImageModel, picture: NDArray[np.uint8]) -> None:
    from streamseg.images.embedding import model_input

    ours = Segmenter(nano)
    ours.set_image(picture)
    wanted = ours.predict(box=[50, 30, 200, 150])
    ours.set_tensor(model_input(picture, nano.image_size), (320, 200))
    for own, theirs in zip(ours.predict(box=[50, 30, 200, 150]), wanted, strict=True):
        np.testing.assert_array_equal(own, theirs)
    assert torch.equal(ours.get_image_embedding(), ours.get_image_embedding())


def test_the_best_candidates_come_first(nano: ImageModel, picture: NDArray[np.uint8]) -> None:
    ours = Segmenter(nano)
    ours.set_image(picture)
    masks, ious, _ = ours.predict(point_coords=[[160, 100]], point_labels=[1])
    order = np.argsort(-ious)
    three = ours.segment([(160, 100)], candidates=3)
    assert [score for _, score in three] == pytest.approx(ious[order])
    np.testing.assert_array_equal(three[0][0], masks[order[0]] > 0)
    (best,) = ours.segment([(160, 100)])
    np.testing.assert_array_equal(best[0], three[0][0])
    single, _, _ = ours.predict(box=[50, 30, 200, 150], multimask_output=False)
    ((boxed, _),) = ours.segment(box=[50, 30, 200, 150])
    np.testing.assert_array_equal(boxed, single[0] > 0)


def test_a_rough_mask_is_improved() -> None:
    from streamseg.sources.scene.source import Scene

    scene = Scene("scene:simple?size=320x200")
    truth = scene.truth(30)[3]
    rough = np.zeros_like(truth)
    rows, columns = np.flatnonzero(truth.any(axis=1)), np.flatnonzero(truth.any(axis=0))
    rough[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    ours = Segmenter(load_model("nano", device="cpu"))
    ours.set_image(scene.render(30))
    ((mask, _),) = ours.segment(mask=rough)
    assert iou(mask, truth) > max(0.8, iou(rough, truth))
    rough[-4:, -4:] = True
    ((with_a_speck, _),) = ours.segment(mask=rough)
    assert iou(with_a_speck, truth) > 0.8, "its box is that of the object"


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ({}, "the prompt is empty"),
        ({"point_coords": [[1, 2]]}, "point_coords without point_labels"),
        ({"point_coords": [[1, 2]], "point_labels": [1, 0]}, "point_labels"),
        ({"point_coords": [[1, 2, 3]], "point_labels": [1]}, "point_coords has shape"),
        ({"box": [1, 2, 3]}, "box has shape"),
        ({"box": [1, 2, float("nan"), 4]}, "finite"),
        ({"box": ["a", 2, 3, 4]}, "box is invalid"),
        ({"mask_input": np.zeros((1, 5, 5))}, "mask_input has shape"),
        ({"box": [[1, 2, 3, 4]] * 2, "point_coords": [[1, 2]], "point_labels": [1]}, "2 boxes but points of 1"),
    ],
)
def test_malformed_prompts_are_refused(
    nano: ImageModel, picture: NDArray[np.uint8], prompt: dict[str, Any], words: str
) -> None:
    ours = Segmenter(nano)
    with pytest.raises(PromptError, match="call set_image first"):
        ours.predict(**prompt)
    ours.set_image(picture)
    with pytest.raises(PromptError, match=words):
        ours.predict(**prompt)


def test_masks_that_do_not_fit_are_refused(nano: ImageModel, picture: NDArray[np.uint8]) -> None:
    ours = Segmenter(nano)
    ours.set_image(picture)
    with pytest.raises(PromptError, match="the mask has 30x20 pixels, but the picture 320x200"):
        ours.segment(mask=np.ones((20, 30), dtype=np.bool_))
    with pytest.raises(PromptError, match="the mask is empty"):
        ours.segment(mask=np.zeros((200, 320), dtype=np.bool_))
    with pytest.raises(PromptError, match="candidates 4"):
        ours.segment([(1, 2)], candidates=4)
