"""SAM 2 as a :class:`~streamseg.tracker.types.Tracker`: video frames and prompts in pixels in, full-size masks out.

Long, because it has a method for each of the interface; each turns pixels into the model's numbers and back, and leaves
the tracking to :class:`~streamseg.tracker.predictor.CameraPredictor`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import torch

from streamseg.config.schema import ModelConfig
from streamseg.errors import PromptError
from streamseg.frame import Frame
from streamseg.models.registry import ResolvedModel
from streamseg.models.tuning import AutomaticThresholds, Confidence, load_tuning
from streamseg.tracker import torch_private, warm_up
from streamseg.tracker.choose_engine import choose_engine
from streamseg.tracker.compiled.buckets import CUDA_BUCKETS
from streamseg.tracker.confidence import ConfidenceMeter
from streamseg.tracker.device import choose_device, choose_dtype
from streamseg.tracker.history import FrameHistory, evenly
from streamseg.tracker.mask_edges import color_edged
from streamseg.tracker.measure import unseen, unusable
from streamseg.tracker.postprocess import LowRes, to_results
from streamseg.tracker.predictor import CameraPredictor, TrackOutput
from streamseg.tracker.preprocess import Preprocessor
from streamseg.tracker.sam2.attention_backend import synchronize
from streamseg.tracker.sam2.build import build_model
from streamseg.tracker.sam2.checkpoint import weights_digest
from streamseg.tracker.sam2.memory_policy import policy_of
from streamseg.tracker.sam2.point_decoder import is_decodable
from streamseg.tracker.segment_prompts import Past, PromptSegmenter, given_prompt
from streamseg.tracker.stream_memory import for_input, to_array, to_tensor
from streamseg.tracker.types import (
    Candidate,
    ObjectResult,
    Preview,
    Prompt,
    PromptResult,
    Question,
    StreamMemory,
    check_prompt,
)

log = logging.getLogger(__name__)

_WARM_UP_STREAM: Final = "warm up"  # never the id of a configured stream: those have no spaces
_WARM_UP_OBJECTS: Final = 3
_POINTS_ON_GPU: Final = 32
_TOKENS_AT_ONCE: Final = 1024
"""Image tokens times points of one step of :meth:`Sam2Tracker.candidates` on a CPU: 4 points at 256 px."""
_STABILITY_OFFSET: Final = 1.0
"""In logits, as in the reference."""


class Sam2Tracker:
    """Tracks with a SAM 2 model.

    An object whose scores become NaN or infinite is forgotten, since memory would carry such values on forever. It is
    reported as not visible until the next prompt starts it again.

    Args:
        predictor: Holds the model and the objects' memory.
        preprocess: Converts frames to the model's input.
        catch_up_frames: How many frames, at most, a prompt on an older frame is tracked through up to the newest.
        restart_unseen: A positive mark on an object that is not visible may start it again. False: its memory is
            always used, as in the reference.
        confidence: What the confidence of masks is computed from; None if the model has none.
        weights: Names the model's weights, see :func:`weights_digest`.
        automatic: Thresholds of :meth:`candidates`.
        color_edges: The edges of published masks follow the picture's colors.
    """

    def __init__(
        self,
        predictor: CameraPredictor,
        preprocess: Preprocessor,
        *,
        catch_up_frames: int = 4,
        restart_unseen: bool = True,
        confidence: Confidence | None = None,
        weights: str = "",
        automatic: AutomaticThresholds = AutomaticThresholds(),  # noqa: B008 - frozen
        color_edges: bool = False,
    ) -> None:
        self._predictor = predictor
        self._weights = weights
        self._automatic = automatic
        self._color_edges = color_edges
        self._segmenter = PromptSegmenter(predictor, preprocess, restart_unseen=restart_unseen, color_edges=color_edges)
        self._preprocess = preprocess
        self._catch_up_frames = catch_up_frames
        self._graphs_when_warm = 0
        self._histories: dict[str, FrameHistory[torch.Tensor]] = {}
        self._meter = ConfidenceMeter(confidence, predictor.model.device)

    @classmethod
    def from_config(cls, resolved: ResolvedModel, config: ModelConfig) -> Sam2Tracker:
        """Build the model and its tracker.

        Raises:
            ModelError: The model cannot be built, or its device does not exist.
        """
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        device = choose_device(config.device)
        dtype = choose_dtype(config.dtype, device)
        model = build_model(
            resolved.config, image_size=config.image_size, checkpoint=resolved.checkpoint, device=device
        )
        weights = weights_digest(model)
        tuning = load_tuning(resolved.config)
        predictor = CameraPredictor(
            model,
            max_objects=config.max_objects,
            policy=policy_of(tuning.memory if config.memory == "auto" else config.memory, tuning.thresholds),
            history_frames=config.history_frames,
            autocast=None if dtype == torch.float32 else dtype,
            engine=choose_engine(config, device, dtype, weights),
        )
        return cls(
            predictor,
            Preprocessor(model.image_size, device, torch.float32),
            confidence=tuning.confidence,
            weights=weights,
            automatic=tuning.automatic,
            color_edges=(tuning.mask_edges if config.mask_edges == "auto" else config.mask_edges) == "colors",
        )

    @property
    def device(self) -> str:
        """What the model runs on, for display."""
        return self._predictor.engine.device

    @property
    def engine(self) -> str:
        """What runs the model now, for display."""
        return self._predictor.engine.state

    @property
    def device_memory_bytes(self) -> int:
        """GPU memory that this process holds, in use or cached; 0 on a CPU."""
        device = self._predictor.model.device
        return torch.cuda.memory_reserved(device) if device.type == "cuda" else 0

    @property
    def recompiles(self) -> int:
        """Graphs compiled after :meth:`warm_up`, plus how often all graphs were recorded again."""
        return torch_private.compiled_graphs() - self._graphs_when_warm + self.rerecordings

    @property
    def rerecordings(self) -> int:
        """How often all graphs were recorded again."""
        return self._predictor.engine.rerecordings

    @property
    def image_size(self) -> int:
        """Side of the model's input in pixels."""
        return int(self._predictor.model.image_size)

    @property
    def feature_side(self) -> int:
        """Side of the feature maps that are remembered."""
        return int(self.image_size // self._predictor.model.backbone_stride)

    @property
    def streams_at_once(self) -> int:
        """The encoder's largest batch on a CUDA device; 1 on a CPU, where a batch saves next to nothing."""
        return CUDA_BUCKETS.streams[-1] if self._predictor.model.device.type == "cuda" else 1

    def warm_up(self, progress: Callable[[str, float], None]) -> None:
        """Compile if configured, then run every path once: prompts, corrections, one object and several.

        Blocks: for a few frames; on CUDA until the memory is full, since full memory has kernels of its own.
        Compilation takes minutes at the first start. Call it once.
        """
        model, predictor = self._predictor.model, self._predictor
        predictor.warm_up(progress)
        objects = min(_WARM_UP_OBJECTS, predictor.max_objects)
        settle = predictor.bank.shape.pointer_frames + 1 if model.device.type == "cuda" else 1
        steps = objects * settle
        frames = warm_up.gray_frames()
        self.open_stream(_WARM_UP_STREAM)
        try:
            for _ in warm_up.PIXEL_FORMATS:
                self.track({_WARM_UP_STREAM: next(frames)})
            for count in range(objects):
                self._add_unchecked(_WARM_UP_STREAM, warm_up.prompts(count + 1)[count % 3])
                for frame in range(settle):
                    progress(f"tracking {count + 1} of {objects} objects", (count * settle + frame) / steps)
                    self.track({_WARM_UP_STREAM: next(frames)})
                self._add_unchecked(_WARM_UP_STREAM, warm_up.prompts(count + 1)[0])
        finally:
            self.close_stream(_WARM_UP_STREAM)
        synchronize(model.device)
        self._graphs_when_warm = torch_private.compiled_graphs()
        progress("warm", 1.0)

    def close(self) -> None:
        """End what the engine prepares in the background. The tracker goes on with what it has."""
        self._predictor.engine.close()

    def _add_unchecked(self, stream: str, prompt: Prompt) -> None:
        """Apply a prompt whatever it finds: the model may see nothing on a gray picture."""
        past = self._prompted_frame(stream, prompt, None)
        given = given_prompt(prompt, past.size)
        output = self._predictor.add_prompt(stream, prompt.obj_id, at=self._segmenter.image(past), **given)
        self._catch_up(stream, past, output)

    def open_stream(self, stream: str) -> None:
        """Start a stream without objects. A stream that is already open is restarted."""
        self._predictor.open_stream(stream)
        self._meter.close(stream)
        self._histories[stream] = FrameHistory(stream, self._predictor.history_frames)

    def close_stream(self, stream: str) -> None:
        """End a stream and free its objects. Does nothing if it is not open."""
        self._predictor.close_stream(stream)
        self._histories.pop(stream, None)
        self._meter.close(stream)

    def track(self, frames: Mapping[str, Frame]) -> dict[str, list[ObjectResult]]:
        """Track the next frame of one or more streams; return their objects' masks, oldest object first.

        The size may change between frames: memory does not depend on it. A forgotten object that waits for a prompt
        has an empty mask, ``iou_prediction`` 0 and ``object_score_logits`` -32.

        Raises:
            StreamsegError: A stream is not open, or a frame does not match its format.
        """
        with self._predictor.engine.frame_threads():
            pixels = {stream: self._preprocess.resize(frame) for stream, frame in frames.items()}
            sizes = {stream: (frame.format.width, frame.format.height) for stream, frame in frames.items()}
            images = {stream: self._preprocess.normalize(image) for stream, image in pixels.items()}
            with self._predictor.all_or_none(images):
                outputs = self._predictor.track(images)
                found = {
                    stream: LowRes(*output, sizes[stream], self._confidence(stream, output))
                    for stream, output in outputs.items()
                }
                if self._color_edges:
                    masks = [color_edged(held, pixels[stream]) for stream, held in found.items()]
                else:
                    masks = to_results(list(found.values()))
        for stream, frame in frames.items():
            self._histories[stream].add(frame, self._predictor.frame(stream), pixels[stream])
        results = {}
        for stream, held in zip(outputs, masks, strict=True):
            of_objects = {result.obj_id: self._finite(stream, result) for result in held}
            results[stream] = [
                of_objects.get(obj_id) or unseen(obj_id, sizes[stream]) for obj_id in self._predictor.objects(stream)
            ]
        return results

    def repeat(self, stream: str, frame_id: int) -> None:
        """Record a frame that repeats the newest tracked one: prompts on it apply to that one."""
        self._histories[stream].repeat(frame_id)

    def find_frame(self, stream: str, frame_id: int | None) -> int:
        """Return the tracked frame to which a prompt for a frame applies: that one, or the one that it repeats.

        Raises:
            FrameExpiredError: the frame is no longer held, or was dropped.
            PromptError: no frame was tracked yet, or this one was not.
        """
        return self._histories[stream].find(None, frame_id).frame_id

    def hold_frame(self, stream: str, holder: str, frame_id: int | None) -> None:
        """Keep a tracked frame for a holder although newer ones come, and release the one that it held."""
        history = self._histories[stream]
        history.hold(holder, frame_id)
        self._predictor.keep_features(stream, history.held())

    def candidates(
        self, stream: str, points: Sequence[tuple[float, float]], quality: float | None = None
    ) -> Iterator[Sequence[Candidate]]:
        """Segment points of the newest tracked frame, piece by piece; changes nothing.

        Args:
            stream: The stream. It has a tracked frame.
            points: x, y as fractions of the frame's width and height.
            quality: Lowest predicted IoU; None: the model's own threshold.
        """
        decoder = self._predictor.point_decoder(stream, self._points_at_once())
        yield ()
        least = self._automatic.pred_iou_thresh if quality is None else quality
        for batch in torch.split(torch.tensor(points, dtype=torch.float32).reshape(-1, 2), decoder.batch):
            found = self._predictor.decode_points(decoder, batch, least)
            stability = _stability(found.logits)
            kept = found.keep(stability >= self._automatic.stability_score_thresh)
            stable = stability[stability >= self._automatic.stability_score_thresh]
            yield [
                Candidate(logits, float(iou), float(share))
                for logits, iou, share in zip(
                    kept.logits.float().cpu().numpy(), kept.ious.tolist(), stable.tolist(), strict=True
                )
            ]

    def _points_at_once(self) -> int:
        """Return how many points are segmented in one step: on a CPU few, so that a step is short."""
        model = self._predictor.model
        if model.device.type != "cpu":
            return _POINTS_ON_GPU
        tokens = int(model.image_size // model.backbone_stride) ** 2
        return max(1, _TOKENS_AT_ONCE // tokens)

    def add_prompt(
        self, stream: str, prompt: Prompt, frame_id: int | None = None, *, catch_up_frames: int | None = None
    ) -> PromptResult:
        """Add an object, or correct one, on the frame that the user saw, and catch up to the newest.

        Blocks: to encode and track one frame, and up to ``catch_up_frames`` more if the frame is not the newest.

        Raises:
            FrameExpiredError: The frame is no longer held.
            PromptError: The frame was not tracked yet, the stream is full, or the prompt does not fit the frame, or
                it gives no mask, or one far smaller than was marked.
        """
        past = self._prompted_frame(stream, prompt, frame_id)
        segmented, _ = self._segmenter.segment(stream, prompt, past)
        output = self._predictor.accept(stream, prompt.obj_id, segmented)
        if segmented.fresh:
            log.info("stream %s: object %d started again from a prompt", stream, prompt.obj_id)
        caught_up = self._catch_up(stream, past, output, catch_up_frames)
        return replace(caught_up, restarted=segmented.fresh)

    def preview(
        self,
        stream: str,
        prompt: Prompt,
        frame_id: int | None = None,
        *,
        candidates: bool = False,
        fresh: bool = False,
    ) -> Preview:
        """Return the mask that :meth:`add_prompt` would give on that frame, without changing anything.

        Raises:
            PromptError: As :meth:`add_prompt`.
        """
        past = self._prompted_frame(stream, prompt, frame_id, fresh=fresh)
        segmented, result = self._segmenter.segment(stream, prompt, past, ambiguous=candidates, fresh=fresh)
        offered = self._segmenter.at_video_size(prompt, segmented.out.candidates, past) if candidates else []
        return Preview(past.frame_id, result, tuple(offered), segmented.fresh and not fresh)

    def previews(self, stream: str, questions: Sequence[Question]) -> list[Preview | PromptError]:
        """Return what :meth:`preview` returns or raises for each question, up to rounding.

        Single clicks that start an object, which are most previews, go through the model in one batch.
        """
        answers: dict[int, Preview | PromptError] = {}
        clicks: dict[bool, dict[int, tuple[Prompt, Past]]] = {}
        for place, asked in enumerate(questions):
            prompt = asked.prompt
            try:
                if self._is_first_click(stream, prompt):
                    past = self._prompted_frame(stream, prompt, asked.frame_id)
                    self._predictor.check_room(stream, prompt.obj_id)
                    clicks.setdefault(asked.candidates, {})[place] = prompt, past
                else:
                    answers[place] = self.preview(stream, prompt, asked.frame_id, candidates=asked.candidates)
            except PromptError as error:
                answers[place] = error
        for candidates, group in clicks.items():
            found = self._segmenter.first_clicks(stream, list(group.values()), candidates=candidates)
            answers |= zip(group, found, strict=True)
        return [answers[place] for place in range(len(questions))]

    def _is_first_click(self, stream: str, prompt: Prompt) -> bool:
        """Return whether a prompt is one positive point that starts an object."""
        if [point.label for point in prompt.points] != [1] or prompt.box is not None or prompt.candidate is not None:
            return False
        known = stream in self._histories and self._predictor.remembers(stream, prompt.obj_id)
        return not known and is_decodable(self._predictor.model)

    def undo_prompt(self, stream: str, obj_id: int) -> PromptResult | None:
        """Undo the last prompt of an object and track it again from that frame on, or from the oldest held.

        Returns:
            The masks on that frame and on the newest; None if that was its only prompt, which removes the object.

        Raises:
            NothingToUndoError: No prompt is left to undo.
            PromptError: There is no such object.
        """
        first = self._predictor.undo_prompt(stream, obj_id)
        if first is None:
            self._meter.forget(stream, obj_id)
            return None
        past = self._histories[stream].since(first)[0]
        return self._catch_up(stream, past, self._predictor.retrack(stream, obj_id, self._segmenter.image(past)))

    def remove_object(self, stream: str, obj_id: int) -> None:
        """Forget an object.

        Raises:
            PromptError: There is no such object.
        """
        self._predictor.remove_object(stream, obj_id)
        self._meter.forget(stream, obj_id)

    @property
    def memory_format(self) -> str:
        """Names the model's weights and all settings that memory depends on."""
        return f"sam2-4 {self._weights} {self._predictor.model.image_size} {self._predictor.bank.shape}"

    def export_memory(self, stream: str, aside: Iterable[int] = ()) -> StreamMemory:
        """Copy what is remembered of a stream's objects, and of those that were set aside and are named.

        Syncs on a device.
        """
        objects, since = self._predictor.export_objects(stream, aside)
        return StreamMemory(
            self._predictor.frame(stream),
            {
                obj_id: {
                    name: to_array(tensor) for name, tensor in (memory | self._meter.export(stream, obj_id)).items()
                }
                for obj_id, memory in objects.items()
            },
            since,
        )

    def import_memory(self, stream: str, memory: StreamMemory) -> dict[int, str]:
        """Continue objects on a newly opened stream. Set-aside objects stay set aside.

        Returns:
            Object id -> why its memory cannot be used. The stream does not have these objects.

        Raises:
            PromptError: There are more objects than a stream may have.
        """
        objects = {
            obj_id: {name: to_tensor(array) for name, array in arrays.items()}
            for obj_id, arrays in memory.objects.items()
        }
        for obj_id, tensors in objects.items():
            self._meter.take(stream, obj_id, tensors)
        try:
            refused = self._predictor.import_objects(stream, memory.frame, objects, memory.aside)
        except Exception:
            self._meter.close(stream)
            raise
        for obj_id in refused:
            self._meter.forget(stream, obj_id)
        return refused

    def take_over(self, stream: str, other: Sam2Tracker) -> None:
        """Continue a stream of a tracker of the same model with another input size, between two frames.

        Prompts from before cannot be undone any more. An object that was set aside is dropped if its id is in use.

        Raises:
            PromptError: It has more objects than a stream may have here. It stays where it was.
        """
        objects = other._predictor.objects(stream)
        aside = [obj_id for obj_id in other._predictor.aside(stream) if obj_id not in objects]
        memory = other.export_memory(stream, aside)
        self.open_stream(stream)
        try:
            if refused := self.import_memory(stream, for_input(memory, self.feature_side)):
                raise ValueError(f"the memory of objects cannot be taken over: {'; '.join(refused.values())}")
            self._predictor.keep_forgotten(stream, objects)
            self._histories[stream] = other._histories[stream].converted(self._preprocess.resize_pixels)
            self._predictor.keep_features(stream, self._histories[stream].held())
            if (newest := self._histories[stream].newest) is not None:
                self._predictor.show(stream, self._preprocess.normalize(newest.picture))
        except BaseException:
            self.close_stream(stream)
            raise
        other.close_stream(stream)

    def set_aside(self, stream: str, obj_id: int) -> None:
        """Stop tracking an object, but keep its memory.

        Raises:
            PromptError: There is no such object.
        """
        self._predictor.set_aside(stream, obj_id)
        self._meter.forget(stream, obj_id)

    def bring_back(self, stream: str, obj_id: int) -> ObjectResult:
        """Track an object again that was set aside, as if no time had passed; return its mask on the newest frame.

        Raises:
            PromptError: No object with this id was set aside, it is tracked, or the stream is full.
        """
        self._predictor.bring_back(stream, obj_id)
        newest = self._histories[stream].find(obj_id, None)
        return self._result(stream, self._predictor.retrack(stream, obj_id, self._segmenter.image(newest)), newest)

    def drop_aside(self, stream: str, obj_id: int) -> None:
        """Free the memory of an object that was set aside. Does nothing if there is none."""
        self._predictor.drop_aside(stream, obj_id)

    def reset(self, stream: str) -> None:
        """Forget all objects of a stream. Its newest frames can still be prompted."""
        self._predictor.reset(stream)
        self._meter.close(stream)

    def _prompted_frame(self, stream: str, prompt: Prompt, frame_id: int | None, *, fresh: bool = False) -> Past:
        """Find the frame that a prompt applies to, and refuse a prompt that does not fit it."""
        if stream not in self._histories:
            raise PromptError(f"object {prompt.obj_id}: stream {stream!r} has no frame yet: it is not open")
        is_new = fresh or not self._predictor.remembers(stream, prompt.obj_id)
        past = self._histories[stream].find(prompt.obj_id, frame_id, is_new=is_new)
        check_prompt(prompt, past.size, is_new=is_new)
        return past

    def _catch_up(self, stream: str, past: Past, output: TrackOutput, frames: int | None = None) -> PromptResult:
        """Track one object through some of the frames after a prompted one, up to the newest.

        Args:
            stream: The stream.
            past: The prompted frame.
            output: The object on that frame.
            frames: Through how many frames, at most; None: as many as for any prompt.
        """
        (obj_id,) = output.obj_ids
        limit = self._catch_up_frames if frames is None else frames
        later = evenly(self._histories[stream].since(past.number + 1), limit)
        prompted = current = self._result(stream, output, past)
        if not later:
            return PromptResult(past.frame_id, prompted, current)
        if not self._predictor.remembers(stream, obj_id):  # its scores were not finite
            return PromptResult(past.frame_id, prompted, unseen(obj_id, later[-1].size))
        for frame in later:
            output = self._predictor.retrack(stream, obj_id, self._segmenter.image(frame))
        return PromptResult(past.frame_id, prompted, self._result(stream, output, later[-1]))

    def _result(self, stream: str, output: TrackOutput, past: Past) -> ObjectResult:
        """Return the result of an output with one object."""
        (obj_id,) = output.obj_ids
        self._meter.forget(stream, obj_id)
        masks = LowRes(*output, past.size, self._meter.measure_prompted(output))
        (result,) = self._segmenter.published(masks, past, given=self._predictor.was_given(stream, obj_id, past.number))
        return self._finite(stream, result)

    def _confidence(self, stream: str, output: TrackOutput) -> torch.Tensor | None:
        """Return the confidence of a stream's objects on its newest frame."""
        if not output.obj_ids:
            return None
        return self._meter.measure(stream, output, partial(self._predictor.newest_colors, stream))

    def _finite(self, stream: str, result: ObjectResult) -> ObjectResult:
        """Return the result, or forget the object if its scores are not finite."""
        if not unusable(result):
            return result
        log.error(
            "stream %s: object %d: the model returned IoU %g and score %g: its memory was cleared, prompt it again",
            stream,
            result.obj_id,
            result.iou_prediction,
            result.object_score_logits,
        )
        self._predictor.forget_object(stream, result.obj_id)
        return replace(unseen(result.obj_id, result.size), broken=True)


def _stability(logits: torch.Tensor) -> torch.Tensor:
    """Return ``[N]``: the share of the area of ``[N, h, w]`` masks that stays when the threshold rises; 0 if empty."""
    outer = (logits > -_STABILITY_OFFSET).sum(dim=(1, 2))
    return (logits > _STABILITY_OFFSET).sum(dim=(1, 2)) / outer.clamp(min=1)
