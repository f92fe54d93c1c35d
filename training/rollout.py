"""Runs clips through the model like the tracker: prompt the first frame, keep the memory, decode every frame.

The steps are sam2's own (``SAM2Base._track_step``). The losses use the decoder's raw outputs, because ``_track_step``
replaces the masks of objects that it considers hidden, which would cut the gradient.

A clip is trained in windows of frames. Gradients flow within a window, which starts with the model's own memory of the
earlier frames, including its mistakes (truncated backpropagation through time).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from training.batches import Batch, normalize
from training.losses import FrameLoss, frame_loss
from training.prompts import PromptKind, correction_click, first_click, noisy_boxes

# Attend to as many object pointers as in an endless video.
_NUM_FRAMES = 16
_LOGIT_LIMIT = 32.0
# Smaller objects, in input pixels, cannot be prompted sensibly.
_MIN_ASIDE_PX = 64
_ASIDE_KINDS: tuple[PromptKind, ...] = ("box", "point")
_ASIDE_CORRECTION_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Window:
    """Results of a window of a batch.

    Attributes:
        first: Index of its first frame in the clip.
        losses: One for each trained decoder output.
        masks: ``bool [L, W, H/4, W/4]``: the predictions.
        score_logits: ``[L, W]``: > 0 means that the object is visible.
        iou_predictions: ``[L, W]``: the model's estimates for its masks.
    """

    first: int
    losses: list[FrameLoss]
    masks: Tensor
    score_logits: Tensor
    iou_predictions: Tensor


class Rollout:
    """One batch on its way through a model.

    Args:
        batch: The batch; all its clips start with a prompt.
        device: Device of the model.
    """

    def __init__(self, batch: Batch, device: torch.device) -> None:
        self.batch = batch
        self.position = 0
        self._device = device
        self._lane_clips = batch.lane_clips.to(device, non_blocking=True)
        self._generator = torch.Generator().manual_seed(batch.request.step)
        self._memory: dict[str, dict[int, Any]] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}

    @property
    def done(self) -> bool:
        """Whether every frame was tracked."""
        return self.position >= len(self.batch.images)

    def advance(self, model: SAM2Base) -> Window:
        """Track the next window of the batch.

        Args:
            model: The model, in training mode; its ``image_size`` is the images' side.
        """
        first, last = self.position, min(self.position + self.batch.window, len(self.batch.images))
        images = normalize(self.batch.images[first:last].to(self._device, non_blocking=True))
        truth = self.batch.truth[:, first:last].to(self._device, non_blocking=True)
        picture = _Picture.of_frames(model, images.flatten(0, 1))
        losses: list[FrameLoss] = []
        tracked = []
        with _decoder_outputs(model) as decoded:
            for t in range(last - first):
                rows = t * images.shape[1] + self._lane_clips
                tracked.append(self._track(model, picture.of(rows), first + t, truth[:, t], decoded, losses))
            for _ in range(self.batch.asides):
                self._ask_aside(model, picture, truth, first == 0, decoded, losses)
        self._forget(first + len(tracked))
        self.position = last
        masks, scores, ious = (torch.stack(parts, 1) for parts in zip(*tracked, strict=True))
        return Window(first, losses, masks, scores, ious)

    def _track(
        self, model: SAM2Base, frame: _Picture, t: int, truth: Tensor, decoded: _Decoded, losses: list[FrameLoss]
    ) -> tuple[Tensor, Tensor, Tensor]:
        batch = self.batch
        prompts = _prompts(batch.kind, truth, self._generator) if t == 0 else _Prompts()
        outputs = _step(model, frame, t, prompts, self._memory)
        for _ in range(batch.corrections if t == 0 and batch.kind != "mask" else 0):
            losses.append(frame_loss(*decoded[-1], truth))
            prompts = _correct(prompts, outputs, truth, self._generator)
            outputs = _step(model, frame, t, prompts, self._memory)
        if prompts.masks is None:
            losses.append(frame_loss(*decoded[-1], truth))
        current, ious, low_res, high_res, pointer, score = outputs
        current["obj_ptr"] = pointer
        model._encode_memory_in_output(frame.levels, frame.sizes, prompts.points, True, high_res, score, current)
        self._memory["cond_frame_outputs" if t == 0 else "non_cond_frame_outputs"][t] = current
        return low_res[:, 0].detach() > 0, score[:, 0].detach(), ious.detach().amax(1)

    def _ask_aside(
        self,
        model: SAM2Base,
        picture: _Picture,
        truth: Tensor,
        prompted: bool,
        decoded: _Decoded,
        losses: list[FrameLoss],
    ) -> None:
        """Prompt one frame with boxes or clicks as if the video began there. Adds losses, but no memory.

        All these prompts share the trunk's features. A window with the prompted frame uses that frame, so that every
        kind of prompt is trained there.
        """
        random = self._generator
        t = 0 if prompted else int(torch.randint(truth.shape[1], (), generator=random))
        seen = truth[:, t].flatten(1).sum(1) >= _MIN_ASIDE_PX
        if not bool(seen.any()):
            return
        kind = _ASIDE_KINDS[int(torch.randint(2, (), generator=random))]
        clips = self.batch.images.shape[1]
        frame, asked = picture.of(t * clips + self._lane_clips[seen]), truth[:, t][seen]
        prompts = _prompts(kind, asked, random)
        outputs = _step(model, frame, 0, prompts, self._memory)
        losses.append(frame_loss(*decoded[-1], asked))
        if float(torch.rand((), generator=random)) < _ASIDE_CORRECTION_SHARE:
            _step(model, frame, 0, _correct(prompts, outputs, asked, random), self._memory)
            losses.append(frame_loss(*decoded[-1], asked))

    def _forget(self, now: int) -> None:
        """Detach the memory, and drop frames that later ones do not attend to."""
        recent = self._memory["non_cond_frame_outputs"]
        for t in [t for t in recent if t < now - _NUM_FRAMES]:
            del recent[t]
        for output in (*self._memory["cond_frame_outputs"].values(), *recent.values()):
            for name in ("maskmem_features", "obj_ptr"):
                output[name] = output[name].detach()


_Decoded = list[tuple[Tensor, Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class _Picture:
    """Features of frames or lanes in sam2's layout: each level and encoding is ``[cells, N, channels]``."""

    levels: list[Tensor]
    encodings: list[Tensor]
    sizes: list[tuple[int, int]]

    @classmethod
    def of_frames(cls, model: SAM2Base, images: Tensor) -> _Picture:
        """Encode ``images [N, 3, S, S]``."""
        features = model.forward_image(images)
        # Make them contiguous once: each lane is then one block, and sam2's permutations are views.
        features["backbone_fpn"] = [level.contiguous() for level in features["backbone_fpn"]]
        _, levels, encodings, sizes = model._prepare_backbone_features(features)
        return cls(levels, encodings, sizes)

    def of(self, rows: Tensor) -> _Picture:
        """Return the features of these frames, ``int64 [L]``; frames may repeat."""
        levels = [level.permute(1, 2, 0).index_select(0, rows).permute(2, 0, 1) for level in self.levels]
        # Encodings are the same for every frame.
        encodings = [part[:, :1].expand(-1, len(rows), -1) for part in self.encodings]
        return _Picture(levels, encodings, self.sizes)


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
    _, _, low_res, high_res, _, _ = outputs
    assert prompts.points is not None
    click, label = correction_click(high_res[:, 0] > 0, truth, generator)
    points = {
        "point_coords": torch.cat([prompts.points["point_coords"], click], 1),
        "point_labels": torch.cat([prompts.points["point_labels"], label], 1),
    }
    return _Prompts(points=points, previous_logits=low_res.detach().clamp(-_LOGIT_LIMIT, _LOGIT_LIMIT))


