"""One clip through the model as it tracks: prompt the first frame, carry the memory on, decode every frame.

The steps are sam2's own (``SAM2Base._track_step``). What is trained are the decoder's raw outputs: ``_track_step``
itself replaces the masks of objects that it takes for hidden, which would cut the gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from training.losses import FrameLoss, frame_loss
from training.prompts import PromptKind, correction_click, first_click, noisy_boxes

# Pointers of as many frames are attended to as in an endless video.
_NUM_FRAMES = 16
_LOGIT_LIMIT = 32.0


@dataclass(frozen=True, slots=True)
class Rollout:
    """What came of a batch.

    Attributes:
        losses: One for each decoder output that was trained.
        masks: ``bool [L, T, H/4, W/4]``: the predictions.
        score_logits: ``[L, T]``: > 0 says that the object is visible.
    """

    losses: list[FrameLoss]
    masks: Tensor
    score_logits: Tensor


def roll_out(
    model: SAM2Base,
    images: Tensor,
    lane_clips: Tensor,
    truth: Tensor,
    kind: PromptKind,
    corrections: int,
    generator: torch.Generator,
    asides: Sequence[PromptKind] = (),
) -> Rollout:
    """Track every lane through its clip.

    Args:
        model: In training mode for gradients that match its use; its ``image_size`` must be the images' side.
        images: ``float [T, B, 3, S, S]``: normalised RGB.
        lane_clips: ``int64 [L]``: the clip of each lane.
        truth: ``bool [L, T, S, S]``.
        kind: Of the prompt on the first frame.
        corrections: Clicks into the error region that follow a box or a click.
        generator: Of the prompts, on the CPU.
        asides: Prompts that the first frame is asked with besides, each by itself: their masks are trained but not
            remembered. The trunk's features serve them all, so that a batch teaches every kind of prompt.
    """
    frames, clips = images.shape[:2]
    features = model.forward_image(images.flatten(0, 1))
    _, levels, encodings, sizes = model._prepare_backbone_features(features)
    memory: dict[str, dict[int, Any]] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
    losses, masks, scores = [], [], []
    with _decoder_outputs(model) as decoded:
        for t in range(frames):
            rows = t * clips + lane_clips
            frame = _Frame([level[:, rows] for level in levels], [part[:, rows] for part in encodings], sizes)
            if t == 0:
                for aside in asides:
                    _step(model, frame, t, _prompts(aside, truth[:, 0], generator), memory)
                    losses.append(frame_loss(*decoded[-1], truth[:, 0]))
            prompts = _prompts(kind, truth[:, 0], generator) if t == 0 else _Prompts()
            outputs = _step(model, frame, t, prompts, memory)
            for _ in range(corrections if t == 0 and kind != "mask" else 0):
                losses.append(frame_loss(*decoded[-1], truth[:, 0]))
                prompts = _correct(prompts, outputs, truth[:, 0], generator)
                outputs = _step(model, frame, t, prompts, memory)
            if prompts.masks is None:
                losses.append(frame_loss(*decoded[-1], truth[:, t]))
            current, low_res, high_res, pointer, score = outputs
            current["obj_ptr"] = pointer
            model._encode_memory_in_output(frame.features, sizes, prompts.points, True, high_res, score, current)
            memory["cond_frame_outputs" if t == 0 else "non_cond_frame_outputs"][t] = current
            masks.append(low_res[:, 0].detach() > 0)
            scores.append(score[:, 0].detach())
    return Rollout(losses, torch.stack(masks, 1), torch.stack(scores, 1))


@dataclass(frozen=True, slots=True)
class _Frame:
    features: list[Tensor]
    encodings: list[Tensor]
    sizes: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class _Prompts:
    points: dict[str, Tensor] | None = None
    masks: Tensor | None = None
    previous_logits: Tensor | None = None


def _prompts(kind: PromptKind, truth: Tensor, generator: torch.Generator) -> _Prompts:
    if kind == "mask":
        return _Prompts(masks=truth[:, None].float())
    coords, labels = (noisy_boxes if kind == "box" else first_click)(truth, generator)
    return _Prompts(points={"point_coords": coords, "point_labels": labels})


def _correct(prompts: _Prompts, outputs: tuple[Any, ...], truth: Tensor, generator: torch.Generator) -> _Prompts:
    _, low_res, high_res, _, _ = outputs
    assert prompts.points is not None
    click, label = correction_click(high_res[:, 0] > 0, truth, generator)
    points = {
        "point_coords": torch.cat([prompts.points["point_coords"], click], 1),
        "point_labels": torch.cat([prompts.points["point_labels"], label], 1),
    }
    return _Prompts(points=points, previous_logits=low_res.detach().clamp(-_LOGIT_LIMIT, _LOGIT_LIMIT))


def _step(model: SAM2Base, frame: _Frame, t: int, prompts: _Prompts, memory: dict[str, Any]) -> tuple[Any, ...]:
    current, heads, _, _ = model._track_step(
        frame_idx=t,
        is_init_cond_frame=t == 0,
        current_vision_feats=frame.features,
        current_vision_pos_embeds=frame.encodings,
        feat_sizes=frame.sizes,
        point_inputs=prompts.points,
        mask_inputs=prompts.masks,
        output_dict=memory,
        num_frames=_NUM_FRAMES,
        track_in_reverse=False,
        prev_sam_mask_logits=prompts.previous_logits,
    )
    _, _, _, low_res, high_res, pointer, score = heads
    return current, low_res, high_res, pointer, score


@contextmanager
def _decoder_outputs(model: SAM2Base) -> Iterator[list[tuple[Tensor, Tensor, Tensor]]]:
    """Collect mask logits ``[L, M, h, w]``, IoU predictions ``[L, M]`` and score logits ``[L, 1]`` of each decoding."""
    collected: list[tuple[Tensor, Tensor, Tensor]] = []

    def collect(_module: object, _inputs: object, outputs: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
        mask_logits, iou_predictions, _, score_logits = outputs
        collected.append((mask_logits, iou_predictions, score_logits))

    handle = model.sam_mask_decoder.register_forward_hook(collect)
    try:
        yield collected
    finally:
        handle.remove()
