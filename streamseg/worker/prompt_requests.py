"""Prompt and preview requests on a stream's objects, and their replies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from streamseg.errors import ControlError, FrameExpiredError, PromptError
from streamseg.ipc.saved_prompts import SavedPrompt, normalize_prompt
from streamseg.protocol.arguments import AddPrompt, SetPrompts
from streamseg.protocol.control import control_error
from streamseg.protocol.results import Candidate, PromptResult
from streamseg.protocol.scores import presence_of, score_of
from streamseg.tracker.types import Preview, Question
from streamseg.tracker.types import PromptResult as Applied
from streamseg.worker.prompts import build_prompt, full_rle, pixel_marks
from streamseg.worker.stream_objects import Latest
from streamseg.worker.tracked_stream import TrackedStream

T = TypeVar("T")


def add_prompt(stream: TrackedStream, args: AddPrompt) -> PromptResult:
    """Start or correct an object, or preview its mask.

    Raises:
        ControlError: it is refused.
    """
    if args.preview:
        (found,) = preview(stream, [args])
        if isinstance(found, ControlError):
            raise found
        return found
    require_not_paused(stream)
    require_latest(stream)
    objects = stream.objects
    obj_id = _object_of(stream, args)
    new = not objects.table.is_tracked(obj_id)
    prompt = _prompt_of(args)
    result = on_frame(args, lambda frame: objects.add_prompt(obj_id, args.label, prompt, frame), _unknown(args, obj_id))
    return _prompt_result(stream, args, obj_id, result, new=new)


def preview(stream: TrackedStream, asked: Sequence[AddPrompt]) -> list[PromptResult | ControlError]:
    """Return the result of each preview, or why it is refused.

    Raises:
        ControlError: the stream is not tracked.
    """
    require_not_paused(stream)
    require_latest(stream)
    results: dict[int, PromptResult | ControlError] = {}
    questions: dict[int, Question] = {}
    for place, args in enumerate(asked):
        try:
            questions[place] = _question(stream, args)
        except ControlError as error:
            results[place] = error
    answers = stream.objects.previews(list(questions.values())) if questions else []
    for place, answer in zip(questions, answers, strict=True):
        args, obj_id = asked[place], questions[place].prompt.obj_id
        if isinstance(answer, PromptError):
            results[place] = control_error("BAD_PROMPT", str(answer).removeprefix(_unknown(args, obj_id)))
        else:
            new = not stream.objects.table.is_tracked(obj_id)
            results[place] = _prompt_result(stream, args, obj_id, answer, new=new)
    return [results[place] for place in range(len(asked))]


def _question(stream: TrackedStream, args: AddPrompt) -> Question:
    obj_id = _object_of(stream, args)

    def ask(frame: int | None) -> Question:
        prompt = build_prompt(obj_id, _prompt_of(args), require_latest(stream).size)
        return Question(prompt, stream.objects.find_frame(frame), args.candidates > 1)

    return on_frame(args, ask, _unknown(args, obj_id))


def _object_of(stream: TrackedStream, args: AddPrompt) -> int:
    return stream.objects.table.free_id if args.object_id is None else args.object_id


def _prompt_of(args: AddPrompt) -> SavedPrompt:
    return replace(normalize_prompt(args), candidate=args.candidate)


def _unknown(args: AddPrompt, obj_id: int) -> str:
    """Return the beginning of messages about an object whose id the client does not know."""
    return f"object {obj_id}: " if args.object_id is None else ""


def _prompt_result(
    stream: TrackedStream, args: AddPrompt, obj_id: int, result: Preview | Applied, *, new: bool
) -> PromptResult:
    prompted = result.prompted
    known = stream.objects.table.objects.get(obj_id)
    points, box = pixel_marks(_prompt_of(args), prompted.size)
    return PromptResult(
        object_id=0 if args.preview and args.object_id is None else obj_id,
        label=args.label or (known.label if known else ""),
        new=new,
        frame=result.frame_id,
        newest=require_latest(stream).frame_id,
        size=prompted.size,
        bbox=prompted.roi,
        area=prompted.area,
        score=score_of(prompted.iou_prediction),
        presence=presence_of(prompted.object_score_logits),
        rle=full_rle(prompted) if args.preview else None,
        points_px=points,
        box_px=box,
        restarted=result.restarted,
        candidates=_candidates(result),
    )


def _candidates(result: Preview | Applied) -> tuple[Candidate, ...]:
    offered = result.candidates if isinstance(result, Preview) else ()
    return tuple(
        Candidate(bbox=one.roi, area=one.area, score=score_of(one.iou_prediction), rle=full_rle(one)) for one in offered
    )


def require_not_paused(stream: TrackedStream) -> None:
    """Raise a :class:`ControlError` if the stream is paused."""
    if stream.paused:
        raise control_error("BAD_REQUEST", f"stream {stream.name!r} is paused and not tracked: resume it first")


def on_frame(args: AddPrompt | SetPrompts, apply: Callable[[int | None], T], unknown: str = "") -> T:
    """Call ``apply`` with the frame that the user saw. If it has expired, ``on_expired`` decides.

    Error messages lose the prefix ``unknown``, which names an object that the client does not know.
    """
    try:
        try:
            return apply(args.frame)
        except FrameExpiredError as error:
            if args.on_expired == "error":
                why = str(error).removeprefix(unknown)
                raise control_error(
                    "FRAME_EXPIRED", f"{why}; to use the newest frame, set on_expired to newest"
                ) from None
            return apply(None)
    except PromptError as error:
        raise control_error("BAD_PROMPT", str(error).removeprefix(unknown)) from None


def require_latest(stream: TrackedStream) -> Latest:
    """Return the newest tracked frame; raise a :class:`ControlError` if there is none yet."""
    if stream.latest is None:
        raise control_error("NO_FRAME_YET", f"stream {stream.name!r} has no frame yet: wait for its first")
    return stream.latest
