"""One tracking step for a batch of lanes, after the image encoder.

Memory attention, mask decoder, memory encoder, ring write: a function of tensors whose shapes depend only on the number
of lanes. It reads no value back to the host and can be traced as one graph. The modules are sam2's; the glue is ours
and follows ``sam2_base.py``: ``_prepare_memory_conditioned_features``, ``_forward_sam_heads``,
``_encode_new_memory``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

import torch
from sam2.modeling.sam2_base import NO_OBJ_SCORE, SAM2Base
from sam2.modeling.sam2_utils import get_1d_sine_pe
from torch import Tensor, nn
from torch.nn import functional

from streamseg.tracker.sam2.appearance import Evidence, colors_of
from streamseg.tracker.sam2.image_encoder import FixedImageEncoder
from streamseg.tracker.sam2.memory_attention import FixedMemoryAttention, MemoryTokens
from streamseg.tracker.sam2.memory_bank import BankShape, MemoryBank, Recall
from streamseg.tracker.sam2.memory_policy import SAM2, MemoryPolicy, mask_quality
from streamseg.tracker.sam2.ranged_attention import KeyRanges

_PLAUSIBLE: Final = 0.6
"""A candidate mask is a rival if its predicted IoU is at least this share of the chosen one's."""
_STEADY: Final = 0.3
"""What full agreement with the last mask adds to a candidate's predicted IoU. Where objects touch, the candidates for a
whole object and for a part of it often have the same predicted IoU, and a part that is remembered shrinks further."""


class Features(NamedTuple):
    """Image features of ``S`` streams' frames.

    Attributes:
        top: ``[S, tokens, C]`` at stride 16.
        attended: ``[S, tokens, C]``: ``top`` after memory attention's first self-attention.
        stride8: ``[S, C / 4, 2h, 2w]``.
        stride4: ``[S, C / 8, 4h, 4w]``.
        colors: ``[S, 8h, 8w]`` int16 for the policy that compares colors, else ``[S, 0, 0]``.
    """

    top: Tensor
    attended: Tensor
    stride8: Tensor
    stride4: Tensor
    colors: Tensor

    def row(self, row: int) -> Features:
        """Return the features of one stream, as a view."""
        return Features(*(level[row : row + 1] for level in self))

    def select(self, rows: Tensor) -> Features:
        """Return a copy of the features of streams ``[B]`` int64, one per lane."""
        return Features(*(level.index_select(0, rows) for level in self))


class StepOutput(NamedTuple):
    """Masks of ``B`` lanes.

    Attributes:
        mask_logits: ``[B, h, w]`` float32 at stride 4; object where > 0.
        iou_prediction: ``[B]`` float32.
        object_score_logits: ``[B]`` float32; > 0: the object is visible.
    """

    mask_logits: Tensor
    iou_prediction: Tensor
    object_score_logits: Tensor

    def select(self, rows: Tensor) -> StepOutput:
        """Return a copy of lanes ``[B]`` int64."""
        return StepOutput(*(value[rows] for value in self))


class Memory(NamedTuple):
    """The memory that ``B`` lanes read for one frame, as tensors, so that :meth:`TrackStep.infer` needs no bank.

    Attributes:
        recall: Slots and pointers.
        pointer_sines: ``[B, Q, width]`` float32; the temporal encoding of the pointers before its projection, or
            ``[B, Q, 0]`` if the model has none. Computed here, because the sine of an age in low precision is noise.
        others: Evidence of other objects, for the policy that compares colors.
    """

    recall: Recall
    pointer_sines: Tensor
    others: Evidence | None = None


class Tracked(NamedTuple):
    """The step's result for ``B`` lanes, before it is stored.

    Attributes:
        output: The masks.
        features: ``[B, tokens, memory_dim]``; the memory of the frame.
        pointers: ``[B, C]``; the object pointers.
        rival: ``[B]`` float32; how much the other candidate masks add to the chosen one, from 0 (nothing) towards 1.
    """

    output: StepOutput
    features: Tensor
    pointers: Tensor
    rival: Tensor


