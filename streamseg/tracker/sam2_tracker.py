"""SAM 2 as a :class:`~streamseg.tracker.types.Tracker`: video frames and pixels in, masks of the video's size out."""

from __future__ import annotations

import itertools
import logging
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import get_args

import numpy as np
import torch

from streamseg.config.schema import ModelConfig
from streamseg.errors import ModelError, PromptError
from streamseg.frame import Frame, FrameFormat, FrameStamps, PixelFormat
from streamseg.models.registry import ResolvedModel
from streamseg.tracker.compiled.code_cache import keep_compiled_code
from streamseg.tracker.compiled.compile import CUDA_BUCKETS, CompiledEngine, choose_compile
from streamseg.tracker.engine import Engine
from streamseg.tracker.history import FrameHistory, PastFrame, evenly
from streamseg.tracker.measure import counted, object_result
from streamseg.tracker.postprocess import LowRes, to_results
from streamseg.tracker.predictor import CameraPredictor, PastImage, TrackOutput
from streamseg.tracker.preprocess import Preprocessor
from streamseg.tracker.sam2.attention_backend import synchronize
from streamseg.tracker.sam2.build import build_model
from streamseg.tracker.sam2.prompt_tensors import GivenPrompt
from streamseg.tracker.types import ObjectResult, Point, Preview, Prompt, PromptResult, check_prompt

log = logging.getLogger(__name__)

_WARM_UP_STREAM = "warm up"  # no stream of a configuration: an id has no space
_WARM_UP_OBJECTS = 3
_WARM_UP_SIZE = (640, 360)
_UNSEEN_SCORE = -32.0  # surely not visible, and finite: JSON has no infinity


