"""Handlers of the commands on the worker's streams. Arguments and results are defined in ``protocol/control.py``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, ParamSpec, TypeVar

import msgspec

from streamseg.config.load import find_from_mapping
from streamseg.errors import ConfigError, ControlError, NothingToUndoError, PromptError
from streamseg.ipc.commands import Command, Outcome
from streamseg.ipc.saved_prompts import SavedObject, normalize_prompt
from streamseg.protocol.arguments import AddPrompt, LabelObject, ObjectArgs, SetFind, SetPrompt, SetPrompts
from streamseg.protocol.control import OPERATIONS, ErrorBody, control_error, stream_not_found
from streamseg.protocol.results import (
    Finding,
    Listing,
    Nothing,
    PixelMarks,
    PromptResult,
    PromptsSet,
    SnapshotResult,
    Undone,
    UndoneChange,
)
from streamseg.protocol.text import encode_json
from streamseg.tracker.faults import classify, free_cached_memory
from streamseg.tracker.types import check_prompt
from streamseg.worker.listing import stream_entry, stream_snapshot
from streamseg.worker.prompt_requests import add_prompt, on_frame, preview, require_latest, require_not_paused
from streamseg.worker.prompts import build_prompt, pixel_marks
from streamseg.worker.restore import restore
from streamseg.worker.track_errors import raise_if_device_lost
from streamseg.worker.tracked_stream import TrackedStream
from streamseg.worker.undo import MAX_AGE_S, MAX_CHANGES, Change

log = logging.getLogger(__name__)

T = TypeVar("T")
P = ParamSpec("P")

_UNDOABLE: Final = frozenset({"add_prompt", "set_prompts", "remove_object", "reset", "label_object"})


def handle_command(command: Command, streams: Mapping[str, TrackedStream]) -> Outcome:
    """Execute a command and return its outcome. Any exception but DeviceError becomes an error outcome.

    Blocks: for a prompt, as long as the tracker takes.

    Raises:
        DeviceError: the device is lost. The control process answers the request once the worker has exited.
    """
    result = _attempt(command, _execute, command, streams)
    return result if isinstance(result, Outcome) else Outcome(command.number, encode_json(result))


def handle_previews(commands: Sequence[Command], streams: Mapping[str, TrackedStream]) -> list[Outcome]:
    """Execute previews of one stream, batched through the model, as :func:`handle_command` does.

    Raises:
        DeviceError: as :func:`handle_command`.
    """
    results = _attempt(commands[0], _answer_previews, commands, streams)
    if isinstance(results, Outcome):
        return [msgspec.structs.replace(results, number=command.number) for command in commands]
    return [
        Outcome(command.number, error=ErrorBody.of(result))
        if isinstance(result, ControlError)
        else Outcome(command.number, encode_json(result))
        for command, result in zip(commands, results, strict=True)
    ]


def _attempt(command: Command, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | Outcome:
    """Return what a function returns; an exception becomes the command's outcome."""
    try:
        return function(*args, **kwargs)
    except ControlError as error:
        return Outcome(command.number, error=ErrorBody.of(error))
    except BaseException as error:
        log.exception("%s failed", command.op, extra={"stream": command.stream})
        raise_if_device_lost(error)
        fault = classify(error)
        if fault.remedy != "retry":
            failure = ErrorBody(code="INTERNAL", message=f"{command.op} failed: see the daemon's log")
            return Outcome(command.number, error=failure)
    free_cached_memory()  # outside of the handler, which would keep the failed call's tensors
    text = f"{command.op} failed, {fault.text}: try again, or with fewer objects"
    return Outcome(command.number, error=ErrorBody(code="INTERNAL", message=text, retryable=True))


def _execute(command: Command, streams: Mapping[str, TrackedStream]) -> msgspec.Struct:
    args = msgspec.json.decode(command.args, type=OPERATIONS[command.op].args)
    if command.op == "list":
        chosen = [_find_stream(streams, command.stream)] if command.stream else list(streams.values())
        return Listing(streams=tuple(map(stream_entry, chosen)))
    return _handle(command.op, _find_stream(streams, command.stream), args)


def _answer_previews(
    commands: Sequence[Command], streams: Mapping[str, TrackedStream]
) -> list[PromptResult | ControlError]:
    stream = _find_stream(streams, commands[0].stream)
    return preview(stream, [msgspec.json.decode(command.args, type=AddPrompt) for command in commands])


def _handle(op: str, stream: TrackedStream, args: Any) -> msgspec.Struct:
    before = dict(stream.objects.table.objects)
    result = _HANDLERS[op](stream, args)
    if op in _UNDOABLE:
        correction = None
        if isinstance(result, PromptResult) and not result.new:
            correction = msgspec.structs.replace(args, frame=result.frame)
        stream.undo_stack.record(op, before, stream.objects.table.objects, correction)
    return result


