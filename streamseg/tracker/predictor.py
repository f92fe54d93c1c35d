"""The streaming predictor: several streams, several objects, on normalised image tensors.

Frames come one at a time and are never kept but the last. All objects of all streams of a call go through the model in
one batch; a stream without objects costs nothing until a prompt comes.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from streamseg.errors import PromptError
from streamseg.tracker.memory_bank import BankShape, MemoryBank, conditioning_slot
from streamseg.tracker.prompt_step import PromptTensors, apply_prompt
from streamseg.tracker.prompt_tensors import mask_tensor, point_tensors
from streamseg.tracker.step import Features, StepOutput, TrackStep


class TrackOutput(NamedTuple):
    """Objects of one stream on one frame, in order of age. Lifetime: the tensors are the caller's.

    Attributes:
        obj_ids: The objects; those that are forgotten are left out.
        mask_logits: ``[N, h, w]`` float32 at a quarter of the model's input size; object where > 0.
        iou_prediction: ``[N]`` float32.
        object_score_logits: ``[N]`` float32; > 0: the object is visible.
    """

    obj_ids: tuple[int, ...]
    mask_logits: Tensor
    iou_prediction: Tensor
    object_score_logits: Tensor


class Predictor(Protocol):
    """What :class:`CameraPredictor` and :class:`~streamseg.tracker.reference.ReferencePredictor` both do."""

    def open_stream(self, stream: str) -> None:
        """Start a stream without objects."""

    def close_stream(self, stream: str) -> None:
        """End a stream and free its objects. A stream that is not open is left alone."""

    def track(self, images: Mapping[str, Tensor]) -> dict[str, TrackOutput]:
        """Take the next frame, ``[3, image_size, image_size]``, of one or more streams."""
        ...

    def add_prompt(
        self,
        stream: str,
        obj_id: int,
        *,
        points_norm: Tensor | None = None,
        labels: Tensor | None = None,
        box_norm: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> TrackOutput:
        """Add an object, or correct one, on the stream's last frame."""
        ...

    def remove_object(self, stream: str, obj_id: int) -> None:
        """Forget an object."""

    def reset(self, stream: str) -> None:
        """Forget all objects of a stream."""


@dataclass(slots=True)
class _Object:
    """What is known on the host of one object.

    Attributes:
        lane: Its place in the bank.
        born: The frame of its first prompt.
        conditioning_frames: By slot.
        logits: ``[1, h, w]`` of the last frame.
        prompt: Points given on the last frame so far; None if it has none.
    """

    lane: int
    born: int
    conditioning_frames: list[int] = field(default_factory=list)
    logits: Tensor | None = None
    prompt: PromptTensors | None = None


@dataclass(slots=True)
class _Stream:
    frame: int = -1
    image: Tensor | None = None
    features: Features | None = None
    objects: dict[int, _Object | None] = field(default_factory=dict)  # None: forgotten, waits for a prompt

    def remembered(self) -> dict[int, _Object]:
        return {obj_id: obj for obj_id, obj in self.objects.items() if obj is not None}