class Sam2Tracker:
    """Tracks with a SAM 2 model.

    An object whose scores come out as NaN or infinite is forgotten, since memory carries such numbers on for ever: it
    is reported as not visible until it is prompted again, which starts it anew.

    Args:
        predictor: Holds the model and the objects' memory.
        preprocess: From a frame to the model's input.
        catch_up_frames: Most frames that a prompt on an older frame goes through on its way to the newest.
    """

    def __init__(self, predictor: CameraPredictor, preprocess: Preprocessor, *, catch_up_frames: int = 4) -> None:
        self._predictor = predictor
        self._preprocess = preprocess
        self._catch_up_frames = catch_up_frames
        self._graphs_when_warm = 0
        self._histories: dict[str, FrameHistory[torch.Tensor]] = {}

    @classmethod
    def from_config(cls, resolved: ResolvedModel, config: ModelConfig) -> Sam2Tracker:
        """Build the model and its tracker.

        Raises:
            ModelError: the model cannot be built or its device is not there.
        """
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        device = choose_device(config.device)
        dtype = choose_dtype(config.dtype, device)
        model = build_model(
            resolved.config, image_size=config.image_size, checkpoint=resolved.checkpoint, device=device
        )
        compiles = choose_compile(config.compile, device)
        if compiles:
            keep_compiled_code()
        predictor = CameraPredictor(
            model,
            max_objects=config.max_objects,
            history_frames=config.history_frames,
            autocast=None if dtype == torch.float32 else dtype,
            engine=CompiledEngine if compiles else Engine,
        )
        return cls(predictor, Preprocessor(model.image_size, device, torch.float32))

    @property
    def device(self) -> str:
        """What the model runs on, for people."""
        device = self._predictor.model.device
        return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)

    @property
    def device_memory_bytes(self) -> int:
        """What this process holds of a GPU's memory, in use or kept for later; 0 on a CPU."""
        device = self._predictor.model.device
        return torch.cuda.memory_reserved(device) if device.type == "cuda" else 0

    @property
    def recompiles(self) -> int:
        """Graphs that were compiled after :meth:`warm_up`, and times that all were recorded anew."""
        return compiled_graphs() - self._graphs_when_warm + self._predictor.engine.recorded_anew

    @property
    def streams_at_once(self) -> int:
        """As many as the encoder takes at once on a CUDA device; one on a CPU, where a batch saves next to nothing."""
        return CUDA_BUCKETS.streams[-1] if self._predictor.model.device.type == "cuda" else 1

    def warm_up(self, progress: Callable[[str, float], None]) -> None:
        """Compile if that was asked for, then run every path once: prompts, corrections, one and more objects.

        Blocks: for a few frames' work; on CUDA until the memory is full once, since that path has its own kernels.
        Compiling blocks for minutes at the first start. Called once.
        """
        model, predictor = self._predictor.model, self._predictor
        predictor.warm_up(progress)
        objects = min(_WARM_UP_OBJECTS, predictor.max_objects)
        settle = predictor.bank.shape.pointer_frames + 1 if model.device.type == "cuda" else 1
        steps = objects * settle
        frames = _warm_up_frames()
        self.open_stream(_WARM_UP_STREAM)
        try:
            for _ in get_args(PixelFormat):
                self.track({_WARM_UP_STREAM: next(frames)})
            for count in range(objects):
                self.add_prompt(_WARM_UP_STREAM, _warm_up_prompts(count + 1)[count % 3])
                for frame in range(settle):
                    progress(f"tracking {count + 1} of {objects} objects", (count * settle + frame) / steps)
                    self.track({_WARM_UP_STREAM: next(frames)})
                self.add_prompt(_WARM_UP_STREAM, _warm_up_prompts(count + 1)[0])
        finally:
            self.close_stream(_WARM_UP_STREAM)
        synchronize(model.device)
        self._graphs_when_warm = compiled_graphs()
        progress("warm", 1.0)

    def open_stream(self, stream: str) -> None:
        """Start a stream without objects; one that is open starts again."""
        self._predictor.open_stream(stream)
        self._histories[stream] = FrameHistory(stream, self._predictor.history_frames)

    def close_stream(self, stream: str) -> None:
        """End a stream and free its objects. A stream that is not open is left alone."""
        self._predictor.close_stream(stream)
        self._histories.pop(stream, None)

    def track(self, frames: Mapping[str, Frame]) -> dict[str, list[ObjectResult]]:
        """Take the next frame of one or more streams and return their objects' masks on it, in order of age.

        A frame's size may differ from the last one's: memory does not depend on it. An object that waits for a prompt
        after a failure has an empty mask, ``iou_prediction`` 0 and ``object_score_logits`` -32.

        Raises:
            StreamsegError: a stream is not open, or a frame is not what its format says.
        """
        pixels = {stream: self._preprocess.resize(frame) for stream, frame in frames.items()}
        outputs = self._predictor.track({stream: self._preprocess.normalise(image) for stream, image in pixels.items()})
        for stream, frame in frames.items():
            self._histories[stream].add(frame, self._predictor.frame(stream), pixels[stream])
        sizes = {stream: (frame.format.width, frame.format.height) for stream, frame in frames.items()}
        masks = to_results([LowRes(*output, sizes[stream]) for stream, output in outputs.items()])
        results = {}
        for stream, held in zip(outputs, masks, strict=True):
            found = {result.obj_id: self._sound(stream, result) for result in held}
            results[stream] = [
                found.get(obj_id) or _unseen(obj_id, sizes[stream]) for obj_id in self._predictor.objects(stream)
            ]
        return results

    def repeat(self, stream: str, frame_id: int) -> None:
        """Take note of a frame that shows what the newest tracked one does: who prompts it means that one."""
        self._histories[stream].repeat(frame_id)

    def add_prompt(self, stream: str, prompt: Prompt, frame_id: int | None = None) -> PromptResult:
        """Add an object, or correct one, on the frame that the user saw, and catch up to the newest.

        Blocks: for two encoded and tracked frames, and at most two each of ``catch_up_frames`` if it is an older one.

        Raises:
            FrameExpiredError: the frame is no longer held.
            PromptError: the frame was not tracked yet, the stream is full, or the prompt does not fit the frame.
        """
        past = self._prompted_frame(stream, prompt, frame_id)
        at, given = self._image(past), given_prompt(prompt, past.size)
        output = self._predictor.add_prompt(stream, prompt.obj_id, at=at, **given)
        return self._catch_up(stream, past, output)

    def preview(self, stream: str, prompt: Prompt, frame_id: int | None = None) -> Preview:
        """Return the mask that :meth:`add_prompt` would give on that frame. Nothing changes.

        Raises:
            PromptError: as :meth:`add_prompt`.
        """
        past = self._prompted_frame(stream, prompt, frame_id)
        at, given = self._image(past), given_prompt(prompt, past.size)
        output = self._predictor.preview(stream, prompt.obj_id, at=at, **given)
        ((result,),) = to_results([LowRes(*output, past.size)])
        return Preview(past.frame_id, result if _is_sound(result) else _unseen(prompt.obj_id, past.size))

    def undo_prompt(self, stream: str, obj_id: int) -> PromptResult | None:
        """Take back the last prompt of an object, and track it anew from that frame on, or from the oldest held.

        Returns:
            The masks on that frame and on the newest; None if the object is gone with its only prompt.

        Raises:
            NothingToUndoError: nothing is left that could be taken back.
            PromptError: there is no such object.
        """
        first = self._predictor.undo_prompt(stream, obj_id)
        if first is None:
            return None
        past = self._histories[stream].since(first)[0]
        return self._catch_up(stream, past, self._predictor.retrack(stream, obj_id, self._image(past)))

    def remove_object(self, stream: str, obj_id: int) -> None:
        """Forget an object.

        Raises:
            PromptError: there is no such object.
        """
        self._predictor.remove_object(stream, obj_id)

    def reset(self, stream: str) -> None:
        """Forget all objects of a stream. Its newest frames can still be prompted."""
        self._predictor.reset(stream)

    def _prompted_frame(self, stream: str, prompt: Prompt, frame_id: int | None) -> PastFrame[torch.Tensor]:
        """Find the frame that a prompt is meant for, and refuse a prompt that does not fit it."""
        if stream not in self._histories:
            raise PromptError(f"object {prompt.obj_id}: stream {stream!r} has no frame yet: it is not open")
        past = self._histories[stream].find(prompt.obj_id, frame_id)
        check_prompt(prompt, past.size, is_new=not self._predictor.remembers(stream, prompt.obj_id))
        return past

    def _image(self, past: PastFrame[torch.Tensor]) -> PastImage:
        return PastImage(past.number, self._preprocess.normalise(past.picture))

    def _catch_up(self, stream: str, past: PastFrame[torch.Tensor], output: TrackOutput) -> PromptResult:
        """Track one object from a frame on through some frames to the newest.

        Args:
            stream: The stream.
            past: The frame.
            output: The object there.
        """
        (obj_id,) = output.obj_ids
        later = evenly(self._histories[stream].since(past.number + 1), self._catch_up_frames)
        prompted = current = self._result(stream, output, past.size)
        if not later:
            return PromptResult(past.frame_id, prompted, current)
        if not self._predictor.remembers(stream, obj_id):  # its numbers broke
            return PromptResult(past.frame_id, prompted, _unseen(obj_id, later[-1].size))
        for frame in later:
            output = self._predictor.retrack(stream, obj_id, self._image(frame))
        return PromptResult(past.frame_id, prompted, self._result(stream, output, later[-1].size))

    def _result(self, stream: str, output: TrackOutput, size: tuple[int, int]) -> ObjectResult:
        """The result of a stream's only object."""
        ((result,),) = to_results([LowRes(*output, size)])
        return self._sound(stream, result)

    def _sound(self, stream: str, result: ObjectResult) -> ObjectResult:
        """Forget an object whose numbers broke."""
        if _is_sound(result):
            return result
        log.error(
            "stream %s: object %d: the model gave IoU %g and score %g: its memory is cleared, prompt it again",
            stream,
            result.obj_id,
            result.iou_prediction,
            result.object_score_logits,
        )
        self._predictor.forget_object(stream, result.obj_id)
        return _unseen(result.obj_id, result.size)