def _find_stream(streams: Mapping[str, TrackedStream], stream: str) -> TrackedStream:
    if stream not in streams:
        raise stream_not_found(stream, streams)
    return streams[stream]


# --- prompts --------------------------------------------------------------------------------------------------------


def _undo_prompt(stream: TrackedStream, args: ObjectArgs) -> Undone:
    _require_object(stream, args.object_id)
    if not stream.objects.table.is_tracked(args.object_id):
        raise control_error("NOTHING_TO_UNDO", f"object {args.object_id} has no applied prompt yet: remove it instead")
    stream.found.dismiss(args.object_id)
    try:
        left = stream.objects.undo_prompt(args.object_id)
    except NothingToUndoError as error:
        raise control_error("NOTHING_TO_UNDO", str(error)) from None
    stream.undo_stack.forget(args.object_id)
    return Undone(object_id=args.object_id, prompts=left)


def _undo(stream: TrackedStream, _args: Any) -> UndoneChange:
    change = stream.undo_stack.take()
    if change is None:
        raise control_error(
            "NOTHING_TO_UNDO",
            f"stream {stream.name!r} has no change to undo: the last {MAX_CHANGES} are kept for {MAX_AGE_S:g} s, and "
            "none from before a restart of the worker or a reload that changed its prompts",
        )
    now = _now(stream, change)
    restore(stream.objects, change.before)
    stream.undo_stack.add_undone(change, now)
    return UndoneChange(op=change.op, object_ids=tuple(change.before), left=len(stream.undo_stack))


def _redo(stream: TrackedStream, _args: Any) -> UndoneChange:
    change = stream.undo_stack.take_undone()
    if change is None:
        raise control_error("NOTHING_TO_REDO", f"stream {stream.name!r} has no change to do again: undo one first")
    now = _now(stream, change)
    if change.correction is not None and all(now.values()):
        add_prompt(stream, change.correction)
    else:
        restore(stream.objects, change.before)
    stream.undo_stack.add_redone(change, now)
    return UndoneChange(op=change.op, object_ids=tuple(change.before), left=stream.undo_stack.undone)


def _now(stream: TrackedStream, change: Change) -> dict[int, SavedObject | None]:
    """The objects of a change as they are now."""
    return {obj_id: stream.objects.table.objects.get(obj_id) for obj_id in change.before}


def _check_prompt(stream: TrackedStream, obj_id: int, prompt: SetPrompt) -> None:
    """Check a prompt against the newest frame, to refuse it early; it is applied to a later one."""
    if stream.latest is None:
        return
    try:
        check_prompt(
            build_prompt(obj_id, normalize_prompt(prompt), stream.latest.size), stream.latest.size, is_new=True
        )
    except PromptError as error:
        raise control_error("BAD_PROMPT", str(error)) from None


def _set_prompts(stream: TrackedStream, args: SetPrompts) -> PromptsSet:
    wanted = {prompt.object_id: prompt for prompt in args.prompts}
    if len(wanted) < len(args.prompts):
        raise control_error("BAD_PROMPT", "duplicate object_id: put all points of one object into one prompt")
    frame = _frame_of(stream, args)
    for obj_id, prompt in wanted.items():
        _check_prompt(stream, obj_id, prompt)
    before = dict(stream.objects.table.objects)
    removed = tuple(obj_id for obj_id, obj in before.items() if obj_id not in wanted and not obj.is_found)
    unchanged: list[SetPrompt] = []
    prompted: list[SavedObject] = []
    for obj_id, prompt in wanted.items():
        known = stream.objects.table.objects.get(obj_id)
        if known is None or replace(known.prompts[0], candidate=None) != normalize_prompt(prompt):
            prompted.append(SavedObject(obj_id, prompt.label, (normalize_prompt(prompt),)))
            continue
        unchanged.append(prompt)
    if frame is None:
        if stream.latest is not None and not stream.paused:  # they start on the next frame, which looks much the same
            _check_starts(stream, prompted, None)
        stream.objects.replace(removed, prompted, can_undo=True)
    else:
        _check_starts(stream, prompted, frame)
        stream.objects.replace((*removed, *(obj.obj_id for obj in prompted)), (), can_undo=True)
        _start_on_frame(stream, prompted, frame, before)
    for prompt in unchanged:
        if before[prompt.object_id].label != prompt.label:
            stream.objects.label(prompt.object_id, prompt.label)
    return PromptsSet(
        kept=tuple(prompt.object_id for prompt in unchanged),
        prompted=tuple(obj.obj_id for obj in prompted),
        removed=removed,
        frame=frame,
        marks=_marks(stream, prompted),
    )


