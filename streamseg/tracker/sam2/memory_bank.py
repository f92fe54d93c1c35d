"""The memory bank: the tracker's memory of all objects, in tensors of fixed size.

A *lane* is one (stream, object) pair. A lane holds exactly what the official ``propagate_in_video`` reads: memory and
pointer of each conditioning frame, the spatial memory of the six frames before the current one, and the object pointers
of the fifteen frames before it.

Rings are written at ``frame % slots`` and never rolled; each slot records which frame it holds. For each frame that can
be prompted, a ring has one more slot than is read, so that the frame can be corrected with the memory it was tracked
with.

One long class, because reading, writing, growing and exporting have to agree on where each frame is.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import torch
from torch import Tensor

from streamseg.tracker.sam2.appearance import COLORS, SLOTS, Evidence, evidence, slot_to_write
from streamseg.tracker.sam2.memory_policy import NEVER, SAM2, MemoryPolicy, newest, newest_good
from streamseg.tracker.sam2.motion import MOTION_FIELDS

POINTER_AGE_LIMIT = 1 << 15
"""Maximum age in frames for the encoding of a pointer: far longer than the clips that models are trained and tested on.
A stream runs for months, and the sine of a huge float32 is noise."""


_SLOTTED: Final = {"features": "ring_frame", "pointers": "pointer_frame"}
"""Fields whose last slots are a ring -> the frame numbers of that ring."""


@dataclass(frozen=True, slots=True)
class BankShape:
    """Sizes of a bank, which follow from the model and the tracker's settings.

    Attributes:
        tokens: Spatial tokens of one frame's memory (feature map height x width).
        memory_dim: Channels of a spatial token.
        pointer_dim: Channels of an object pointer.
        spatial_frames: Frames before the current one whose spatial memory is read.
        pointer_frames: Frames before the current one whose pointers are read.
        conditioning_frames: Conditioning frames that are kept.
        history_frames: Number of newest frames that can be prompted.
        policy: Decides which tracked frames are read.
    """

    tokens: int
    memory_dim: int
    pointer_dim: int
    spatial_frames: int = 6
    pointer_frames: int = 15
    conditioning_frames: int = 4
    history_frames: int = 1
    policy: MemoryPolicy = SAM2

    @property
    def ring_slots(self) -> int:
        """Slots of the spatial ring."""
        window = self.policy.window if self.policy.chooses_from_window else 0
        return max(self.spatial_frames, window) + self.history_frames

    @property
    def ring_start(self) -> int:
        """Index of the spatial ring in the bank's features, after conditioning frames and anchors."""
        return self.conditioning_frames + self.policy.anchor_slots

    @property
    def pointer_slots(self) -> int:
        """Slots of the pointer ring."""
        return self.pointer_frames + self.history_frames

    @property
    def mask_side(self) -> int:
        """Side of the stored masks, or 1 if the policy stores none."""
        return 4 * math.isqrt(self.tokens) if self.policy.compares_colors else 1

    @property
    def colors(self) -> int:
        """Colors of a look, or 1 if the policy stores none."""
        return COLORS if self.policy.compares_colors else 1


class Recall(NamedTuple):
    """The memory of ``B`` lanes, read for one frame each: conditioning slots, anchors, then ages 1, 2, ...

    When packed, each lane has its own order: invalid spatial slots come first and invalid pointers last. Pointers
    follow the spatial slots, so all valid ones are contiguous.

    Attributes:
        features: ``[B, N, tokens, memory_dim]`` bfloat16; N = conditioning slots + ``spatial_frames``.
        features_valid: ``[B, N]`` bool.
        features_age: ``[B, N]`` int64; age in frames, 0 for every conditioning frame and anchor.
        pointers: ``[B, Q, pointer_dim]`` float32; Q = conditioning slots + ``pointer_frames``.
        pointers_valid: ``[B, Q]`` bool.
        pointer_age: ``[B, Q]`` int64; age in frames.
    """

    features: Tensor
    features_valid: Tensor
    features_age: Tensor
    pointers: Tensor
    pointers_valid: Tensor
    pointer_age: Tensor


class _Slots(NamedTuple):
    """Slots to read for ``B`` lanes, ``[B, N]`` each: index in the bank, whether it is valid, age in frames."""

    place: Tensor
    valid: Tensor
    age: Tensor

    def packed(self, *, valid_first: bool) -> _Slots:
        """Return the slots with the valid ones of each lane moved to the beginning or the end."""
        # As integers: not every backend sorts booleans.
        order = (self.valid != valid_first).to(torch.int32).argsort(dim=1, stable=True)
        return _Slots(*(values.gather(1, order) for values in self))


