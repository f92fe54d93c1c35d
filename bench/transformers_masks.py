"""Hugging Face's mask-generation pipeline (``transformers``, ``Sam2Model``) as an arm of ``automask.py``.

The pipeline filters and removes duplicates as sam2 does, with every candidate at the picture's size. It takes no
``use_m2m``; its results are binary masks and scores.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco
from sam2.modeling.sam2_base import SAM2Base
from transformers import (
    Sam2Config,
    Sam2ImageProcessor,
    Sam2MaskDecoderConfig,
    Sam2Model,
    Sam2PromptEncoderConfig,
    pipeline,
)
from transformers_video import model_config, renamed


def mask_generation(
    model: SAM2Base, side: int, parameters: dict[str, float]
) -> Callable[[np.ndarray], list[dict[str, Any]]]:
    """Return a function from a picture to records with ``coco_rle``.

    Args:
        model: With a Hiera trunk; its weights are copied.
        side: Points along one side.
        parameters: ``pred_iou_thresh`` and ``stability_score_thresh``.
    """
    config = Sam2Config(
        vision_config=model_config(model).vision_config,
        prompt_encoder_config=Sam2PromptEncoderConfig(image_size=model.image_size),
        mask_decoder_config=Sam2MaskDecoderConfig(dynamic_multimask_via_stability=False),
    )
    theirs = Sam2Model(config).requires_grad_(False).eval()
    weights = renamed(model.state_dict())
    wanted = theirs.state_dict()
    theirs.load_state_dict({name: weights[name] for name in wanted})
    size = {"height": model.image_size, "width": model.image_size}
    processor = Sam2ImageProcessor(size=size, mask_size={key: value // 4 for key, value in size.items()})
    generate = pipeline("mask-generation", model=theirs, image_processor=processor, device="cpu")

    def records(picture: np.ndarray) -> list[dict[str, Any]]:
        found = generate(
            Image.fromarray(picture),
            points_per_crop=side,
            points_per_batch=64,
            pred_iou_thresh=parameters["pred_iou_thresh"],
            stability_score_thresh=parameters["stability_score_thresh"],
            stability_score_offset=1,
            crops_nms_thresh=parameters.get("box_nms_thresh", 0.7),
        )
        return [
            {"segmentation": coco.encode(np.asfortranarray(mask, dtype=np.uint8)), "predicted_iou": float(score)}
            for mask, score in zip(found["masks"], found["scores"], strict=True)
        ]

    return records