class CameraPredictor:
    """Tracks objects through streams with bounded memory.

    Equal to the official ``propagate_in_video`` up to rounding, see ``docs/tracker.md``. Used by one thread.

    Args:
        model: From :func:`~streamseg.tracker.build.build_model`.
        max_objects: Most objects of one stream.
        conditioning_frames: Prompted frames that are remembered of an object: the first and the newest.
        autocast: Precision of the model's arithmetic; None for float32.
        spatial_frames: Frames before the present one whose memory is read; None for the model's own number.
        pointer_frames: The same for object pointers.

    Attributes:
        step: The tracking step. May be replaced by a compiled one.
        bank: The memory of all lanes; grows in powers of two to the most objects that there were at a time.
    """

    def __init__(
        self,
        model: SAM2Base,
        *,
        max_objects: int = 16,
        conditioning_frames: int = 4,
        autocast: torch.dtype | None = None,
        spatial_frames: int | None = None,
        pointer_frames: int | None = None,
    ) -> None:
        if conditioning_frames < 2:
            raise ValueError(f"conditioning_frames is {conditioning_frames}: the first and a newest need 2")
        self.model = model
        self.max_objects = max_objects
        self._autocast = autocast
        side = model.image_size // model.backbone_stride
        shape = BankShape(
            tokens=side * side,
            memory_dim=model.mem_dim,
            pointer_dim=model.hidden_dim,
            spatial_frames=model.num_maskmem - 1 if spatial_frames is None else spatial_frames,
            pointer_frames=model.max_obj_ptrs_in_encoder - 1 if pointer_frames is None else pointer_frames,
            conditioning_frames=conditioning_frames,
        )
        with torch.inference_mode():
            self.step = TrackStep(model, shape.spatial_frames).to(model.device)
            self.bank = MemoryBank(shape, 1, model.device)
        self._prompt_step = self.step
        self._free_lanes = [0]
        self._streams: dict[str, _Stream] = {}

    def open_stream(self, stream: str) -> None:
        """Start a stream without objects; one that is open starts again."""
        self.close_stream(stream)
        self._streams[stream] = _Stream()

    def close_stream(self, stream: str) -> None:
        """End a stream and free its objects. A stream that is not open is left alone."""
        if stream in self._streams:
            self.reset(stream)
            del self._streams[stream]

    def objects(self, stream: str) -> tuple[int, ...]:
        """Ids of a stream's objects, forgotten ones too, in order of age."""
        return tuple(self._opened(stream).objects)

    def remembers(self, stream: str, obj_id: int) -> bool:
        """Whether an object is there and not forgotten: a prompt would correct it."""
        return self._opened(stream).objects.get(obj_id) is not None

    @torch.inference_mode()
    def track(self, images: Mapping[str, Tensor]) -> dict[str, TrackOutput]:
        """Take the next frame of one or more open streams and return their objects on it.

        Args:
            images: Stream -> ``[3, image_size, image_size]``, normalised, on the model's device. Kept until the
                stream's next frame.
        """
        for name, image in images.items():
            stream = self._opened(name)
            stream.frame += 1
            stream.image, stream.features = image, None
        busy = [name for name in images if self._streams[name].remembered()]
        outputs = {name: self._nothing() for name in images}
        if busy:
            outputs.update(self._track_lanes(busy, self._encode(busy)))
        return outputs

    @torch.inference_mode()
    def add_prompt(
        self,
        stream: str,
        obj_id: int,
        *,
        points_norm: Tensor | None = None,
        labels: Tensor | None = None,
        box_norm: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> TrackOutput:
        """Add an object, or correct one, on the stream's last frame, and remember that frame as a conditioning frame.

        Points on the same frame add up, until a box or a mask begins anew. Points refine the object's present mask.

        Args:
            stream: The stream.
            obj_id: The object; an id that is new or forgotten starts a new object.
            points_norm: ``[P, 2]`` float32 as shares of the frame's width and height.
            labels: ``[P]`` int; 1 positive, 0 negative.
            box_norm: ``[4]`` float32: x0, y0, x1, y1 as shares.
            mask: ``[H, W]`` bool of any size; stands alone.

        Raises:
            PromptError: no frame was tracked yet, or the stream is full.
        """
        state = self._opened(stream)
        self._check_prompt(stream, state, obj_id)
        known = state.objects.get(obj_id)
        size, device = self.model.image_size, self.model.device
        if mask is not None:
            prompt = PromptTensors(mask=mask_tensor(mask, size, device))
        else:
            points, point_labels = point_tensors(points_norm, labels, box_norm, size, device)
            earlier = known.prompt if known is not None and box_norm is None else None
            if earlier is not None and earlier.points is not None and earlier.labels is not None:
                points = torch.cat([earlier.points, points], dim=1)
                point_labels = torch.cat([earlier.labels, point_labels], dim=1)
            prompt = PromptTensors(points=points, labels=point_labels)
        if state.features is None:
            self._encode([stream])
        assert state.features is not None
        past = known is not None and known.born < state.frame
        with self._precision():
            out = apply_prompt(
                self._prompt_step,
                state.features,
                prompt,
                memory=(self.bank, known.lane, state.frame, len(known.conditioning_frames))
                if known is not None and past
                else None,
                earlier_logits=None if known is None else known.logits,
            )
        if known is None:
            known = state.objects[obj_id] = _Object(self._take_lane(), born=state.frame)
        known.logits, known.prompt = out.step.mask_logits, prompt
        self._remember_prompt(known, state.frame, out.features, out.pointer)
        return TrackOutput((obj_id,), *out.step)

    def remove_object(self, stream: str, obj_id: int) -> None:
        """Forget an object.

        Raises:
            PromptError: there is no such object.
        """
        objects = self._opened(stream).objects
        if obj_id not in objects:
            held = ", ".join(map(str, objects)) or "none"
            raise PromptError(f"stream {stream} has no object {obj_id}: it has {held}")
        self.forget_object(stream, obj_id)
        del objects[obj_id]

    def forget_object(self, stream: str, obj_id: int) -> None:
        """Free an object's memory. It keeps its id and its place, but is not tracked until it is prompted again."""
        objects = self._opened(stream).objects
        obj = objects[obj_id]
        if obj is not None:
            self._free_lanes.append(obj.lane)
            objects[obj_id] = None

    def reset(self, stream: str) -> None:
        """Forget all objects of a stream. Its last frame can still be prompted."""
        state = self._opened(stream)
        self._free_lanes.extend(obj.lane for obj in state.remembered().values())
        state.objects.clear()

    def _opened(self, stream: str) -> _Stream:
        if stream not in self._streams:
            raise PromptError(f"stream {stream} is not open")
        return self._streams[stream]

    def _check_prompt(self, name: str, stream: _Stream, obj_id: int) -> None:
        if stream.image is None:
            raise PromptError(f"object {obj_id}: stream {name} has had no frame yet: prompt after its first frame")
        if obj_id not in stream.objects and len(stream.objects) >= self.max_objects:
            raise PromptError(
                f"object {obj_id}: stream {name} follows {self.max_objects} objects already, the most that "
                "model.max_objects allows: remove one"
            )

    def _precision(self) -> AbstractContextManager[object]:
        if self._autocast is None:
            return nullcontext()
        return torch.autocast(self.model.device.type, dtype=self._autocast)

    def _encode(self, names: list[str]) -> Features:
        """Encode the last images of streams in one batch; each stream keeps its row of it."""
        streams = [self._streams[name] for name in names]
        with self._precision():
            images = torch.stack([stream.image for stream in streams if stream.image is not None])
            features: Features = self._prompt_step.encode(images)
        for row, stream in enumerate(streams):
            stream.features = features.row(row)
        return features

    def _track_lanes(self, names: list[str], features: Features) -> dict[str, TrackOutput]:
        streams = [self._streams[name] for name in names]
        objects = [stream.remembered() for stream in streams]
        rows = [(row, streams[row], obj) for row, held in enumerate(objects) for obj in held.values()]
        index = torch.tensor(
            [[obj.lane for _, _, obj in rows], [stream.frame for _, stream, _ in rows], [row for row, _, _ in rows]]
        ).to(self.model.device, non_blocking=True)
        lanes = features if len(rows) == 1 else features.select(index[2])
        conditioning = max(len(obj.conditioning_frames) for _, _, obj in rows)
        settled = all(self._settled(obj, stream.frame, conditioning) for _, stream, obj in rows)
        with self._precision():
            out: StepOutput = self.step(self.bank, index[:2], lanes, conditioning, masked=not settled)
        outputs, start = {}, 0
        for name, held in zip(names, objects, strict=True):
            part = slice(start, start + len(held))
            outputs[name] = TrackOutput(tuple(held), *(value[part] for value in out))
            for obj, logits in zip(held.values(), outputs[name].mask_logits, strict=True):
                obj.logits, obj.prompt = logits[None], None
            start = part.stop
        return outputs

    def _settled(self, obj: _Object, frame: int, conditioning: int) -> bool:
        """Whether all slots that will be read of a lane are filled: no warm-up, no gap where a prompt was."""
        held = obj.conditioning_frames
        return len(held) == conditioning and frame - max(held) > self.bank.shape.pointer_frames

    def _remember_prompt(self, obj: _Object, frame: int, features: Tensor, pointer: Tensor) -> None:
        slot = conditioning_slot(obj.conditioning_frames, frame, self.bank.shape.conditioning_frames)
        obj.conditioning_frames[slot : slot + 1] = [frame]
        self.bank.write_conditioning(obj.lane, slot, frame, features, pointer)

    def _take_lane(self) -> int:
        if not self._free_lanes:
            lanes = self.bank.lanes
            self.bank = self.bank.grown(2 * lanes)
            self._free_lanes.extend(reversed(range(lanes, 2 * lanes)))
        lane = self._free_lanes.pop()
        self.bank.clear_lane(lane)
        return lane

    def _nothing(self) -> TrackOutput:
        side, device = self.model.image_size // 4, self.model.device
        scores = torch.empty(0, device=device)
        return TrackOutput((), torch.empty(0, side, side, device=device), scores, scores)