class MemoryBank:
    """Memory of a fixed number of lanes.

    The first dimension of every tensor is the lane. Spatial memory is bfloat16, as in the reference, whatever precision
    the model uses. The ``k`` conditioning frames, ``a`` anchors and the ring share one tensor, so that memory is
    gathered in one copy.

    Attributes:
        features: ``[lanes, k + a + ring_slots, tokens, memory_dim]`` bfloat16.
        pointers: ``[lanes, k + pointer_slots, pointer_dim]`` float32.
        conditioning_frame: ``[lanes, k]`` int64; ``NEVER`` if the slot is empty.
        ring_frame: ``[lanes, ring_slots]`` int64.
        pointer_frame: ``[lanes, pointer_slots]`` int64.
        anchor_frame: ``[lanes, a or 1]`` int64.
        quality: ``[lanes, ring_slots]`` float32; quality of the ring's masks, only for policies that choose.
        look: ``[lanes, k, colors]`` float32; look of the object on each conditioning frame, see
            :mod:`streamseg.tracker.sam2.appearance`.
        mask: ``[lanes, 2, h, w]`` bool; the newest masks; 1x1 if none are stored.
        mask_frame: ``[lanes, 2]`` int64; their frames.
        motion: ``[lanes, 2, fields]`` float32; the motion for those frames, see :mod:`streamseg.tracker.sam2.motion`.
        stream: ``[lanes, 1]`` int64; number of the object's stream; ``NEVER``: no object is tracked. Set by
            :meth:`assign`; not part of an object's memory.
    """

    FIELDS = (
        "features",
        "pointers",
        "conditioning_frame",
        "ring_frame",
        "pointer_frame",
        "anchor_frame",
        "quality",
        "look",
        "mask",
        "mask_frame",
        "motion",
        "stream",
    )
    _MEMORY_FIELDS = FIELDS[:-1]
    _FRAME_FIELDS = ("conditioning_frame", "ring_frame", "pointer_frame", "anchor_frame", "mask_frame")
    _CONSTANTS = ("_conditioning_places", "_anchor_places", "_spatial_ages", "_pointer_ages")

    def __init__(self, shape: BankShape, lanes: int, device: torch.device) -> None:
        self.shape = shape
        self.lanes = lanes
        cond = shape.conditioning_frames

        def frames(slots: int) -> Tensor:
            return torch.full((lanes, slots), NEVER, dtype=torch.int64, device=device)

        # Zeros, not uninitialized memory: empty slots are masked, but NaN times 0 is NaN.
        self.features = torch.zeros(
            lanes,
            shape.ring_start + shape.ring_slots,
            shape.tokens,
            shape.memory_dim,
            dtype=torch.bfloat16,
            device=device,
        )
        self.pointers = torch.zeros(lanes, cond + shape.pointer_slots, shape.pointer_dim, device=device)
        self.conditioning_frame = frames(cond)
        self.ring_frame = frames(shape.ring_slots)
        self.pointer_frame = frames(shape.pointer_slots)
        self.anchor_frame = frames(max(1, shape.policy.anchor_slots))
        self.quality = torch.zeros(lanes, shape.ring_slots, device=device)
        self.look = torch.zeros(lanes, cond, shape.colors, device=device)
        self.mask = torch.zeros(lanes, SLOTS, shape.mask_side, shape.mask_side, dtype=torch.bool, device=device)
        self.mask_frame = frames(SLOTS)
        self.motion = torch.zeros(lanes, SLOTS, MOTION_FIELDS, device=device)
        self.stream = frames(1)
        self._conditioning_places = torch.arange(cond, device=device)
        self._anchor_places = cond + torch.arange(shape.policy.anchor_slots or 1, device=device)
        self._spatial_ages = torch.arange(1, shape.spatial_frames + 1, device=device)
        self._pointer_ages = torch.arange(1, shape.pointer_frames + 1, device=device)

    @property
    def nbytes(self) -> int:
        """Bytes of all lanes together."""
        return sum(getattr(self, field).nbytes for field in self.FIELDS)

    def tensors(self) -> list[Tensor]:
        """Return all its tensors: ``FIELDS`` first, then constants."""
        return [*(getattr(self, field) for field in self.FIELDS), *(getattr(self, name) for name in self._CONSTANTS)]

    def of(self, tensors: Sequence[Tensor]) -> MemoryBank:
        """Return a bank that consists of these tensors, in the order of :meth:`tensors`."""
        bank = copy.copy(self)
        for name, tensor in zip((*self.FIELDS, *self._CONSTANTS), tensors, strict=True):
            setattr(bank, name, tensor)
        return bank

    def recall(
        self,
        lanes: Tensor,
        frames: Tensor,
        conditioning: int,
        *,
        packed: bool = False,
        others: Evidence | None = None,
    ) -> Recall:
        """Read the memory of each lane for a frame. Only earlier frames are valid.

        Args:
            lanes: ``[B]`` int64.
            frames: ``[B]`` int64; the frame to track or correct.
            conditioning: Number of conditioning slots to read.
            packed: Whether to pack each lane's slots, see :class:`Recall`.
            others: Result of :meth:`evidence`, for the policy that compares colors.
        """
        cond_frame = self.conditioning_frame[lanes, :conditioning]
        cond_valid = (cond_frame < frames[:, None]) & (cond_frame != NEVER)
        cond_age = torch.where(cond_valid, frames[:, None] - cond_frame, 0).clamp(max=POINTER_AGE_LIMIT)
        cond_place = self._conditioning_places[:conditioning].expand_as(cond_frame)

        pointers = newest(frames, self.pointer_frame[lanes], self._pointer_ages)
        spatial_slots = self._spatial_slots(lanes, frames, cond_place, cond_valid, others)
        pointer_slots = _Slots(
            place=torch.cat([cond_place, self.shape.conditioning_frames + pointers.slots], dim=1),
            valid=torch.cat([cond_valid, pointers.valid], dim=1),
            age=torch.cat([cond_age, pointers.age], dim=1),
        )
        if packed:
            spatial_slots, pointer_slots = (
                spatial_slots.packed(valid_first=False),
                pointer_slots.packed(valid_first=True),
            )
        return Recall(
            features=self.features[lanes[:, None], spatial_slots.place],
            features_valid=spatial_slots.valid,
            features_age=spatial_slots.age,
            pointers=self.pointers[lanes[:, None], pointer_slots.place],
            pointers_valid=pointer_slots.valid,
            pointer_age=pointer_slots.age,
        )

    def _spatial_slots(
        self, lanes: Tensor, frames: Tensor, cond_place: Tensor, cond_valid: Tensor, others: Evidence | None
    ) -> _Slots:
        """Return the spatial memory to read: conditioning frames, anchors, and the policy's choice from the ring."""
        shape = self.shape
        place, valid = [cond_place], [cond_valid]
        if anchors := shape.policy.anchor_slots:
            place.append(self._anchor_places.expand(len(lanes), -1))
            valid.append((self.anchor_frame[lanes] < frames[:, None]) & (self.anchor_frame[lanes] != NEVER))
        ages, ring = self._spatial_ages[: shape.spatial_frames - anchors], self.ring_frame[lanes]
        if shape.policy.chooses_from_window:
            chosen = newest_good(frames, ring, ages, self._quality(lanes, others), shape.policy)
        else:
            chosen = newest(frames, ring, ages)
        place.append(shape.ring_start + chosen.slots)
        valid.append(chosen.valid)
        old = torch.zeros_like(torch.cat(place[:-1], dim=1))
        return _Slots(torch.cat(place, dim=1), torch.cat(valid, dim=1), torch.cat([old, chosen.age], dim=1))

    def write_tracked(
        self,
        lanes: Tensor,
        frames: Tensor,
        features: Tensor,
        pointers: Tensor,
        quality: Tensor | None = None,
        rival: Tensor | None = None,
    ) -> None:
        """Store a tracked (non-conditioning) frame of each lane.

        Args:
            lanes: ``[B]`` int64, all different.
            frames: ``[B]`` int64.
            features: ``[B, tokens, memory_dim]``.
            pointers: ``[B, pointer_dim]``.
            quality: ``[B]``, see :func:`~streamseg.tracker.sam2.memory_policy.mask_quality`; for policies that choose.
            rival: ``[B]``, see :class:`~streamseg.tracker.sam2.step.StepOutput`; likewise.
        """
        cond = self.shape.conditioning_frames
        slots = frames % self.shape.ring_slots
        self.features[lanes, self.shape.ring_start + slots] = features.to(torch.bfloat16)
        if quality is not None:
            self.quality[lanes, slots] = quality
        if quality is not None and rival is not None and self.shape.policy.anchor_slots:
            self._write_anchors(lanes, frames, features, quality, rival)
        self.ring_frame[lanes, slots] = frames
        slots = frames % self.shape.pointer_slots
        self.pointers[lanes, cond + slots] = pointers.float()
        self.pointer_frame[lanes, slots] = frames

    def _write_anchors(self, lanes: Tensor, frames: Tensor, features: Tensor, quality: Tensor, rival: Tensor) -> None:
        """Replace the oldest anchor of each lane whose frame qualifies as one."""
        policy, held = self.shape.policy, self.anchor_frame[lanes]
        worth = (rival >= policy.rival) & (quality >= policy.sure) & (frames - held.amax(1) >= policy.spacing)
        slots = held.argmin(1)
        self.anchor_frame[lanes, slots] = torch.where(worth, frames, held.amin(1))
        place = self.shape.conditioning_frames + slots
        kept = self.features[lanes, place]
        self.features[lanes, place] = torch.where(worth[:, None, None], features.to(torch.bfloat16), kept)

    def evidence(self, lanes: Tensor, frames: Tensor, colors: Tensor) -> Evidence:
        """Return the evidence of other objects of their streams about lanes ``[B]`` on frames ``[B]``.

        Args:
            lanes: ``[B]`` int64.
            frames: ``[B]`` int64; lanes of one stream are on one frame.
            colors: ``[B, 2h, 2w]``, see :func:`~streamseg.tracker.sam2.appearance.colors_of`.
        """
        return evidence(
            self.look,
            self.mask,
            self.mask_frame,
            self.motion,
            self.stream[:, 0],
            lanes=lanes,
            frames=frames,
            colors=colors,
        )

    def write_masks(self, lanes: Tensor, frames: Tensor, mask_logits: Tensor, others: Evidence) -> None:
        """Store each lane's mask and motion on a tracked frame, and whether its last mask was mixed.

        Args:
            lanes: ``[B]`` int64, all different.
            frames: ``[B]`` int64.
            mask_logits: ``[B, h, w]``.
            others: Result of :meth:`evidence` for them.
        """
        self.quality[lanes] = self._quality(lanes, others)
        slots = slot_to_write(self.mask_frame[lanes], frames)
        self.mask[lanes, slots] = mask_logits > 0
        self.mask_frame[lanes, slots] = frames
        self.motion[lanes, slots] = others.motion

    def _quality(self, lanes: Tensor, others: Evidence | None) -> Tensor:
        """Return the quality of the ring's masks, ``[B, ring_slots]``; 0 for mixed ones."""
        quality = self.quality[lanes]
        if others is None:
            return quality
        mixed = others.mixed[:, None] & (self.ring_frame[lanes] == others.mask_frame[:, None])
        return torch.where(mixed, 0.0, quality)

    @torch.inference_mode()
    def assign(self, lane: int, stream: int) -> None:
        """Set the stream of a lane's object; ``NEVER``: it is not tracked, and other objects ignore it."""
        self.stream[lane] = stream

    def write_conditioning(
        self, lane: int, slot: int, frame: int, features: Tensor, pointer: Tensor, look: Tensor | None = None
    ) -> None:
        """Store a conditioning frame. Replaces the slot's content and the tracked memory of that frame.

        Args:
            lane: The lane.
            slot: See :func:`conditioning_slot`.
            frame: The frame.
            features: ``[tokens, memory_dim]``.
            pointer: ``[pointer_dim]``.
            look: ``[colors]``; None: unknown.
        """
        self.features[lane, slot] = features.to(torch.bfloat16)
        self.pointers[lane, slot] = pointer.float()
        self.look[lane, slot] = 0.0 if look is None else look
        self.conditioning_frame[lane, slot] = frame
        # If the frame was tracked, the rings hold it, too: remember each frame only once.
        for frames in (self.ring_frame[lane], self.pointer_frame[lane], self.anchor_frame[lane]):
            frames.masked_fill_(frames == frame, NEVER)
        self.mask_frame[lane] = NEVER  # the prompt defines where the object is

    @torch.inference_mode()
    def read_conditioning(self, lane: int, slot: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return a copy of a conditioning frame: features, pointer and look, for :meth:`write_conditioning`."""
        return self.features[lane, slot].clone(), self.pointers[lane, slot].clone(), self.look[lane, slot].clone()

    @torch.inference_mode()
    def clear_conditioning(self, lane: int, slot: int) -> None:
        """Forget a conditioning frame and zero its values."""
        self.features[lane, slot] = 0
        self.pointers[lane, slot] = 0
        self.look[lane, slot] = 0
        self.conditioning_frame[lane, slot] = NEVER

    @torch.inference_mode()
    def forget_since(self, lane: int, frame: int) -> None:
        """Forget the tracked frames of a lane from one frame on; conditioning frames stay."""
        for frames in (
            self.ring_frame[lane],
            self.pointer_frame[lane],
            self.anchor_frame[lane],
            self.mask_frame[lane],
        ):
            frames.masked_fill_(frames >= frame, NEVER)

    @torch.inference_mode()
    def move_lane(self, lane: int, frames: int) -> None:
        """Shift a lane's memory to later frames by this number of frames."""
        for held, numbers in ((self.features, self.ring_frame), (self.pointers, self.pointer_frame)):
            shift, start = frames % numbers.shape[1], held.shape[1] - numbers.shape[1]
            held[lane, start:] = held[lane, start:].roll(shift, 0)
            numbers[lane] = numbers[lane].roll(shift)
        self.quality[lane] = self.quality[lane].roll(frames % self.shape.ring_slots)
        for numbers in (getattr(self, field) for field in self._FRAME_FIELDS):
            numbers[lane] += frames * (numbers[lane] != NEVER)

    @torch.inference_mode()
    def clear_lane(self, lane: int) -> None:
        """Forget all memory of a lane and zero it: a masked NaN would break the next object in this lane."""
        for field in self._MEMORY_FIELDS:
            getattr(self, field)[lane].zero_()
        for field in self._FRAME_FIELDS:
            getattr(self, field)[lane] = NEVER

    @torch.inference_mode()
    def read_lane(self, lane: int) -> dict[str, Tensor]:
        """Return a copy of a lane's memory by field, to save, move, or write to another bank."""
        return {field: getattr(self, field)[lane].clone() for field in self._MEMORY_FIELDS}

    @torch.inference_mode()
    def write_lane(self, lane: int, memory: dict[str, Tensor]) -> None:
        """Write a result of :meth:`read_lane` to a lane of a bank of the same shape."""
        for field in self._MEMORY_FIELDS:
            getattr(self, field)[lane].copy_(memory[field])

    @torch.inference_mode()
    def export_lane(self, lane: int, newest: int) -> dict[str, Tensor]:
        """Copy the memory that a lane would read for frames after ``newest`` to the host.

        Returns:
            The fields, with only the valid slots of ``features`` and ``pointers``, and ``features_slots`` and
            ``pointers_slots`` with their indices.
        """
        plain = [field for field in self._MEMORY_FIELDS if field not in _SLOTTED]
        memory = {field: getattr(self, field)[lane].to("cpu", copy=True) for field in plain}
        for field, numbers in _SLOTTED.items():
            ring = memory[numbers]
            ring[ring <= newest - (len(ring) - self.shape.history_frames)] = NEVER
            held = getattr(self, field)[lane]
            start = len(held) - len(ring)
            slots = torch.cat([torch.arange(start), start + (ring != NEVER).nonzero()[:, 0]])
            memory[field], memory[f"{field}_slots"] = held[slots.to(held.device)].cpu(), slots
        return memory

    @torch.inference_mode()
    def import_lane(self, lane: int, memory: Mapping[str, Tensor]) -> None:
        """Fill a cleared lane with a result of :meth:`export_lane` from a bank of the same shape.

        Raises:
            ValueError: A field is missing, has another shape, or holds numbers that are not finite.
        """
        try:
            for field in self._MEMORY_FIELDS:
                # Other objects of the stream are compared with this one: NaN would spread to them.
                if memory[field].is_floating_point() and not memory[field].isfinite().all():
                    raise ValueError(f"it is damaged: {field} holds NaN or infinite numbers")
                target = getattr(self, field)[lane]
                if field in _SLOTTED:
                    target[memory[f"{field}_slots"].to(target.device)] = memory[field].to(target.device)
                else:
                    target.copy_(memory[field])
        except (KeyError, IndexError, RuntimeError) as error:
            raise ValueError(f"it does not fit: {type(error).__name__}: {error}") from None

    def grown(self, lanes: int) -> MemoryBank:
        """Return a larger bank with a copy of this one's lanes."""
        bank = MemoryBank(self.shape, lanes, self.ring_frame.device)
        for field in self.FIELDS:
            getattr(bank, field)[: self.lanes].copy_(getattr(self, field))
        return bank


def conditioning_slot(held: list[int], frame: int, slots: int) -> int:
    """Choose the slot for a conditioning frame: the first one and the newest ``slots - 1`` are kept.

    Args:
        held: Conditioning frames of the lane by slot; slots fill up from 0.
        frame: The new frame; one that is already held keeps its slot.
        slots: Number of slots, 2 or more.
    """
    if frame in held:
        return held.index(frame)
    if len(held) < slots:
        return len(held)
    return 1 + min(range(slots - 1), key=lambda slot: held[1 + slot])