def given_prompt(prompt: Prompt, size: tuple[int, int]) -> GivenPrompt:
    """Turn a prompt from pixels of a frame of that (width, height) into what the predictor takes."""
    if prompt.mask is not None:
        return {"mask": torch.from_numpy(np.ascontiguousarray(prompt.mask))}  # torch takes no negative strides
    scale = torch.tensor(size, dtype=torch.float32)
    return {
        "points_norm": torch.tensor([(point.x, point.y) for point in prompt.points]).reshape(-1, 2) / scale,
        "labels": torch.tensor([point.label for point in prompt.points], dtype=torch.int32),
        "box_norm": None if prompt.box is None else (torch.tensor(prompt.box).reshape(2, 2) / scale).flatten(),
    }


def _warm_up_frames() -> Iterator[Frame]:
    """Grey frames of every pixel format in turn, without end."""
    width, height = _WARM_UP_SIZE
    formats: tuple[PixelFormat, ...] = get_args(PixelFormat)
    for frame_id, pixel_format in enumerate(itertools.cycle(formats)):
        fmt = FrameFormat(width, height, pixel_format)
        planes = tuple(np.full(shape, 128, dtype=np.uint8) for shape in fmt.plane_shapes)
        yield Frame(frame_id, 0, fmt, planes, FrameStamps(0, "file", 0, 0, None, (1, 25)))