def _frame_of(stream: TrackedStream, args: SetPrompts) -> int | None:
    """Return the id of the held frame that the prompts apply to; None: the next one."""
    if args.frame is None:
        return None
    require_not_paused(stream)
    require_latest(stream)
    return on_frame(args, stream.objects.find_frame)


def _check_starts(stream: TrackedStream, objects: Sequence[SavedObject], frame: int | None) -> None:
    """Refuse prompts that find nothing on their frame, before any object is removed for them."""
    for obj in objects:
        try:
            stream.objects.check_start(obj.obj_id, obj.prompts[0], frame)
        except PromptError as error:
            raise control_error("BAD_PROMPT", str(error)) from None


def _start_on_frame(
    stream: TrackedStream, objects: Sequence[SavedObject], frame: int, before: Mapping[int, SavedObject]
) -> None:
    try:
        for obj in objects:
            stream.objects.add_prompt(obj.obj_id, obj.label, obj.prompts[0], frame)
    except PromptError as error:  # the prompts were checked: the tracker has no room, or the model broke
        after = stream.objects.table.objects
        changed = [obj_id for obj_id in (*after, *before) if before.get(obj_id) is not after.get(obj_id)]
        for obj_id in [obj_id for obj_id in changed if obj_id in after]:
            stream.objects.remove(obj_id)
        restore(stream.objects, {obj_id: before[obj_id] for obj_id in dict.fromkeys(changed) if obj_id in before})
        raise control_error("BAD_PROMPT", str(error)) from None


def _marks(stream: TrackedStream, objects: Sequence[SavedObject]) -> tuple[PixelMarks, ...]:
    if stream.latest is None:
        return ()
    marks = ((obj.obj_id, pixel_marks(obj.prompts[0], stream.latest.size)) for obj in objects)
    return tuple(PixelMarks(object_id=obj_id, points_px=points, box_px=box) for obj_id, (points, box) in marks)


# --- objects and streams --------------------------------------------------------------------------------------------


def _remove_object(stream: TrackedStream, args: ObjectArgs) -> Nothing:
    _require_object(stream, args.object_id)
    stream.found.dismiss(args.object_id)
    stream.objects.remove(args.object_id, can_undo=True)
    return Nothing()


def _label_object(stream: TrackedStream, args: LabelObject) -> Nothing:
    _require_object(stream, args.object_id)
    stream.objects.label(args.object_id, args.label)
    return Nothing()


def _reset(stream: TrackedStream, _args: Any) -> Nothing:
    stream.reset("requested")
    return Nothing()


def _set_find(stream: TrackedStream, args: SetFind) -> Finding:
    config = stream.finder.config
    if args.settings is not None:
        try:
            asked = find_from_mapping(stream.name, args.settings)
        except ConfigError as error:
            raise control_error("BAD_CONFIG", str(error)) from None
        enabled = asked.enabled if "enabled" in args.settings else config.enabled
        config = msgspec.structs.replace(asked, enabled=enabled)
    if args.enabled is not None:
        config = msgspec.structs.replace(config, enabled=args.enabled)
    if config != stream.finder.config:
        stream.find(config)
    return Finding(enabled=config.enabled, settings=msgspec.to_builtins(config))


def _pause(stream: TrackedStream, _args: Any) -> Nothing:
    stream.pause(True)
    return Nothing()


def _resume(stream: TrackedStream, _args: Any) -> Nothing:
    stream.pause(False)
    return Nothing()


def _snapshot(stream: TrackedStream, _args: Any) -> SnapshotResult:
    return stream_snapshot(stream, require_latest(stream))


def _require_object(stream: TrackedStream, obj_id: int) -> None:
    if obj_id not in stream.objects.table.objects:
        ids = ", ".join(map(str, stream.objects.table.objects)) or "none"
        raise control_error("OBJECT_NOT_FOUND", f"stream {stream.name!r} has no object {obj_id}; objects: {ids}")


_HANDLERS: Final[Mapping[str, Callable[[TrackedStream, Any], msgspec.Struct]]] = {
    "add_prompt": add_prompt,
    "undo_prompt": _undo_prompt,
    "undo": _undo,
    "redo": _redo,
    "remove_object": _remove_object,
    "label_object": _label_object,
    "set_prompts": _set_prompts,
    "set_find": _set_find,
    "reset": _reset,
    "snapshot": _snapshot,
    "pause": _pause,
    "resume": _resume,
}
