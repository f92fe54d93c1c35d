"""What the tracker remembers of each object, in tensors of fixed size.

A *lane* is one (stream, object) pair. Of a lane, what equals the official ``propagate_in_video`` exactly is kept and
nothing else: memory and pointer of each conditioning frame, the spatial memory of the six frames before the present
one, the object pointers of the fifteen before it.

Rings are written at ``frame % slots`` and never rolled; a slot says which frame it holds. They have as many slots more
than are read as there are frames that can be prompted, so that each of those can be corrected with all the memory that
it was tracked with.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

NEVER = -(1 << 40)
"""Frame of a slot that holds nothing: older than any ring, and still an exact integer everywhere."""

POINTER_AGE_LIMIT = 1 << 15
"""Oldest age in frames that a pointer is encoded with: far beyond any clip that a model was trained or tested on, but
a stream runs for months, and the sine of a huge float32 is noise."""


@dataclass(frozen=True, slots=True)
class BankShape:
    """Sizes that a model and the tracker's settings give a bank.

    Attributes:
        tokens: Spatial tokens of one frame's memory (feature map height x width).
        memory_dim: Channels of a spatial token.
        pointer_dim: Channels of an object pointer.
        spatial_frames: Frames before the present one whose spatial memory is read.
        pointer_frames: Frames before the present one whose pointers are read.
        conditioning_frames: Conditioning frames that are kept.
        history_frames: Newest frames that can be prompted.
    """

    tokens: int
    memory_dim: int
    pointer_dim: int
    spatial_frames: int = 6
    pointer_frames: int = 15
    conditioning_frames: int = 4
    history_frames: int = 1

    @property
    def ring_slots(self) -> int:
        """Slots of the spatial ring."""
        return self.spatial_frames + self.history_frames

    @property
    def pointer_slots(self) -> int:
        """Slots of the pointer ring."""
        return self.pointer_frames + self.history_frames


class Recall(NamedTuple):
    """What ``B`` lanes remember, read for one frame each. Conditioning slots come first, then ages 1, 2, ...

    Packed, each lane has an order of its own: spatial slots that are not valid come first, pointers that are not valid
    come last, so that all that counts is one piece where pointers follow the spatial slots.

    Attributes:
        features: ``[B, N, tokens, memory_dim]`` bfloat16; N = conditioning slots + ``spatial_frames``.
        features_valid: ``[B, N]`` bool.
        features_age: ``[B, N]`` int64; frames since, 0 for a conditioning frame of whatever age.
        pointers: ``[B, Q, pointer_dim]`` float32; Q = conditioning slots + ``pointer_frames``.
        pointers_valid: ``[B, Q]`` bool.
        pointer_age: ``[B, Q]`` int64; frames since.
    """

    features: Tensor
    features_valid: Tensor
    features_age: Tensor
    pointers: Tensor
    pointers_valid: Tensor
    pointer_age: Tensor


class _Slots(NamedTuple):
    """Slots to read of ``B`` lanes, ``[B, N]`` each: the place in the bank, whether it counts, frames since."""

    place: Tensor
    valid: Tensor
    age: Tensor

    def packed(self, *, valid_first: bool) -> _Slots:
        """The same slots of each lane with those that count in one piece, at the beginning or the end."""
        # Integers, since not every backend sorts booleans.
        order = (self.valid != valid_first).to(torch.int32).argsort(dim=1, stable=True)
        return _Slots(*(values.gather(1, order) for values in self))


class MemoryBank:
    """Memory of a fixed number of lanes.

    Every tensor's first dimension is the lane. Spatial memory is bfloat16, as in the reference, whatever the model
    computes in. The ``k`` conditioning frames and the ring are one tensor, so that what is read is copied once,
    in whatever order.

    Attributes:
        features: ``[lanes, k + ring_slots, tokens, memory_dim]`` bfloat16.
        pointers: ``[lanes, k + pointer_slots, pointer_dim]`` float32.
        conditioning_frame: ``[lanes, k]`` int64; ``NEVER`` if the slot is empty.
        ring_frame: ``[lanes, ring_slots]`` int64.
        pointer_frame: ``[lanes, pointer_slots]`` int64.
    """

    FIELDS = ("features", "pointers", "conditioning_frame", "ring_frame", "pointer_frame")
    _CONSTANTS = ("_conditioning_places", "_spatial_ages", "_pointer_ages")

    def __init__(self, shape: BankShape, lanes: int, device: torch.device) -> None:
        self.shape = shape
        self.lanes = lanes
        cond = shape.conditioning_frames

        def frames(slots: int) -> Tensor:
            return torch.full((lanes, slots), NEVER, dtype=torch.int64, device=device)

        # Zeros rather than whatever was there: an unused slot is masked, but NaN times nought is NaN.
        self.features = torch.zeros(
            lanes, cond + shape.ring_slots, shape.tokens, shape.memory_dim, dtype=torch.bfloat16, device=device
        )
        self.pointers = torch.zeros(lanes, cond + shape.pointer_slots, shape.pointer_dim, device=device)
        self.conditioning_frame = frames(cond)
        self.ring_frame = frames(shape.ring_slots)
        self.pointer_frame = frames(shape.pointer_slots)
        self._conditioning_places = torch.arange(cond, device=device)
        self._spatial_ages = torch.arange(1, shape.spatial_frames + 1, device=device)
        self._pointer_ages = torch.arange(1, shape.pointer_frames + 1, device=device)

    @property
    def nbytes(self) -> int:
        """Bytes of all lanes together."""
        return sum(getattr(self, field).nbytes for field in self.FIELDS)

    def tensors(self) -> list[Tensor]:
        """All tensors that it is made of: those of ``FIELDS`` first, then constants."""
        return [*(getattr(self, field) for field in self.FIELDS), *(getattr(self, name) for name in self._CONSTANTS)]

    def of(self, tensors: Sequence[Tensor]) -> MemoryBank:
        """Return a bank that is made of those, in the order of :meth:`tensors`."""
        bank = copy.copy(self)
        for name, tensor in zip((*self.FIELDS, *self._CONSTANTS), tensors, strict=True):
            setattr(bank, name, tensor)
        return bank

    def recall(self, lanes: Tensor, frames: Tensor, conditioning: int, *, packed: bool = False) -> Recall:
        """Read what each lane remembers at a frame; frames not before it are not valid.

        Args:
            lanes: ``[B]`` int64.
            frames: ``[B]`` int64; the frame that is about to be tracked or corrected.
            conditioning: Slots of conditioning frames to read, from the first.
            packed: Whether each lane's slots are put in order, see :class:`Recall`.
        """
        cond_frame = self.conditioning_frame[lanes, :conditioning]
        cond_valid = (cond_frame < frames[:, None]) & (cond_frame != NEVER)
        cond_age = torch.where(cond_valid, frames[:, None] - cond_frame, 0).clamp(max=POINTER_AGE_LIMIT)
        cond_place = self._conditioning_places[:conditioning].expand_as(cond_frame)

        def with_ring(ring_frame: Tensor, ages: Tensor, cond_age: Tensor) -> _Slots:
            wanted = frames[:, None] - ages
            slots = wanted % ring_frame.shape[1]
            valid = ring_frame[lanes[:, None], slots] == wanted
            return _Slots(
                place=torch.cat([cond_place, self.shape.conditioning_frames + slots], dim=1),
                valid=torch.cat([cond_valid, valid], dim=1),
                age=torch.cat([cond_age, ages.expand_as(wanted)], dim=1),
            )

        spatial = with_ring(self.ring_frame, self._spatial_ages, torch.zeros_like(cond_age))
        pointers = with_ring(self.pointer_frame, self._pointer_ages, cond_age)
        if packed:
            spatial, pointers = spatial.packed(valid_first=False), pointers.packed(valid_first=True)
        return Recall(
            features=self.features[lanes[:, None], spatial.place],
            features_valid=spatial.valid,
            features_age=spatial.age,
            pointers=self.pointers[lanes[:, None], pointers.place],
            pointers_valid=pointers.valid,
            pointer_age=pointers.age,
        )

    def write_tracked(self, lanes: Tensor, frames: Tensor, features: Tensor, pointers: Tensor) -> None:
        """Remember a tracked (non-conditioning) frame of each lane.

        Args:
            lanes: ``[B]`` int64, all different.
            frames: ``[B]`` int64.
            features: ``[B, tokens, memory_dim]``.
            pointers: ``[B, pointer_dim]``.
        """
        cond = self.shape.conditioning_frames
        slots = frames % self.shape.ring_slots
        self.features[lanes, cond + slots] = features.to(torch.bfloat16)
        self.ring_frame[lanes, slots] = frames
        slots = frames % self.shape.pointer_slots
        self.pointers[lanes, cond + slots] = pointers.float()
        self.pointer_frame[lanes, slots] = frames

    def write_conditioning(self, lane: int, slot: int, frame: int, features: Tensor, pointer: Tensor) -> None:
        """Remember a conditioning frame, in place of what the slot held and of the frame's tracked memory.

        Args:
            lane: The lane.
            slot: See :func:`conditioning_slot`.
            frame: The frame.
            features: ``[tokens, memory_dim]``.
            pointer: ``[pointer_dim]``.
        """
        self.features[lane, slot] = features.to(torch.bfloat16)
        self.pointers[lane, slot] = pointer.float()
        self.conditioning_frame[lane, slot] = frame
        # If the frame was tracked, its ring slots hold it: a frame is remembered once.
        for frames in (self.ring_frame[lane], self.pointer_frame[lane]):
            frames.masked_fill_(frames == frame, NEVER)

    @torch.inference_mode()
    def read_conditioning(self, lane: int, slot: int) -> tuple[Tensor, Tensor]:
        """Copy a conditioning frame out: ``[tokens, memory_dim]`` bfloat16 and ``[pointer_dim]`` float32."""
        return self.features[lane, slot].clone(), self.pointers[lane, slot].clone()

    @torch.inference_mode()
    def clear_conditioning(self, lane: int, slot: int) -> None:
        """Forget a conditioning frame, its values too."""
        self.features[lane, slot] = 0
        self.pointers[lane, slot] = 0
        self.conditioning_frame[lane, slot] = NEVER

    @torch.inference_mode()
    def forget_since(self, lane: int, frame: int) -> None:
        """Forget what a lane remembers of tracked frames from one on; conditioning frames stay."""
        for frames in (self.ring_frame[lane], self.pointer_frame[lane]):
            frames.masked_fill_(frames >= frame, NEVER)

    @torch.inference_mode()
    def clear_lane(self, lane: int) -> None:
        """Forget everything of a lane, its values too: a masked NaN would poison whoever gets the lane next."""
        for field in self.FIELDS:
            getattr(self, field)[lane].zero_()
        for frames in (self.conditioning_frame, self.ring_frame, self.pointer_frame):
            frames[lane] = NEVER

    @torch.inference_mode()
    def read_lane(self, lane: int) -> dict[str, Tensor]:
        """Copy a lane's memory out, by field: a value that can be written, moved, and given to another bank."""
        return {field: getattr(self, field)[lane].clone() for field in self.FIELDS}

    @torch.inference_mode()
    def write_lane(self, lane: int, memory: dict[str, Tensor]) -> None:
        """Put what :meth:`read_lane` gave into a lane of a bank of the same shape."""
        for field in self.FIELDS:
            getattr(self, field)[lane].copy_(memory[field])

    def grown(self, lanes: int) -> MemoryBank:
        """Return a bank of more lanes that holds this one's."""
        bank = MemoryBank(self.shape, lanes, self.ring_frame.device)
        for field in self.FIELDS:
            getattr(bank, field)[: self.lanes].copy_(getattr(self, field))
        return bank


def conditioning_slot(held: list[int], frame: int, slots: int) -> int:
    """Choose the slot for a conditioning frame: the first one and the newest ``slots - 1`` are kept.

    Args:
        held: Conditioning frames of the lane, by slot; slots fill up from 0.
        frame: The new one; one that is held already keeps its slot.
        slots: How many there are, 2 or more.
    """
    if frame in held:
        return held.index(frame)
    if len(held) < slots:
        return len(held)
    return 1 + min(range(slots - 1), key=lambda slot: held[1 + slot])