class TrackStep(nn.Module):
    """The step: read the bank (:meth:`read`), compute (:meth:`infer`), store the result (:meth:`write`).

    All arithmetic of the model is in :meth:`infer`, a function of tensors, which engines replace. Torch always reads
    and writes the bank.

    Args:
        model: The model, in evaluation mode, on its device.
        spatial_frames: Frames before the current one whose memory is read.
        policy: Decides which of them.

    Attributes:
        upsample: Scales masks ``[B, 1, 4h, 4w]`` to the model's input; engines may replace it with an equal function.
    """

    top_pos: Tensor
    memory_pos: Tensor
    temporal: Tensor
    slot_pos: Tensor
    image_pe: Tensor
    no_points: Tensor
    no_mask: Tensor

    def __init__(self, model: SAM2Base, spatial_frames: int, policy: MemoryPolicy = SAM2) -> None:
        super().__init__()
        self.model = model
        self.side = model.image_size // model.backbone_stride
        self.image_encoder = FixedImageEncoder(model)
        self.attention = FixedMemoryAttention(model.memory_attention)
        self._spatial_frames = spatial_frames
        self.policy = policy
        # A pointer is as wide as the features and is split into tokens as wide as the memory.
        self._pointer_tokens = int(model.hidden_dim // model.mem_dim)
        self.multimask = bool(model._use_multimask(is_init_cond_frame=False, point_inputs=None))
        self.upsample: Callable[[Tensor], Tensor] = partial(
            functional.interpolate, size=(model.image_size, model.image_size), mode="bilinear", align_corners=False
        )
        self._cache_constants(spatial_frames)

    def _cache_constants(self, spatial_frames: int) -> None:
        """Precompute constants that the reference computes for every frame."""
        model, side = self.model, self.side
        device = model.device

        def encoding(module: nn.Module) -> Tensor:
            grid: Tensor = module(torch.zeros(1, 1, side, side, device=device))
            return grid[0].flatten(1).t().contiguous()

        no_point = torch.zeros(1, 1, 2, device=device), -torch.ones(1, 1, dtype=torch.int32, device=device)
        sparse, dense = model.sam_prompt_encoder(points=no_point, boxes=None, masks=None)
        # Entry a - 1 encodes age a, and the last entry a conditioning frame of any age (sam2_base.py:582). That entry
        # comes first here, so that conditioning frames are encoded as age 0.
        encodings = model.maskmem_tpos_enc[:, 0]
        temporal = torch.cat([encodings[-1:], encodings[:spatial_frames]])
        memory_pos = encoding(model.memory_encoder.position_encoding)
        self.register_buffer("top_pos", encoding(model.image_encoder.neck.position_encoding), persistent=False)
        self.register_buffer("memory_pos", memory_pos, persistent=False)
        self.register_buffer("temporal", temporal[:, 0], persistent=False)
        self.register_buffer("slot_pos", memory_pos + temporal, persistent=False)
        self.register_buffer("image_pe", model.sam_prompt_encoder.get_dense_pe(), persistent=False)
        self.register_buffer("no_points", sparse, persistent=False)
        self.register_buffer("no_mask", dense.contiguous(), persistent=False)

    def keys(self, shape: BankShape, conditioning: int) -> int:
        """Return the number of memory tokens that a lane attends to with that many conditioning frames."""
        spatial, pointers = shape.spatial_frames + conditioning, shape.pointer_frames + conditioning
        return spatial * shape.tokens + pointers * self._pointer_tokens

    def encode(self, images: Tensor) -> Features:
        """Encode frames ``[S, 3, image_size, image_size]``: everything that does not depend on objects."""
        top, stride8, stride4 = self.image_encoder(images)
        tokens = top.flatten(2).transpose(1, 2)
        attended = self.attention.attend_to_self(tokens, self.top_pos)
        return Features(tokens, attended, stride8, stride4, self.colors(images))

    def colors(self, images: Tensor) -> Tensor:
        """Return the colors of frames ``[S, 3, image_size, image_size]``, see :class:`Features`."""
        if self.policy.compares_colors:
            return colors_of(images, 4 * self.side)
        return images.new_zeros(len(images), 0, 0, dtype=torch.int16)

    def forward(
        self, bank: MemoryBank, index: Tensor, features: Features, conditioning: int, masked: bool
    ) -> StepOutput:
        """Track each lane on its stream's current frame and remember it.

        Args:
            bank: Memory of all lanes; modified.
            index: ``[2, B]`` int64: lane, frame number.
            features: Features of each lane's current frame.
            conditioning: Number of conditioning slots to read.
            masked: Whether some slots may be empty; if so, they are packed if memory attention has a kernel for ranges,
                or else masked. With False the caller guarantees that all slots are filled.
        """
        memory = self.read(bank, index, conditioning, masked, features.colors)
        tracked = self.infer(memory, features, masked)
        self.write(bank, index, memory, tracked)
        return tracked.output

    def read(self, bank: MemoryBank, index: Tensor, conditioning: int, masked: bool, colors: Tensor) -> Memory:
        """Read each lane's memory for its frame. Args: as :meth:`forward`, and the ``colors`` of its features."""
        lanes, frames = index.unbind(0)
        others = bank.evidence(lanes, frames, colors) if self.policy.compares_colors else None
        recall = bank.recall(lanes, frames, conditioning, packed=self._packs(masked), others=others)
        model = self.model
        if not model.add_tpos_enc_to_obj_ptrs:
            return Memory(recall, recall.pointers[..., :0], others)
        # Normalized by the maximum age in videos of 16 frames or more, because a stream has no length.
        age = recall.pointer_age / (model.max_obj_ptrs_in_encoder - 1)
        width = model.hidden_dim if model.proj_tpos_enc_in_obj_ptrs else model.mem_dim
        return Memory(recall, get_1d_sine_pe(age, dim=width), others)

    def infer(self, memory: Memory, features: Features, masked: bool) -> Tracked:
        """Track each lane: memory attention, mask decoder, memory encoder. Reads and writes no bank.

        Args:
            memory: Memory of each lane, from :meth:`read` with the same ``masked``.
            features: Features of each lane's current frame.
            masked: As in :meth:`forward`.
        """
        conditioned = self.condition(memory, features, masked)
        logits, iou, pointers, score, rival = self._decode(conditioned, features, memory.others)
        encoded = self._remember(self.as_map(features.top), logits, score)
        return Tracked(StepOutput(logits[:, 0], iou, score[:, 0].float()), encoded, pointers, rival)

    def write(self, bank: MemoryBank, index: Tensor, memory: Memory, tracked: Tracked) -> None:
        """Store the result in the bank, given the memory that it was tracked with."""
        lanes, frames = index.unbind(0)
        quality = self._quality(tracked.output, memory.others) if self.policy.skips_frames else None
        bank.write_tracked(lanes, frames, tracked.features, tracked.pointers, quality, tracked.rival)
        if memory.others is not None:
            bank.write_masks(lanes, frames, tracked.output.mask_logits, memory.others)

    def _quality(self, output: StepOutput, others: Evidence | None) -> Tensor:
        """Return the quality of masks ``[B]``; if colors are compared, whether the object is seen in its colors."""
        if others is None:
            return mask_quality(*output)
        masks = output.mask_logits > 0
        return ((output.object_score_logits > 0) & masks.flatten(1).any(1) & ~others.foreign(masks)).float()

    def condition(self, memory: Memory, features: Features, masked: bool) -> Tensor:
        """Fuse the current frame's features with each lane's memory.

        Args: as :meth:`infer`.

        Returns:
            ``[B, C, h, w]``.
        """
        tokens = self._memory_tokens(memory, masked)
        fused: Tensor = self.attention(features.attended, self.top_pos, tokens)
        return self.as_map(fused)

    def _packs(self, masked: bool) -> bool:
        """Return whether filled slots are packed into one range of keys."""
        return masked and self.attention.attend_ranges is not None

    def as_map(self, tokens: Tensor) -> Tensor:
        """``[B, tokens, C]`` -> ``[B, C, h, w]``."""
        return tokens.transpose(1, 2).reshape(tokens.shape[0], -1, self.side, self.side)

    def _memory_tokens(self, memory: Memory, masked: bool) -> MemoryTokens:
        model, recall, packed = self.model, memory.recall, self._packs(masked)
        batch, pointers = recall.pointers.shape[:2]
        recent = self._spatial_frames - self.policy.anchor_slots
        timeless = recall.features.shape[1] - recent  # conditioning frames and anchors
        pointer_tokens = recall.pointers.reshape(batch, pointers * self._pointer_tokens, model.mem_dim)
        if model.add_tpos_enc_to_obj_ptrs:
            encoded = model.obj_ptr_tpos_proj(memory.pointer_sines)
            pointer_pos = encoded.repeat_interleave(self._pointer_tokens, dim=1)
        else:
            pointer_pos = torch.zeros_like(pointer_tokens)
        return MemoryTokens(
            spatial=recall.features.float(),
            # The order of packed slots differs between lanes, so their encoding is gathered by age.
            spatial_pos=self.memory_pos + self.temporal[recall.features_age][:, :, None]
            if packed
            else torch.cat([self.slot_pos[:1].expand(timeless, -1, -1), self.slot_pos[1 : 1 + recent]]),
            pointers=pointer_tokens,
            pointers_pos=pointer_pos,
            bias=self._bias(recall) if masked and not packed else None,
            ranges=self._ranges(recall) if packed else None,
        )

    def _bias(self, recall: Recall) -> Tensor:
        """Return the bias of :class:`MemoryTokens`."""
        spatial_valid = recall.features_valid.repeat_interleave(recall.features.shape[2], dim=1)
        pointer_valid = recall.pointers_valid.repeat_interleave(self._pointer_tokens, dim=1)
        valid = torch.cat([spatial_valid, pointer_valid], dim=1)[:, None]
        return torch.zeros(valid.shape, device=valid.device).masked_fill(~valid, -torch.inf)

    def _ranges(self, recall: Recall) -> KeyRanges:
        """Return the range of valid packed tokens."""
        slots, tokens = recall.features.shape[1:3]
        spatial = recall.features_valid.sum(dim=1, dtype=torch.int32)
        pointers = recall.pointers_valid.sum(dim=1, dtype=torch.int32)
        return KeyRanges((slots - spatial) * tokens, spatial * tokens + pointers * self._pointer_tokens)

    def _decode(
        self, conditioned: Tensor, features: Features, others: Evidence | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Run the mask decoder without a prompt and keep the mask with the best predicted IoU.

        If colors are compared, masks give way to other objects first, and where objects touch, one like the last mask
        is preferred.

        Returns:
            mask_logits ``[B, 1, 4h, 4w]`` float32, iou ``[B]`` float32, pointers ``[B, C]``, scores ``[B, 1]``,
            rival ``[B]`` float32.
        """
        model, batch = self.model, conditioned.shape[0]
        masks, ious, tokens, score = model.sam_mask_decoder(
            image_embeddings=conditioned,
            image_pe=self.image_pe,
            sparse_prompt_embeddings=self.no_points.expand(batch, -1, -1),
            dense_prompt_embeddings=self.no_mask.expand(batch, -1, -1, -1),
            multimask_output=self.multimask,
            repeat_image=False,
            high_res_features=[features.stride4, features.stride8],
        )
        worth = ious
        if others is not None:
            masks = masks.float() - others.lowered[:, None]
            worth = ious + _STEADY * _agreement(masks, others.last)
        best = worth.argmax(dim=1)
        lane = torch.arange(batch, device=best.device)
        seen = score > 0
        logits = torch.where(seen[..., None, None], masks[lane, best][:, None].float(), NO_OBJ_SCORE)
        token = tokens[lane, best] if tokens.shape[1] > 1 else tokens[:, 0]
        visible = seen.float()
        pointers = model.obj_ptr_proj(token)
        if model.fixed_no_obj_ptr:
            pointers = visible * pointers
        rival = _rival(masks, ious, best) if self.policy.anchor_slots else torch.zeros_like(score[:, 0]).float()
        return logits, ious[lane, best].float(), pointers + (1 - visible) * model.no_obj_ptr, score, rival

    def _remember(self, top: Tensor, logits: Tensor, score: Tensor) -> Tensor:
        """Encode features ``[B, C, h, w]`` and masks ``[B, 1, 4h, 4w]`` into memory ``[B, tokens, memory_dim]``."""
        model = self.model
        scaled = torch.sigmoid(self.upsample(logits)) * model.sigmoid_scale_for_mem_enc + model.sigmoid_bias_for_mem_enc
        encoder = model.memory_encoder  # its forward without the position encoding, which is a constant
        fused = encoder.fuser(encoder.pix_feat_proj(top) + encoder.mask_downsampler(scaled))
        memory: Tensor = encoder.out_proj(fused)
        if model.no_obj_embed_spatial is not None:
            memory = memory + (1 - (score > 0).float())[..., None, None] * model.no_obj_embed_spatial[..., None, None]
        return memory.flatten(2).transpose(1, 2)


def _agreement(masks: Tensor, last: Tensor) -> Tensor:
    """Return the IoU ``[B, N]`` of candidates, logits ``[B, N, h, w]``, and the last masks ``[B, h, w]``; 0 without."""
    found, last = (masks > 0).float(), last[:, None]
    shared = (found * last).flatten(2).sum(2)
    return shared / (found.flatten(2).sum(2) + last.flatten(2).sum(2) - shared).clamp(min=1)


def _rival(masks: Tensor, ious: Tensor, best: Tensor) -> Tensor:
    """Return how much a plausible other candidate adds to the chosen mask, ``[B]``: 1 - chosen / union.

    Args:
        masks: ``[B, N, h, w]`` logits.
        ious: ``[B, N]`` predicted IoU.
        best: ``[B]``; index of the chosen one.
    """
    lane = torch.arange(len(best), device=best.device)
    found = (masks > 0).flatten(2)
    chosen = found[lane, best][:, None]
    union = (found | chosen).float().sum(2)
    added = 1 - chosen.float().sum(2) / union.clamp(min=1)
    plausible = ious >= _PLAUSIBLE * ious[lane, best][:, None]
    return (added * plausible).amax(1).float()
