"""Applies a prompt to one object on one frame.

Prompts are rare and vary in shape, so they run eagerly, one at a time, and unpadded: a padding point would be a real
token of the decoder and change the result. The heads are sam2's own (``SAM2Base._forward_sam_heads`` and
``_use_mask_as_output``). Memory is encoded from the binarized low-res mask, as the official predictor does before it
propagates (``SAM2VideoPredictor.propagate_in_video_preflight``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from streamseg.tracker.sam2.appearance import look_of
from streamseg.tracker.sam2.memory_bank import MemoryBank
from streamseg.tracker.sam2.prompt_tensors import PromptTensors
from streamseg.tracker.sam2.step import Features, StepOutput, TrackStep

_LOGITS_LIMIT = 32.0  # the reference clamps earlier logits to this before it feeds them to the decoder


class PromptOutput(NamedTuple):
    """The result of a prompt on one frame of one object.

    Attributes:
        step: The mask, for ``B`` = 1.
        low_res: ``[1, 1, h, w]``; its logits in the decoder's precision.
        pointer: ``[C]``; the object pointer.
        candidates: All masks that the decoder offered, for ``B`` = 1 or 3, best first.
    """

    step: StepOutput
    low_res: Tensor
    pointer: Tensor
    candidates: StepOutput


class PromptMemory(NamedTuple):
    """The memory of a prompted frame of one object.

    Attributes:
        features: ``[tokens, memory_dim]``.
        pointer: ``[C]``; the object pointer.
        look: ``[colors]``; its look, if the policy compares colors.
    """

    features: Tensor
    pointer: Tensor
    look: Tensor | None


def apply_prompt(
    step: TrackStep,
    features: Features,
    prompt: PromptTensors,
    *,
    memory: tuple[MemoryBank, int, int, int] | None,
    earlier_logits: Tensor | None,
    ambiguous: bool = False,
    choice: int | None = None,
) -> PromptOutput:
    """Segment an object by a prompt.

    Args:
        step: Holds the model.
        features: Features of the frame.
        prompt: The prompt.
        memory: (bank, lane, frame, conditioning slots in use) to correct an object with memory; None for a new
            object, which sees this frame only.
        earlier_logits: ``[1, h, w]``; the object's mask on this frame before the prompt, which points refine.
        ambiguous: Request three masks from the decoder, for any number of points. Not for a mask.
        choice: Which of the three to take, by falling predicted IoU; None: like the reference.
    """
    model = step.model
    top = step.as_map(features.top)
    high_res = [features.stride4, features.stride8]
    if prompt.mask is not None:
        heads = model._use_mask_as_output(top, high_res, prompt.mask)
    else:
        points = {"point_coords": prompt.points, "point_labels": prompt.labels}
        if memory is None:
            conditioned = top + model.no_mem_embed.view(1, -1, 1, 1)
        else:
            bank, lane, frame, conditioning = memory
            index = torch.tensor([[lane], [frame]], device=top.device)
            conditioned = step.condition(step.read(bank, index, conditioning, True, features.colors), features, True)
        refine = None if earlier_logits is None else earlier_logits[None].clamp(-_LOGITS_LIMIT, _LOGITS_LIMIT)
        with _choosing(model.sam_mask_decoder, choice):
            heads = model._forward_sam_heads(
                backbone_features=conditioned,
                point_inputs=points,
                mask_inputs=refine,
                high_res_features=high_res,
                multimask_output=ambiguous or choice is not None or model._use_multimask(memory is None, points),
            )
    offered, _, ious, low_res, _, pointer, score = heads
    return PromptOutput(
        # The best of several candidate masks was taken, so the largest predicted IoU belongs to it.
        StepOutput(low_res[:, 0].float(), ious.amax(dim=1).float(), score[:, 0].float()),
        low_res,
        pointer[0],
        _candidates(offered, ious, score),
    )


def encode_memory(step: TrackStep, features: Features, out: PromptOutput) -> PromptMemory:
    """Return the memory of a prompted frame, which a preview does not need.

    Args:
        step: Holds the model.
        features: Features of the frame.
        out: The result of the prompt.
    """
    model, side = step.model, step.side
    size = (model.image_size, model.image_size)
    encoded, _ = model._encode_new_memory(
        current_vision_feats=[features.top.transpose(0, 1)],
        feat_sizes=[(side, side)],
        pred_masks_high_res=functional.interpolate(out.low_res, size=size, mode="bilinear", align_corners=False),
        object_score_logits=out.step.object_score_logits[:, None],
        is_mask_from_pts=True,
    )
    look = look_of(features.colors[0], out.low_res[0, 0] > 0) if step.policy.compares_colors else None
    return PromptMemory(encoded[0].flatten(1).t(), out.pointer, look)


def _candidates(offered: Tensor, ious: Tensor, score: Tensor) -> StepOutput:
    """Sort ``[1, M, h, w]`` masks by their predicted IoU ``[1, M]``."""
    order = ious[0].argsort(descending=True)
    return StepOutput(offered[0, order].float(), ious[0, order].float(), score[:, 0].float().expand(len(order)))


@contextmanager
def _choosing(decoder: nn.Module, choice: int | None) -> Iterator[None]:
    """Make the decoder offer only one of its masks, so that sam2's code derives the object pointer from it."""
    if choice is None:
        yield
        return

    def keep_one(_module: nn.Module, _args: object, output: tuple[Tensor, Tensor, Tensor, Tensor]) -> object:
        masks, ious, tokens, score = output
        place = int(ious[0].argsort(descending=True)[choice])
        kept = slice(place, place + 1)
        return masks[:, kept], ious[:, kept], tokens[:, kept] if tokens.shape[1] > 1 else tokens, score

    hook = decoder.register_forward_hook(keep_one)
    try:
        yield
    finally:
        hook.remove()