def _warm_up_prompts(obj_id: int) -> tuple[Prompt, Prompt, Prompt]:
    """One of each kind."""
    width, height = _WARM_UP_SIZE
    inside = np.zeros((height, width), dtype=np.bool_)
    inside[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] = True
    return (
        Prompt(obj_id, points=(Point(width / 2, height / 2),)),
        Prompt(obj_id, box=(width / 4, height / 4, 3 * width / 4, 3 * height / 4)),
        Prompt(obj_id, mask=inside),
    )


def _is_sound(result: ObjectResult) -> bool:
    return math.isfinite(result.iou_prediction) and math.isfinite(result.object_score_logits)


def _unseen(obj_id: int, size: tuple[int, int]) -> ObjectResult:
    nothing = np.zeros((0, 0), dtype=np.bool_)
    return object_result(obj_id, size, counted(nothing), iou_prediction=0.0, object_score_logits=_UNSEEN_SCORE)


def compiled_graphs() -> int:
    """Graphs that torch.compile has made in this process: 0 until something is compiled."""
    dynamo = sys.modules.get("torch._dynamo.utils")  # importing it takes a second, and says 0 by itself
    return 0 if dynamo is None else int(dynamo.counters["stats"]["unique_graphs"])


def choose_device(name: str) -> torch.device:
    """Turn ``model.device`` into a device: ``auto`` takes a CUDA device if there is one.

    Raises:
        ModelError: the device is not there.
    """
    if name == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ModelError(
            f"model.device {name}: torch sees {torch.cuda.device_count()} CUDA devices: set it to auto or cpu"
        )
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """Turn ``model.dtype`` into the precision of the arithmetic.

    ``auto`` is bfloat16 where the device multiplies in it: CUDA devices from Ampere on, CPUs with AVX512-BF16 or AMX.
    Elsewhere it is emulated, and slower than float32.
    """
    if name != "auto":
        dtype: torch.dtype = getattr(torch, name)
        return dtype
    if device.type == "cuda":
        has_bfloat16 = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        found = torch.cpu.get_capabilities()
        has_bfloat16 = bool(found.get("avx512_bf16") or found.get("amx_bf16"))
    return torch.bfloat16 if has_bfloat16 else torch.float32