def _step(model: SAM2Base, frame: _Picture, t: int, prompts: _Prompts, memory: dict[str, Any]) -> tuple[Any, ...]:
    current, heads, _, _ = model._track_step(
        frame_idx=t,
        is_init_cond_frame=t == 0,
        current_vision_feats=frame.levels,
        current_vision_pos_embeds=frame.encodings,
        feat_sizes=frame.sizes,
        point_inputs=prompts.points,
        mask_inputs=prompts.masks,
        output_dict=memory,
        num_frames=_NUM_FRAMES,
        track_in_reverse=False,
        prev_sam_mask_logits=prompts.previous_logits,
    )
    _, _, ious, low_res, high_res, pointer, score = heads
    return current, ious, low_res, high_res, pointer, score


@contextmanager
def _decoder_outputs(model: SAM2Base) -> Iterator[_Decoded]:
    """Collect mask logits ``[L, M, h, w]``, IoU predictions ``[L, M]`` and score logits ``[L, 1]`` of each decoding."""
    collected: _Decoded = []

    def collect(_module: object, _inputs: object, outputs: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
        mask_logits, iou_predictions, _, score_logits = outputs
        collected.append((mask_logits, iou_predictions, score_logits))

    handle = model.sam_mask_decoder.register_forward_hook(collect)
    try:
        yield collected
    finally:
        handle.remove()
