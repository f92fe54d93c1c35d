"""The reference generator and predictor on our models, and how two lists of records are compared."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from sam2.modeling.sam2_base import SAM2Base

from streamseg.tracker.sam2.build import build_model
from tests.tracker.conftest import SIZE, SMALL_SAM2

# sam2's modules for pictures import torchvision, and with it torch's compiler: 2 s of every process of a test run.
if TYPE_CHECKING:
    from sam2.sam2_image_predictor import SAM2ImagePredictor

Records = Sequence[dict[str, Any]]


def fix_sizes(predictor: SAM2ImagePredictor) -> None:
    """Let the reference's predictor run at sizes other than 1024, which it has fixed."""
    side = predictor.model.image_size
    predictor._bb_feat_sizes = [(side // stride,) * 2 for stride in (4, 8, 16)]


def reference_predictor(network: SAM2Base) -> SAM2ImagePredictor:
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit.script is deprecated
        predictor = SAM2ImagePredictor(network)
    fix_sizes(predictor)
    return predictor


def reference_masks(network: SAM2Base, picture: NDArray[np.uint8], **parameters: Any) -> list[dict[str, Any]]:
    from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit.script is deprecated
        generator = SAM2AutomaticMaskGenerator(network, **parameters)
        fix_sizes(generator.predictor)
        found: list[dict[str, Any]] = generator.generate(picture)
    return found


def random_small_model() -> SAM2Base:
    """Return a small model with random weights, scaled up so that its masks and scores differ from point to point."""
    model = build_model(SMALL_SAM2, image_size=SIZE)
    decoder = model.sam_mask_decoder
    with torch.no_grad():
        for head in decoder.output_hypernetworks_mlps:
            head.layers[-1].weight *= 30
        decoder.iou_prediction_head.layers[-1].weight *= 20
        for embedding in model.sam_prompt_encoder.point_embeddings:
            embedding.weight *= 3
        model.sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix *= 2
    decoder.dynamic_multimask_via_stability = False
    return model


def iou(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    both = int(np.count_nonzero(first | second))
    return int(np.count_nonzero(first & second)) / both if both else 1.0


def best_ious(wanted: Records, given: Records) -> list[float]:
    """Return, for each record of ``wanted``, the IoU of the most similar one of ``given``."""
    return [max((iou(one["segmentation"], other["segmentation"]) for other in given), default=0.0) for one in wanted]
