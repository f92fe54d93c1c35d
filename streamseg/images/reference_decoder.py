"""Decodes prompts to low-res masks with sam2's own modules and the reference's batches, for identical bits."""

from __future__ import annotations

import torch
from torch import Tensor

from streamseg.images.embedding import Embedding
from streamseg.images.model import ImageModel
from streamseg.tracker.sam2.point_decoder import Decoded

LOGITS_LIMIT = 32.0
"""The reference clamps logits to this before it feeds them to the decoder again."""


def decode_prompts(
    model: ImageModel,
    embedding: Embedding,
    points: Tensor | None,
    labels: Tensor | None,
    mask_input: Tensor | None,
    *,
    multimask: bool,
) -> tuple[Tensor, Tensor]:
    """Segment ``B`` prompts on one picture, as ``SAM2ImagePredictor._predict`` does.

    Args:
        model: The model.
        embedding: Embedding of the picture.
        points: ``[B, P, 2]`` in pixels of the model input; corners of boxes come first.
        labels: ``int [B, P]``; 1 and 0 for points, 2 and 3 for corners.
        mask_input: ``[B, 1, h, w]`` low-res logits.
        multimask: Three masks per prompt rather than one.

    Returns:
        Low-res logits ``[B, M, h, w]`` and predicted IoUs ``[B, M]``.
    """
    network = model.network
    prompt = None if points is None else (points, labels)
    sparse, dense = network.sam_prompt_encoder(points=prompt, boxes=None, masks=mask_input)
    logits, ious, _, _ = network.sam_mask_decoder(
        image_embeddings=embedding.top,
        image_pe=network.sam_prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=multimask,
        repeat_image=points is not None and len(points) > 1,
        high_res_features=[embedding.stride4, embedding.stride8],
    )
    return logits, ious


class ReferenceDecoder:
    """Decodes single points with sam2's own modules.

    Args:
        model: The model.
        embedding: Embedding of the picture.
        batch: Number of points decoded at once.
    """

    def __init__(self, model: ImageModel, embedding: Embedding, batch: int) -> None:
        self._model = model
        self._embedding = embedding
        self.batch = batch

    def __call__(
        self, points: Tensor, mask_input: Tensor | None, *, multimask: bool, above_iou: float | None
    ) -> Decoded:
        """Segment ``[B, 2]`` points in pixels of the model input; return those whose predicted IoU is high enough.

        Args:
            points: At most ``batch`` of them.
            mask_input: ``[B, h, w]`` low-res logits to refine.
            multimask: Three masks per point rather than one.
            above_iou: Drop masks whose predicted IoU is not above this; None: keep all.
        """
        labels = torch.ones(len(points), 1, dtype=torch.int32, device=points.device)
        mask = None if mask_input is None else mask_input[:, None]
        logits, ious = decode_prompts(self._model, self._embedding, points[:, None], labels, mask, multimask=multimask)
        which = torch.arange(len(points), device=points.device).repeat_interleave(logits.shape[1])
        found = Decoded(logits.flatten(0, 1).float(), ious.flatten().float(), which)
        return found if above_iou is None else found.keep(found.ious > above_iou)
