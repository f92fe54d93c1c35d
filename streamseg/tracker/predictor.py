"""The streaming predictor: several streams with several objects, on normalized image tensors.

Frames arrive one at a time, and only the last one is kept; a caller that keeps more can prompt those, too. All objects
of all streams in a call go through the model in one batch. A stream without objects costs nothing until its first
prompt.

One long class, because all methods change the same state: a stream's objects, their lanes in the bank, and the cached
features of its frames. ``object_memory.py`` handles a single object, ``sam2/step.py`` a batch.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Unpack

import torch
from sam2.modeling.sam2_base import NO_OBJ_SCORE, SAM2Base
from torch import Tensor

from streamseg.errors import NothingToUndoError, PromptError
from streamseg.tracker.engine import Engine, LaneFrame, Progress, joined
from streamseg.tracker.object_memory import ObjectMemory
from streamseg.tracker.sam2.appearance import colors_of
from streamseg.tracker.sam2.memory_bank import BankShape, MemoryBank
from streamseg.tracker.sam2.memory_policy import NEVER, SAM2, MemoryPolicy
from streamseg.tracker.sam2.point_decoder import Decoded, PointDecoder, points_at_once
from streamseg.tracker.sam2.prompt_step import PromptOutput, apply_prompt, encode_memory
from streamseg.tracker.sam2.prompt_tensors import GivenPrompt, PromptTensors, prompt_tensors
from streamseg.tracker.sam2.step import Features, StepOutput, TrackStep

_EARLIER_FEATURES: Final = 4
"""Earlier frames of a stream whose features are cached on a CPU. A viewer hovers over a frame that is one to three
frames old, and encoding it again would take longer than the preview itself. On a GPU, with fast encoding and scarce
memory, they are dropped at the next frame."""


class TrackOutput(NamedTuple):
    """Objects of one stream on one frame, oldest first. Lifetime: the tensors belong to the caller.

    Attributes:
        obj_ids: The objects, without forgotten ones.
        mask_logits: ``[N, h, w]`` float32 at a quarter of the model's input size; object where > 0.
        iou_prediction: ``[N]`` float32.
        object_score_logits: ``[N]`` float32; > 0: the object is visible.
    """

    obj_ids: tuple[int, ...]
    mask_logits: Tensor
    iou_prediction: Tensor
    object_score_logits: Tensor


class SegmentedObject(NamedTuple):
    """An object segmented by a prompt, not yet remembered.

    Attributes:
        frame: The prompted frame.
        features: Features of that frame.
        prompt: All prompts on it.
        out: The result.
        fresh: Whether the object's memory was ignored; if so, it is dropped when the result is accepted.
    """

    frame: int
    features: Features
    prompt: PromptTensors
    out: PromptOutput
    fresh: bool


class PastImage(NamedTuple):
    """A frame that was tracked earlier.

    Attributes:
        frame: Its number in the stream, see :meth:`CameraPredictor.frame`.
        image: ``[3, image_size, image_size]``, as it was tracked.
    """

    frame: int
    image: Tensor


@dataclass(slots=True)
class _Stream:
    number: int
    frame: int = -1
    image: Tensor | None = None
    features: Features | None = None
    earlier: dict[int, Features] = field(default_factory=dict)  # by frame, see `_EARLIER_FEATURES`
    kept: set[int] = field(default_factory=set)  # frames whose features stay among them
    objects: dict[int, ObjectMemory | None] = field(default_factory=dict)  # None: forgotten, waiting for a prompt
    aside: dict[int, tuple[ObjectMemory, int]] = field(default_factory=dict)  # with the last frame they know

    def keep_earlier(self, frame: int, features: Features) -> None:
        """Cache the features of an earlier frame; drop the oldest ones if there are too many."""
        self.earlier[frame] = features
        passing = sorted(self.earlier.keys() - self.kept - {frame})
        for old in passing[: max(0, len(passing) + 1 - _EARLIER_FEATURES)]:
            del self.earlier[old]

    def remembered(self) -> dict[int, ObjectMemory]:
        return {obj_id: obj for obj_id, obj in self.objects.items() if obj is not None}


class CameraPredictor:
    """Tracks objects through streams with bounded memory.

    Equal to the official ``propagate_in_video`` up to rounding, see ``docs/tracker.md``. Not thread-safe.

    Args:
        model: From :func:`~streamseg.tracker.sam2.build.build_model`. The predictor takes ownership and, in low
            precision, converts its weights.
        max_objects: Maximum number of objects per stream.
        conditioning_frames: Prompted frames that an object remembers: the first and the newest.
        history_frames: Number of newest frames of a stream that can be prompted.
        undo_depth: Maximum number of prompts per object that can be undone.
        autocast: Precision of the model's arithmetic; None for float32.
        spatial_frames: Frames before the current one whose memory is read; None for the model's default.
        pointer_frames: The same for object pointers.
        policy: Decides which tracked frames an object remembers.
        engine: Constructs the engine from the step and the precision.

    Attributes:
        step: The tracking step.
        engine: Runs encoder and step.
        bank: The memory of all lanes; doubles whenever there are more objects than lanes.
    """

    def __init__(
        self,
        model: SAM2Base,
        *,
        max_objects: int = 16,
        conditioning_frames: int = 4,
        history_frames: int = 30,
        undo_depth: int = 8,
        autocast: torch.dtype | None = None,
        spatial_frames: int | None = None,
        pointer_frames: int | None = None,
        policy: MemoryPolicy = SAM2,
        engine: Callable[[TrackStep, torch.dtype | None], Engine] = Engine,
    ) -> None:
        if conditioning_frames < 2:
            raise ValueError(
                f"conditioning_frames {conditioning_frames} is invalid: expected 2 or more (first and newest)"
            )
        self.model = model
        self.max_objects = max_objects
        self.history_frames = history_frames
        self._undo_depth = undo_depth
        side = model.image_size // model.backbone_stride
        shape = BankShape(
            tokens=side * side,
            memory_dim=model.mem_dim,
            pointer_dim=model.hidden_dim,
            spatial_frames=model.num_maskmem - 1 if spatial_frames is None else spatial_frames,
            pointer_frames=model.max_obj_ptrs_in_encoder - 1 if pointer_frames is None else pointer_frames,
            conditioning_frames=conditioning_frames,
            history_frames=history_frames,
            policy=policy,
        )
        # Not in inference mode: code compiled for copies of these tensors refuses tensors made in it.
        with torch.no_grad():
            self.step = TrackStep(model, shape.spatial_frames, shape.policy).to(model.device)
            self.engine = engine(self.step, autocast)
        with torch.inference_mode():
            self.bank = MemoryBank(shape, self.engine.initial_lanes, model.device)
        self._free_lanes = list(reversed(range(self.bank.lanes)))
        self._streams: dict[str, _Stream] = {}
        self._numbers = itertools.count()

    @torch.inference_mode()
    def warm_up(self, progress: Progress) -> None:
        """Prepare the engine for any number of streams and objects. Call it once, before the first prompt."""
        padding = self._take_lane(NEVER) if self.engine.needs_padding_lane else 0
        self.engine.warm_up(self.bank, padding, progress)

    def open_stream(self, stream: str) -> None:
        """Start a stream without objects. A stream that is already open is restarted."""
        self.close_stream(stream)
        self._streams[stream] = _Stream(next(self._numbers))

    def close_stream(self, stream: str) -> None:
        """End a stream and free its objects. Does nothing if it is not open."""
        if stream in self._streams:
            self.reset(stream)
            del self._streams[stream]

    def objects(self, stream: str) -> tuple[int, ...]:
        """Return the ids of a stream's objects, including forgotten ones, oldest first."""
        return tuple(self._opened(stream).objects)

    def aside(self, stream: str) -> tuple[int, ...]:
        """Return the ids of a stream's objects that were set aside."""
        return tuple(self._opened(stream).aside)

    def frame(self, stream: str) -> int:
        """Return the number of the stream's newest frame, counted from 0; -1 before the first."""
        return self._opened(stream).frame

    def remembers(self, stream: str, obj_id: int) -> bool:
        """Return whether an object exists and is not forgotten, so that a prompt corrects it."""
        return self._opened(stream).objects.get(obj_id) is not None

    def keep_features(self, stream: str, frames: Iterable[int]) -> None:
        """On a CPU, keep the cached features of exactly these frames although newer frames arrive."""
        self._opened(stream).kept = set(frames)

    @torch.inference_mode()
    def track(self, images: Mapping[str, Tensor]) -> dict[str, TrackOutput]:
        """Track the next frame of one or more open streams and return their objects.

        Args:
            images: Stream -> ``[3, image_size, image_size]``, normalized, on the model's device. Kept until the
                stream's next frame.
        """
        self.engine.between_frames()
        for name, image in images.items():
            stream = self._opened(name)
            if self.model.device.type != "cpu":
                stream.earlier.clear()
            elif stream.features is not None:
                stream.keep_earlier(stream.frame, stream.features)
            stream.frame += 1
            stream.image, stream.features = image, None
        busy = [name for name in images if self._streams[name].remembered()]
        outputs = {name: self._nothing() for name in images}
        if busy:
            outputs.update(self._track_lanes(busy, self._encode(busy)))
        return outputs

    @contextmanager
    def all_or_none(self, streams: Iterable[str]) -> Iterator[None]:
        """Restore the streams' state if an exception leaves this context.

        Memory already written for a frame stays: only later frames use it, and tracking the frame again replaces it.
        """
        before = {stream: (state.frame, state.image, state.features) for stream, state in self._streams.items()}
        try:
            yield
        except BaseException:
            for stream in streams:
                if stream in before:
                    state = self._streams[stream]
                    state.frame, state.image, state.features = before[stream]
            raise

    @torch.inference_mode()
    def add_prompt(
        self, stream: str, obj_id: int, *, at: PastImage | None = None, **given: Unpack[GivenPrompt]
    ) -> TrackOutput:
        """Add or correct an object on one frame, and remember that frame as a conditioning frame.

        Points on the same frame add up and refine the object's mask there; a box or a mask replaces them. Memory of
        later frames is dropped: call :meth:`retrack` on some of them, the newest last.

        Args:
            stream: The stream.
            obj_id: The object; a new or forgotten id starts a new object.
            at: One of the stream's ``history_frames`` newest frames; None for the newest.
            given: The prompt.

        Raises:
            PromptError: No frame was tracked yet, or the stream is full.
        """
        return self.accept(stream, obj_id, self.segment(stream, obj_id, at=at, **given))

    @torch.inference_mode()
    def segment(
        self,
        stream: str,
        obj_id: int,
        *,
        at: PastImage | None = None,
        fresh: bool = False,
        ambiguous: bool = False,
        choice: int | None = None,
        **given: Unpack[GivenPrompt],
    ) -> SegmentedObject:
        """Return what :meth:`add_prompt` would remember, without changing anything.

        Args:
            stream: The stream.
            obj_id: The object.
            at: As in :meth:`add_prompt`.
            fresh: Ignore the object's memory, and do not require room for a new object.
            ambiguous: Request three candidate masks.
            choice: Which of them to take, best first; None: the best.
            given: The prompt.

        Raises:
            PromptError: As :meth:`add_prompt`.
        """
        state = self._opened(stream)
        self._check_prompt(stream, state, obj_id, needs_room=not fresh)
        frame = state.frame if at is None else at.frame
        known = None if fresh else state.objects.get(obj_id)
        earlier = None if known is None else known.outputs.get(frame)
        prompt = prompt_tensors(
            given, None if known is None else known.prompts.get(frame), self.model.image_size, self.model.device
        )
        features = self._features_of(stream, at)
        with self.engine.prompt_kernels(), self.engine.precision():
            out = apply_prompt(
                self.step,
                features,
                prompt,
                memory=(self.bank, known.lane, frame, len(known.conditioning_frames))
                if known is not None and known.began_before(frame)
                else None,
                earlier_logits=None if earlier is None else earlier.mask_logits,
                ambiguous=ambiguous,
                choice=choice,
            )
        return SegmentedObject(frame, features, prompt, out, fresh)

    @torch.inference_mode()
    def click_masks(
        self, stream: str, clicks: Sequence[tuple[PastImage, Tensor]], *, ambiguous: bool = False
    ) -> list[tuple[StepOutput, StepOutput]]:
        """Return the masks that :meth:`segment` would give new objects with one positive point each, in batches.

        They agree up to rounding, and take less time together. Batches are as large as the device's memory allows.

        Args:
            stream: The stream.
            clicks: Frame and ``[2]`` point of each object, 0..1 of width and height.
            ambiguous: As in :meth:`segment`.

        Returns:
            For each click its mask, for ``B`` = 1, and all candidates, best first.
        """
        batch = points_at_once(self.model, len(clicks))
        parts = [clicks[first : first + batch] for first in range(0, len(clicks), batch)]
        return [mask for part in parts for mask in self._click_batch(stream, part, ambiguous)]

    def _click_batch(
        self, stream: str, clicks: Sequence[tuple[PastImage, Tensor]], ambiguous: bool
    ) -> list[tuple[StepOutput, StepOutput]]:
        features = [self._features_of(stream, at) for at, _ in clicks]
        points = torch.stack([point for _, point in clicks]).to(self.model.device) * self.model.image_size
        multimask = ambiguous or self.model._use_multimask(True, {"point_labels": points[:, :1]})
        with self.engine.prompt_kernels(), self.engine.precision():
            found, scores = self._decoder_of(features, len(clicks)).clicks(points, multimask=multimask)
        scores = scores[found.points]
        logits = torch.where(scores[:, None, None] > 0, found.logits.float(), NO_OBJ_SCORE)
        offered = StepOutput(logits, found.ious.float(), scores)
        masks = []
        for place in range(len(clicks)):
            own = StepOutput(*(value[found.points == place] for value in offered))
            order = own.iou_prediction.argsort(descending=True)
            masks.append((own.select(order[:1]), own.select(order)))
        return masks

    def _decoder_of(self, frames: Sequence[Features], batch: int) -> PointDecoder:
        """Return a decoder of points, one per frame, or all on the same frame."""
        if all(one is frames[0] for one in frames):
            frames = frames[:1]
        features = joined(frames)
        top = self.step.as_map(features.top) + self.model.no_mem_embed.view(1, -1, 1, 1)
        return PointDecoder(self.model, top, features.stride8, features.stride4, batch)

    def check_room(self, stream: str, obj_id: int) -> None:
        """Refuse a new object if the stream is full.

        Raises:
            PromptError: The stream is full, or no frame was tracked yet.
        """
        self._check_prompt(stream, self._opened(stream), obj_id)

    @torch.inference_mode()
    def accept(self, stream: str, obj_id: int, segmented: SegmentedObject) -> TrackOutput:
        """Remember the result of :meth:`segment`, which must be the last call on the stream."""
        state = self._opened(stream)
        known = state.objects.get(obj_id)
        if known is None:
            known = state.objects[obj_id] = ObjectMemory(self._take_lane(state.number), self._undo_depth)
        elif segmented.fresh:
            known.restart(self.bank)
        frame, features, prompt, out, _ = segmented
        with self.engine.prompt_kernels(), self.engine.precision():
            memory = encode_memory(self.step, features, out)
        known.remember_prompt(self.bank, frame, state.frame, prompt, out, memory)
        return TrackOutput((obj_id,), *segmented.out.step)

    @contextmanager
    def trial(self, stream: str, obj_id: int) -> Iterator[None]:
        """Undo all changes to a remembered object at the end of this context."""
        objects = self._opened(stream).objects
        before = self._opened(stream).remembered()[obj_id]
        memory = self.bank.read_lane(before.lane)
        objects[obj_id] = before.copy()
        try:
            yield
        finally:
            objects[obj_id] = before
            self.bank.write_lane(before.lane, memory)

    def seen_at(self, stream: str, obj_id: int, frame: int) -> bool:
        """Return whether an object was visible on a frame that can still be prompted. Syncs."""
        return self._opened(stream).remembered()[obj_id].seen_at(frame)

    def was_given(self, stream: str, obj_id: int, frame: int) -> bool:
        """Return whether an object's mask on a frame that can still be prompted is one that the user gave."""
        obj = self._opened(stream).remembered().get(obj_id)
        return obj is not None and obj.was_given(frame)

    @torch.inference_mode()
    def recall(self, stream: str, obj_id: int, at: PastImage) -> TrackOutput:
        """Return the object's mask on a next frame identical to ``at``. Changes nothing."""
        obj = self._opened(stream).remembered()[obj_id]
        features = self._features_of(stream, at)
        with self.engine.prompt_kernels(), self.engine.precision():
            index = torch.tensor([[obj.lane], [at.frame + 1]], device=self.model.device)
            memory = self.step.read(self.bank, index, len(obj.conditioning_frames), True, features.colors)
            out = self.step.infer(memory, features, True).output
        return TrackOutput((obj_id,), *out)

    @torch.inference_mode()
    def point_decoder(self, stream: str, batch: int) -> PointDecoder:
        """Return a decoder of points on the stream's newest frame. Encodes it, unless it was tracked with objects.

        Lifetime: frames can be tracked meanwhile; the decoder keeps the features of its frame.

        Args:
            stream: The stream.
            batch: Maximum number of points at once.
        """
        with self.engine.precision():
            return self._decoder_of([self._features_of(stream, None)], batch)

    @torch.inference_mode()
    def decode_points(self, decoder: PointDecoder, points: Tensor, above_iou: float) -> Decoded:
        """Return three masks for each of ``[B, 2]`` points (fractions of the frame), if above a predicted IoU."""
        at = points.to(self.model.device) * self.model.image_size
        with self.engine.prompt_kernels(), self.engine.precision():
            return decoder(at, None, multimask=True, above_iou=above_iou)

    @torch.inference_mode()
    def retrack(self, stream: str, obj_id: int, at: PastImage) -> TrackOutput:
        """Track one object again on a frame after its first prompt, and remember that frame.

        Only memory of earlier frames is used. A prompted frame keeps the result of its prompt.
        """
        state = self._opened(stream)
        obj = state.remembered()[obj_id]
        if at.frame not in obj.conditioning_frames:
            lane, features = LaneFrame(obj.lane, at.frame, row=0), self._features_of(stream, at)
            out = self.engine.track(self.bank, [lane], features, len(obj.conditioning_frames), masked=True)
            obj.note_tracked(at.frame, out, state.frame - self.history_frames + 1)
        return TrackOutput((obj_id,), *obj.outputs[at.frame])

    @torch.inference_mode()
    def undo_prompt(self, stream: str, obj_id: int) -> int | None:
        """Undo the last prompt of an object, and restore its earlier conditioning memory.

        Memory of tracked frames from the prompted one on is dropped.

        Returns:
            The number of the first frame to :meth:`retrack`; None if that was its only prompt, which removes the
            object.

        Raises:
            NothingToUndoError: No prompt is left to undo.
            PromptError: There is no such object.
        """
        state = self._opened(stream)
        self._check_object(stream, obj_id)
        obj = state.objects[obj_id]
        if obj is None or not obj.can_undo:
            raise NothingToUndoError(
                f"object {obj_id}: nothing to undo: at most the last {self._undo_depth} prompts can be undone, and "
                "none from before its memory was cleared or restored from a snapshot"
            )
        first = obj.undo_prompt(self.bank, state.frame)
        if first is None:
            self.remove_object(stream, obj_id)
        return first

    def remove_object(self, stream: str, obj_id: int) -> None:
        """Forget an object.

        Raises:
            PromptError: There is no such object.
        """
        self._check_object(stream, obj_id)
        self.forget_object(stream, obj_id)
        del self._opened(stream).objects[obj_id]

    def export_objects(
        self, stream: str, aside: Iterable[int] = ()
    ) -> tuple[dict[int, dict[str, Tensor]], dict[int, int]]:
        """Copy the memory of a stream's objects to the host; forgotten ones have none.

        Args:
            stream: The stream.
            aside: Ids of set-aside objects to copy, too.

        Returns:
            The memory of each object, and the last known frame of set-aside objects.
        """
        state = self._opened(stream)
        kept = {obj_id: state.aside[obj_id] for obj_id in aside if obj_id in state.aside}
        objects = {obj_id: self.bank.export_lane(obj.lane, state.frame) for obj_id, obj in state.remembered().items()}
        objects |= {obj_id: self.bank.export_lane(obj.lane, frame) for obj_id, (obj, frame) in kept.items()}
        return objects, {obj_id: frame for obj_id, (_, frame) in kept.items()}

    def import_objects(
        self,
        stream: str,
        frame: int,
        objects: Mapping[int, Mapping[str, Tensor]],
        aside: Mapping[int, int] | None = None,
    ) -> dict[int, str]:
        """Continue objects on a newly opened stream. Set-aside objects stay set aside.

        Args:
            stream: The stream.
            frame: Number of the frame after which the memory was exported; the stream continues with the next number.
            objects: From :meth:`export_objects`.
            aside: Likewise.

        Returns:
            Object id -> why its memory cannot be used. The stream does not have these objects.

        Raises:
            PromptError: There are more objects than a stream may have.
        """
        state, aside = self._opened(stream), aside or {}
        refused: dict[int, str] = {}
        count = len(objects.keys() - aside.keys())
        if count > self.max_objects:
            raise PromptError(f"{count} objects, but model.max_objects is {self.max_objects}")
        for obj_id, memory in objects.items():
            lane = self._take_lane(NEVER if obj_id in aside else state.number)
            try:
                self.bank.import_lane(lane, memory)
            except ValueError as error:
                self._free_lane(lane)
                refused[obj_id] = str(error)
                continue
            obj = ObjectMemory.imported(self.bank, lane, self._undo_depth, aside.get(obj_id, frame))
            if obj_id in aside:
                state.aside[obj_id] = obj, aside[obj_id]
            else:
                state.objects[obj_id] = obj
        state.frame = frame
        return refused

    def show(self, stream: str, image: Tensor) -> None:
        """Give a stream the picture of its newest frame, so that it can be prompted after :meth:`import_objects`."""
        self._opened(stream).image = image

    def set_aside(self, stream: str, obj_id: int) -> None:
        """Stop tracking an object, but keep its lane. An earlier set-aside object with its id is dropped.

        Raises:
            PromptError: There is no such object.
        """
        self._check_object(stream, obj_id)
        state = self._opened(stream)
        self.drop_aside(stream, obj_id)
        obj = state.objects.pop(obj_id)
        if obj is not None:
            self.bank.assign(obj.lane, NEVER)
            state.aside[obj_id] = obj, state.frame

    def bring_back(self, stream: str, obj_id: int) -> None:
        """Track a set-aside object again. Its memory is moved in time, so that it ends before the newest frame.

        Then pass the newest frame to :meth:`retrack`.

        Raises:
            PromptError: No object with this id was set aside, it is tracked, or the stream is full.
        """
        state = self._opened(stream)
        if obj_id not in state.aside or obj_id in state.objects:
            raise PromptError(f"object {obj_id}: stream {stream} has not set it aside, or tracks it")
        self._check_prompt(stream, state, obj_id)
        obj, frame = state.aside.pop(obj_id)
        obj.move(self.bank, state.frame - 1 - frame, state.frame)
        self.bank.assign(obj.lane, state.number)
        state.objects[obj_id] = obj

    def drop_aside(self, stream: str, obj_id: int) -> None:
        """Free the lane of a set-aside object. Does nothing if there is none."""
        found = self._opened(stream).aside.pop(obj_id, None)
        if found is not None:
            self._free_lane(found[0].lane)

    def forget_object(self, stream: str, obj_id: int) -> None:
        """Free an object's memory. It keeps its id and position, but is not tracked until the next prompt."""
        objects = self._opened(stream).objects
        obj = objects[obj_id]
        if obj is not None:
            self._free_lane(obj.lane)
            objects[obj_id] = None

    def keep_forgotten(self, stream: str, objects: Iterable[int]) -> None:
        """Give a stream these objects in this order; unknown ones are added as forgotten."""
        state = self._opened(stream)
        state.objects = {obj_id: state.objects.get(obj_id) for obj_id in objects}

    def reset(self, stream: str) -> None:
        """Forget all objects of a stream. Its last frame can still be prompted."""
        state = self._opened(stream)
        for obj in (*state.remembered().values(), *(obj for obj, _ in state.aside.values())):
            self._free_lane(obj.lane)
        state.objects.clear()
        state.aside.clear()

    def _opened(self, stream: str) -> _Stream:
        if stream not in self._streams:
            raise PromptError(f"stream {stream} is not open: call open_stream first")
        return self._streams[stream]

    def _check_prompt(self, name: str, stream: _Stream, obj_id: int, *, needs_room: bool = True) -> None:
        if stream.image is None:
            raise PromptError(f"object {obj_id}: stream {name} has no frame yet: prompt it after its first frame")
        if needs_room and obj_id not in stream.objects and len(stream.objects) >= self.max_objects:
            raise PromptError(
                f"object {obj_id}: stream {name} already tracks {self.max_objects} objects, the limit of "
                "model.max_objects: remove one first"
            )

    def _check_object(self, name: str, obj_id: int) -> None:
        objects = self._opened(name).objects
        if obj_id not in objects:
            held = ", ".join(map(str, objects)) or "none"
            raise PromptError(f"stream {name} has no object {obj_id}: it has {held}")

    @torch.inference_mode()
    def newest_colors(self, stream: str) -> Tensor:
        """Return the colors of a stream's newest tracked frame, ``[2h, 2w]`` int16, for masks of ``h x w``."""
        opened = self._streams[stream]
        colors = self._features_of(stream, None).colors
        if colors.numel() > 0:
            return colors[0]
        assert opened.image is not None
        return colors_of(opened.image[None], 4 * self.step.side)[0]

    def _features_of(self, name: str, at: PastImage | None) -> Features:
        """Return the features of one frame. The newest and a few earlier frames are cached."""
        stream = self._streams[name]
        if at is not None and at.frame != stream.frame:
            if at.frame not in stream.earlier:
                stream.keep_earlier(at.frame, self.engine.encode(at.image[None]))
            return stream.earlier[at.frame]
        if stream.features is None:
            self._encode([name])
        assert stream.features is not None
        return stream.features

    def _encode(self, names: list[str]) -> Features:
        """Encode the last images of streams in one batch, and cache each stream's row."""
        streams = [self._streams[name] for name in names]
        features = self.engine.encode(torch.stack([stream.image for stream in streams if stream.image is not None]))
        for row, stream in enumerate(streams):
            stream.features = features.row(row)
        return features

    def _track_lanes(self, names: list[str], features: Features) -> dict[str, TrackOutput]:
        streams = [self._streams[name] for name in names]
        objects = [stream.remembered() for stream in streams]
        rows = [(row, streams[row], obj) for row, held in enumerate(objects) for obj in held.values()]
        lanes = [LaneFrame(obj.lane, stream.frame, row) for row, stream, obj in rows]
        conditioning = max(len(obj.conditioning_frames) for _, _, obj in rows)
        settled = all(self._settled(obj, stream.frame, conditioning) for _, stream, obj in rows)
        out = self.engine.track(self.bank, lanes, features, conditioning, masked=not settled)
        outputs, start = {}, 0
        for name, held in zip(names, objects, strict=True):
            part = slice(start, start + len(held))
            outputs[name] = TrackOutput(tuple(held), *(value[part] for value in out))
            frame = self._streams[name].frame
            for lane, obj in enumerate(held.values(), start):
                output = StepOutput(*(value[lane : lane + 1] for value in out))
                obj.note_tracked(frame, output, frame - self.history_frames + 1)
            start = part.stop
        return outputs

    def _settled(self, obj: ObjectMemory, frame: int, conditioning: int) -> bool:
        """Return whether all slots to read are filled, which they are not right after the start or a prompt.

        With a policy that skips frames, only the device knows.
        """
        if self.step.policy.skips_frames:
            return False
        return len(obj.conditioning_frames) == conditioning and frame - obj.gap > self.bank.shape.pointer_frames

    def _free_lane(self, lane: int) -> None:
        self.bank.assign(lane, NEVER)
        self._free_lanes.append(lane)

    def _take_lane(self, stream: int) -> int:
        """Return an empty lane for an object of the stream with that number."""
        if not self._free_lanes:
            lanes = self.bank.lanes
            self.bank = self.bank.grown(2 * lanes)
            self._free_lanes.extend(reversed(range(lanes, 2 * lanes)))
            self.engine.bank_grew(self.bank)
        lane = self._free_lanes.pop()
        self.bank.clear_lane(lane)
        self.bank.assign(lane, stream)
        return lane

    def _nothing(self) -> TrackOutput:
        side, device = self.model.image_size // 4, self.model.device
        scores = torch.empty(0, device=device)
        return TrackOutput((), torch.empty(0, side, side, device=device), scores, scores)
