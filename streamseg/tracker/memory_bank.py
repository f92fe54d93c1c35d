"""What the tracker remembers of each object, in tensors of fixed size.

A *lane* is one (stream, object) pair. Of a lane, what equals the official ``propagate_in_video`` exactly is kept and
nothing else: memory and pointer of each conditioning frame, the spatial memory of the six frames before the present
one, the object pointers of the fifteen before it.

Rings are written at ``frame % slots`` and never rolled; a slot says which frame it holds. They have as many slots more
than are read as there are frames that can be prompted, so that each of those can be corrected with all the memory that
it was tracked with.
"""

from __future__ import annotations

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

    Attributes:
        features: ``[B, N, tokens, memory_dim]`` bfloat16; N = conditioning slots + ``spatial_frames``.
        features_valid: ``[B, N]`` bool.
        pointers: ``[B, Q, pointer_dim]`` float32; Q = conditioning slots + ``pointer_frames``.
        pointers_valid: ``[B, Q]`` bool.
        pointer_age: ``[B, Q]`` int64; frames since.
    """

    features: Tensor
    features_valid: Tensor
    pointers: Tensor
    pointers_valid: Tensor
    pointer_age: Tensor


class MemoryBank:
    """Memory of a fixed number of lanes.

    Every tensor's first dimension is the lane. Spatial memory is bfloat16, as in the reference, whatever the model
    computes in.

    Attributes:
        conditioning_features: ``[lanes, k, tokens, memory_dim]`` bfloat16.
        conditioning_pointer: ``[lanes, k, pointer_dim]`` float32.
        conditioning_frame: ``[lanes, k]`` int64; ``NEVER`` if the slot is empty.
        ring_features: ``[lanes, ring_slots, tokens, memory_dim]`` bfloat16.
        ring_frame: ``[lanes, ring_slots]`` int64.
        pointer_ring: ``[lanes, pointer_slots, pointer_dim]`` float32.
        pointer_frame: ``[lanes, pointer_slots]`` int64.
    """

    FIELDS = (
        "conditioning_features",
        "conditioning_pointer",
        "conditioning_frame",
        "ring_features",
        "ring_frame",
        "pointer_ring",
        "pointer_frame",
    )

    def __init__(self, shape: BankShape, lanes: int, device: torch.device) -> None:
        self.shape = shape
        self.lanes = lanes
        ring, pointers, cond = shape.ring_slots, shape.pointer_slots, shape.conditioning_frames
        spatial = (shape.tokens, shape.memory_dim)

        def frames(slots: int) -> Tensor:
            return torch.full((lanes, slots), NEVER, dtype=torch.int64, device=device)

        # Zeros rather than whatever was there: an unused slot is masked, but NaN times nought is NaN.
        self.conditioning_features = torch.zeros(lanes, cond, *spatial, dtype=torch.bfloat16, device=device)
        self.conditioning_pointer = torch.zeros(lanes, cond, shape.pointer_dim, device=device)
        self.conditioning_frame = frames(cond)
        self.ring_features = torch.zeros(lanes, ring, *spatial, dtype=torch.bfloat16, device=device)
        self.ring_frame = frames(ring)
        self.pointer_ring = torch.zeros(lanes, pointers, shape.pointer_dim, device=device)
        self.pointer_frame = frames(pointers)
        self._spatial_ages = torch.arange(1, shape.spatial_frames + 1, device=device)
        self._pointer_ages = torch.arange(1, shape.pointer_frames + 1, device=device)

    @property
    def nbytes(self) -> int:
        """Bytes of all lanes together."""
        return sum(getattr(self, field).nbytes for field in self.FIELDS)

    def recall(self, lanes: Tensor, frames: Tensor, conditioning: int) -> Recall:
        """Read what each lane remembers at a frame; frames not before it are not valid.

        Args:
            lanes: ``[B]`` int64.
            frames: ``[B]`` int64; the frame that is about to be tracked or corrected.
            conditioning: Slots of conditioning frames to read, from the first.
        """
        cond_frame = self.conditioning_frame[lanes, :conditioning]
        cond_valid = (cond_frame < frames[:, None]) & (cond_frame != NEVER)
        cond_age = torch.where(cond_valid, frames[:, None] - cond_frame, 0).clamp(max=POINTER_AGE_LIMIT)

        wanted = frames[:, None] - self._spatial_ages
        slots = wanted % self.shape.ring_slots
        ring_valid = self.ring_frame[lanes[:, None], slots] == wanted
        ring = self.ring_features[lanes[:, None], slots]

        wanted_pointers = frames[:, None] - self._pointer_ages
        pointer_slots = wanted_pointers % self.shape.pointer_slots
        pointers_valid = self.pointer_frame[lanes[:, None], pointer_slots] == wanted_pointers
        pointers = self.pointer_ring[lanes[:, None], pointer_slots]
        return Recall(
            features=torch.cat([self.conditioning_features[lanes, :conditioning], ring], dim=1),
            features_valid=torch.cat([cond_valid, ring_valid], dim=1),
            pointers=torch.cat([self.conditioning_pointer[lanes, :conditioning], pointers], dim=1),
            pointers_valid=torch.cat([cond_valid, pointers_valid], dim=1),
            pointer_age=torch.cat([cond_age, self._pointer_ages.expand(lanes.shape[0], -1)], dim=1),
        )

    def write_tracked(self, lanes: Tensor, frames: Tensor, features: Tensor, pointers: Tensor) -> None:
        """Remember a tracked (non-conditioning) frame of each lane.

        Args:
            lanes: ``[B]`` int64, all different.
            frames: ``[B]`` int64.
            features: ``[B, tokens, memory_dim]``.
            pointers: ``[B, pointer_dim]``.
        """
        slots = frames % self.shape.ring_slots
        self.ring_features[lanes, slots] = features.to(torch.bfloat16)
        self.ring_frame[lanes, slots] = frames
        slots = frames % self.shape.pointer_slots
        self.pointer_ring[lanes, slots] = pointers.float()
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
        self.conditioning_features[lane, slot] = features.to(torch.bfloat16)
        self.conditioning_pointer[lane, slot] = pointer.float()
        self.conditioning_frame[lane, slot] = frame
        # If the frame was tracked, its ring slots hold it: a frame is remembered once.
        for frames in (self.ring_frame[lane], self.pointer_frame[lane]):
            frames.masked_fill_(frames == frame, NEVER)

    @torch.inference_mode()
    def read_conditioning(self, lane: int, slot: int) -> tuple[Tensor, Tensor]:
        """Copy a conditioning frame out: ``[tokens, memory_dim]`` bfloat16 and ``[pointer_dim]`` float32."""
        return self.conditioning_features[lane, slot].clone(), self.conditioning_pointer[lane, slot].clone()

    @torch.inference_mode()
    def clear_conditioning(self, lane: int, slot: int) -> None:
        """Forget a conditioning frame, its values too."""
        self.conditioning_features[lane, slot] = 0
        self.conditioning_pointer[lane, slot] = 0
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
