"""SAM 2 as a :class:`~streamseg.tracker.types.Tracker`: video frames and pixels in, masks of the video's size out."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping

import numpy as np
import torch

from streamseg.config.schema import ModelConfig
from streamseg.errors import ModelError, PromptError
from streamseg.frame import Frame
from streamseg.models.registry import ResolvedModel
from streamseg.tracker.build import build_model
from streamseg.tracker.history import FrameHistory
from streamseg.tracker.measure import object_result
from streamseg.tracker.postprocess import to_results
from streamseg.tracker.predictor import CameraPredictor, TrackOutput
from streamseg.tracker.preprocess import Preprocessor
from streamseg.tracker.types import ObjectResult, Prompt, PromptResult, check_prompt

log = logging.getLogger(__name__)

_WARM_UP_STREAM = "warm up"  # no stream of a configuration: an id has no space
_WARM_UP_OBJECTS = 3
_UNSEEN_SCORE = -32.0  # surely not visible, and finite: JSON has no infinity


class Sam2Tracker:
    """Tracks with a SAM 2 model.

    An object whose scores come out as NaN or infinite is forgotten, since memory carries such numbers on for ever: it
    is reported as not visible until it is prompted again, which starts it anew.

    Args:
        predictor: Holds the model and the objects' memory.
        preprocess: From a frame to the model's input.
    """

    def __init__(self, predictor: CameraPredictor, preprocess: Preprocessor) -> None:
        self._predictor = predictor
        self._preprocess = preprocess
        self._sizes: dict[str, tuple[int, int]] = {}
        self._histories: dict[str, FrameHistory[None]] = {}

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
        if not resolved.trained:
            log.warning("model %s is not trained: its masks mean nothing", resolved.name)
        predictor = CameraPredictor(
            model, max_objects=config.max_objects, autocast=None if dtype == torch.float32 else dtype
        )
        return cls(predictor, Preprocessor(model.image_size, device, torch.float32))

    @property
    def device(self) -> str:
        """What the model runs on, for people."""
        device = self._predictor.model.device
        return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)

    def warm_up(self, progress: Callable[[str, float], None]) -> None:
        """Run every path once: prompts of each kind, corrections, tracking of one and more objects.

        Blocks: for a few frames' work; on CUDA until the memory is full once, since that path has its own kernels.
        """
        model, predictor = self._predictor.model, self._predictor
        image = torch.zeros(3, model.image_size, model.image_size, device=model.device)
        inside = torch.zeros(64, 64, dtype=torch.bool)
        inside[16:48, 16:48] = True
        click = {"points_norm": torch.tensor([[0.5, 0.5]]), "labels": torch.tensor([1])}
        kinds = (click, {"box_norm": torch.tensor([0.25, 0.25, 0.75, 0.75])}, {"mask": inside})
        objects = min(_WARM_UP_OBJECTS, predictor.max_objects)
        settle = predictor.bank.shape.pointer_frames + 1 if model.device.type == "cuda" else 1
        steps = objects * settle
        predictor.open_stream(_WARM_UP_STREAM)
        try:
            predictor.track({_WARM_UP_STREAM: image})
            for count in range(objects):
                predictor.add_prompt(_WARM_UP_STREAM, count, **kinds[count % len(kinds)])
                for frame in range(settle):
                    progress(f"tracking {count + 1} of {objects} objects", (count * settle + frame) / steps)
                    predictor.track({_WARM_UP_STREAM: image})
                predictor.add_prompt(_WARM_UP_STREAM, count, **click)
        finally:
            predictor.close_stream(_WARM_UP_STREAM)
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)
        progress("warm", 1.0)

    def open_stream(self, stream: str) -> None:
        """Start a stream without objects; one that is open starts again."""
        self._predictor.open_stream(stream)
        self._sizes.pop(stream, None)
        self._histories[stream] = FrameHistory(stream, 1)

    def close_stream(self, stream: str) -> None:
        """End a stream and free its objects. A stream that is not open is left alone."""
        self._predictor.close_stream(stream)
        self._sizes.pop(stream, None)

    def track(self, frames: Mapping[str, Frame]) -> dict[str, list[ObjectResult]]:
        """Take the next frame of one or more streams and return their objects' masks on it, in order of age.

        A frame's size may differ from the last one's: memory does not depend on it. An object that waits for a prompt
        after a failure has an empty mask, ``iou_prediction`` 0 and ``object_score_logits`` -32.

        Raises:
            StreamsegError: a stream is not open, or a frame is not what its format says.
        """
        images = {stream: self._preprocess(frame) for stream, frame in frames.items()}
        outputs = self._predictor.track(images)
        for stream, frame in frames.items():
            self._sizes[stream] = (frame.format.width, frame.format.height)
            self._histories[stream].add(frame, 0, None)
        results = {}
        for stream, output in outputs.items():
            found = self._results(stream, output)
            results[stream] = [
                found.get(obj_id) or self._unseen(stream, obj_id) for obj_id in self._predictor.objects(stream)
            ]
        return results

    def add_prompt(self, stream: str, prompt: Prompt, frame_id: int | None = None) -> PromptResult:
        """Add an object, or correct one, on the newest frame; on an older one is not possible yet.

        Raises:
            PromptError: the frame is another, the stream is full, or the prompt does not fit the frame.
        """
        if stream not in self._histories:
            raise PromptError(f"object {prompt.obj_id}: stream {stream!r} has no frame yet: it is not open")
        past = self._histories[stream].find(prompt.obj_id, frame_id)
        check_prompt(prompt, past.size, is_new=not self._predictor.remembers(stream, prompt.obj_id))
        scale = torch.tensor(past.size, dtype=torch.float32)
        if prompt.mask is not None:
            output = self._predictor.add_prompt(stream, prompt.obj_id, mask=torch.from_numpy(prompt.mask))
        else:
            points = torch.tensor([(point.x, point.y) for point in prompt.points]).reshape(-1, 2)
            labels = torch.tensor([point.label for point in prompt.points], dtype=torch.int32)
            box = None if prompt.box is None else (torch.tensor(prompt.box).reshape(2, 2) / scale).flatten()
            output = self._predictor.add_prompt(
                stream, prompt.obj_id, points_norm=points / scale, labels=labels, box_norm=box
            )
        prompted = self._results(stream, output)[prompt.obj_id]
        return PromptResult(past.frame_id, prompted=prompted, current=prompted)

    def preview(self, stream: str, prompt: Prompt, frame_id: int | None = None) -> ObjectResult:
        """Not possible yet."""
        raise NotImplementedError

    def undo_prompt(self, stream: str, obj_id: int) -> PromptResult | None:
        """Not possible yet."""
        raise NotImplementedError

    def remove_object(self, stream: str, obj_id: int) -> None:
        """Forget an object.

        Raises:
            PromptError: there is no such object.
        """
        self._predictor.remove_object(stream, obj_id)

    def reset(self, stream: str) -> None:
        """Forget all objects and the memory of a stream. Its last frame can still be prompted."""
        self._predictor.reset(stream)

    def _results(self, stream: str, output: TrackOutput) -> dict[int, ObjectResult]:
        results = {}
        for result in to_results(*output, self._sizes[stream]):
            if not (math.isfinite(result.iou_prediction) and math.isfinite(result.object_score_logits)):
                log.error(
                    "stream %s: object %d: the model gave IoU %g and score %g: its memory is cleared, prompt it again",
                    stream,
                    result.obj_id,
                    result.iou_prediction,
                    result.object_score_logits,
                )
                self._predictor.forget_object(stream, result.obj_id)
                result = self._unseen(stream, result.obj_id)
            results[result.obj_id] = result
        return results

    def _unseen(self, stream: str, obj_id: int) -> ObjectResult:
        nothing = np.zeros((0, 0), dtype=np.bool_)
        return object_result(
            obj_id, self._sizes[stream], nothing, iou_prediction=0.0, object_score_logits=_UNSEEN_SCORE
        )


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

    ``auto`` is bfloat16 on a CUDA device that has it. Elsewhere it is float32: bfloat16 helps only some CPUs.
    """
    if name != "auto":
        dtype: torch.dtype = getattr(torch, name)
        return dtype
    # Before Ampere (8.0) bfloat16 is emulated, slower than float32.
    has_bfloat16 = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.bfloat16 if has_bfloat16 else torch.float32
