"""Segments objects by prompts in pixels, and decides whether the memory of an object that was not seen is used.

A positive mark on an object that is not visible must bring it back. So it is segmented with its memory first; if that
finds nothing at the marked place, or would lose it again on the next frame, it is segmented without memory, and starts
there afresh. The reference always uses the memory, and stays lost.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from streamseg.errors import PromptError
from streamseg.tracker.found import agreement, check_found, is_found, is_positive
from streamseg.tracker.history import PastFrame
from streamseg.tracker.mask_edges import color_edged
from streamseg.tracker.measure import unseen, unusable
from streamseg.tracker.postprocess import LowRes, to_results
from streamseg.tracker.predictor import CameraPredictor, PastImage, SegmentedObject
from streamseg.tracker.preprocess import Preprocessor
from streamseg.tracker.sam2.prompt_tensors import GivenPrompt
from streamseg.tracker.sam2.step import StepOutput
from streamseg.tracker.types import ObjectResult, Preview, Prompt

Past = PastFrame[torch.Tensor]
"""A frame that can be prompted."""


class PromptSegmenter:
    """Segments objects by prompts. Memory is changed only for a trial, and restored.

    Args:
        predictor: Holds the model and the objects' memory.
        preprocess: Converts frames to the model's input.
        restart_unseen: A positive mark on an object that is not visible may start it again. False: its memory is
            always used, as in the reference.
        color_edges: The edges of published masks follow the picture's colors.
    """

    def __init__(
        self, predictor: CameraPredictor, preprocess: Preprocessor, *, restart_unseen: bool, color_edges: bool
    ) -> None:
        self._predictor = predictor
        self._preprocess = preprocess
        self._restart_unseen = restart_unseen
        self._color_edges = color_edges

    def segment(
        self,
        stream: str,
        prompt: Prompt,
        past: Past,
        *,
        ambiguous: bool = False,
        fresh: bool = False,
    ) -> tuple[SegmentedObject, ObjectResult]:
        """Segment an object as a prompt asks for, with or without its memory. Changes nothing in the end.

        Args:
            stream: The stream.
            prompt: The prompt, which fits the frame.
            past: The frame.
            ambiguous: Request three candidates, whatever the prompt is.
            fresh: Never use the object's memory.

        Raises:
            PromptError: The prompt gives no mask, or one far smaller than was marked.
        """
        was_seen = fresh or self._was_seen(stream, prompt, past)
        kept = self._attempt(stream, prompt, past, was_seen=was_seen, ambiguous=ambiguous, fresh=fresh)
        if was_seen or kept[0].fresh:
            return kept
        with self._predictor.trial(stream, prompt.obj_id):
            self._predictor.accept(stream, prompt.obj_id, kept[0])
            if self._stays(stream, prompt, past):
                return kept
        try:
            return self._attempt(stream, prompt, past, was_seen=was_seen, ambiguous=ambiguous, fresh=True)
        except PromptError:  # its memory at least found what is marked
            return kept

    def first_clicks(
        self, stream: str, clicks: Sequence[tuple[Prompt, Past]], *, candidates: bool
    ) -> list[Preview | PromptError]:
        """Return previews of single clicks that start an object, or why there is none; they share batches.

        Args:
            stream: The stream.
            clicks: Each click and its frame.
            candidates: All candidates are returned, too.
        """
        images = {number: self.image(past) for number, past in {past.number: past for _, past in clicks}.items()}
        points = [
            (images[past.number], torch.tensor((prompt.points[0].x, prompt.points[0].y)) / torch.tensor(past.size))
            for prompt, past in clicks
        ]
        masks = self._predictor.click_masks(stream, points, ambiguous=candidates)
        answers: list[Preview | PromptError] = []
        for (prompt, past), (best, offered) in zip(clicks, masks, strict=True):
            try:
                (result,) = self.at_video_size(prompt, best, past)
                shown = self.at_video_size(prompt, offered, past) if candidates else []
                answers.append(Preview(past.frame_id, self._checked(prompt, result, past), tuple(shown)))
            except PromptError as error:
                answers.append(error)
        return answers

    def at_video_size(self, prompt: Prompt, masks: StepOutput, past: Past) -> list[ObjectResult]:
        """Return the masks that a prompt gave, for example all candidates, as they are published."""
        found = LowRes((prompt.obj_id,) * len(masks.iou_prediction), *masks, past.size)
        return self.published(found, past, given=prompt.mask is not None)

    def published(self, masks: LowRes, past: Past, *, given: bool) -> list[ObjectResult]:
        """Return masks of one object as they are published; one that the user gave keeps its edges."""
        if self._color_edges and not given:
            return color_edged(masks, past.picture, alternatives=True)
        (results,) = to_results([masks])
        return results

    def image(self, past: Past) -> PastImage:
        """Return a frame as the model's input."""
        return PastImage(past.number, self._preprocess.normalize(past.picture))

    def smallest(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return (width, height) of the smallest object that can be tracked: two pixels of the model's masks."""
        side = self._predictor.model.image_size // 4
        return -(-2 * size[0] // side), -(-2 * size[1] // side)

    def _was_seen(self, stream: str, prompt: Prompt, past: Past) -> bool:
        """Return whether a prompt is to use the object's memory whatever it finds: it is new, or was visible."""
        if not self._restart_unseen or not is_positive(prompt):
            return True
        if not self._predictor.remembers(stream, prompt.obj_id):
            return True
        return self._predictor.seen_at(stream, prompt.obj_id, past.number)

    def _attempt(
        self, stream: str, prompt: Prompt, past: Past, *, was_seen: bool, ambiguous: bool, fresh: bool
    ) -> tuple[SegmentedObject, ObjectResult]:
        """Segment an object as prompted: with its memory, or without it if it was not seen and is not found so.

        Raises:
            PromptError: The prompt gives no mask, or one far smaller than was marked.
        """

        def decode(fresh: bool) -> SegmentedObject:
            return self._predictor.segment(
                stream,
                prompt.obj_id,
                at=self.image(past),
                fresh=fresh,
                ambiguous=ambiguous,
                choice=prompt.candidate,
                **given_prompt(prompt, past.size),
            )

        segmented = decode(fresh)
        if not (was_seen or fresh):
            found = self._decoded(prompt, segmented.out.step, past)
            if not is_found(prompt, found):
                again = decode(fresh=True)
                if agreement(prompt, self._decoded(prompt, again.out.step, past)) > agreement(prompt, found):
                    segmented = again
        (result,) = self.at_video_size(prompt, segmented.out.step, past)
        return segmented, self._checked(prompt, result, past)

    def _decoded(self, prompt: Prompt, masks: StepOutput, past: Past) -> ObjectResult:
        """Return an object with the decoder's edges, on which decisions about its memory are made."""
        ((result,),) = to_results([LowRes((prompt.obj_id,), *masks, past.size)])
        return result

    def _stays(self, stream: str, prompt: Prompt, past: Past) -> bool:
        """Return whether the object would still be found on the next frame if that showed the same."""
        output = self._predictor.recall(stream, prompt.obj_id, self.image(past))
        return is_found(prompt, self._decoded(prompt, StepOutput(*output[1:]), past))

    def _checked(self, prompt: Prompt, result: ObjectResult, past: Past) -> ObjectResult:
        """Return the mask that a prompt gave; an empty one if its scores are not finite.

        Raises:
            PromptError: The prompt gives no mask, or one far smaller than was marked.
        """
        if unusable(result):
            return unseen(prompt.obj_id, past.size)
        check_found(prompt, result, self.smallest(past.size))
        return result


def given_prompt(prompt: Prompt, size: tuple[int, int]) -> GivenPrompt:
    """Convert a prompt in pixels of a frame of (width, height) to the predictor's arguments."""
    if prompt.mask is not None:
        return {"mask": torch.from_numpy(np.ascontiguousarray(prompt.mask))}  # torch takes no negative strides
    scale = torch.tensor(size, dtype=torch.float32)
    return {
        "points_norm": torch.tensor([(point.x, point.y) for point in prompt.points]).reshape(-1, 2) / scale,
        "labels": torch.tensor([point.label for point in prompt.points], dtype=torch.int32),
        "box_norm": None if prompt.box is None else (torch.tensor(prompt.box).reshape(2, 2) / scale).flatten(),
    }
