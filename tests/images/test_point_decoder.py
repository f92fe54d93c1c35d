from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sam2.modeling.sam2_base import SAM2Base

from streamseg.images.embedding import Embedding, embed
from streamseg.images.model import ImageModel
from streamseg.images.reference_decoder import ReferenceDecoder
from streamseg.tracker.sam2.point_decoder import PointDecoder

POINTS = torch.rand(10, 2, generator=torch.Generator().manual_seed(3))


@pytest.fixture(params=["nano", "small"])
def model(request: pytest.FixtureRequest, nano: ImageModel, small: SAM2Base) -> ImageModel:
    return nano if request.param == "nano" else ImageModel(small)


def point_decoder(model: ImageModel, embedding: Embedding, batch: int) -> PointDecoder:
    return PointDecoder(model.network, embedding.top, embedding.stride8, embedding.stride4, batch)


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize("falls_back", [False, True])
def test_masks_and_scores_are_the_reference_s(
    model: ImageModel, picture: NDArray[np.uint8], multimask: bool, refine: bool, falls_back: bool
) -> None:
    decoder = model.network.sam_mask_decoder
    decoder.dynamic_multimask_via_stability = falls_back
    try:
        with torch.no_grad(), model.precision():
            embedding = embed(model, picture)
            points = POINTS * model.image_size
            arms = [build(model, embedding, 64) for build in (ReferenceDecoder, point_decoder)]
            mask = arms[0](points, None, multimask=False, above_iou=None).logits if refine else None
            wanted, given = (arm(points, mask, multimask=multimask, above_iou=None) for arm in arms)
    finally:
        decoder.dynamic_multimask_via_stability = False
    scale = float(wanted.logits.std())
    assert scale > 0.1
    torch.testing.assert_close(given.logits, wanted.logits, atol=2e-5 * scale, rtol=1e-5)
    torch.testing.assert_close(given.ious, wanted.ious, atol=1e-5, rtol=0)
    assert torch.equal(given.points, wanted.points)


def test_masks_of_low_predicted_iou_are_left_out(model: ImageModel, picture: NDArray[np.uint8]) -> None:
    with torch.no_grad(), model.precision():
        decoder = point_decoder(model, embed(model, picture), 64)
        every = decoder(POINTS * model.image_size, None, multimask=True, above_iou=None)
        least = float(every.ious.median())
        some = decoder(POINTS * model.image_size, None, multimask=True, above_iou=least)
        none = decoder(POINTS * model.image_size, None, multimask=True, above_iou=1.0)
    above = every.ious > least
    assert 0 < int(above.sum()) < len(above)
    torch.testing.assert_close(some.logits, every.logits[above], atol=1e-4, rtol=1e-4)
    assert torch.equal(some.points, every.points[above])
    assert none.logits.shape == (0, *every.logits.shape[1:])
