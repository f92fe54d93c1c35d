"""The operations of a daemon as typed calls, shared by the blocking and the asyncio controller."""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamseg.client.control_core import Call
from streamseg.client.control_results import Snapshot
from streamseg.errors import ControlError
from streamseg.protocol.arguments import (
    AddPrompt,
    AddStream,
    ChangeStream,
    Coords,
    LabelObject,
    NoArgs,
    ObjectArgs,
    OnExpired,
    RecordClip,
    Rle,
    SetFind,
    SetPrompts,
)
from streamseg.protocol.field_problems import field_problem
from streamseg.protocol.mask_codec import BoolMask, encode_rle
from streamseg.protocol.results import (
    ClipStarted,
    Finding,
    Hello,
    Listing,
    PromptResult,
    PromptsSet,
    Reloaded,
    SnapshotResult,
    StatusResult,
    StreamEntry,
    StreamSettings,
    Undone,
    UndoneChange,
)

T = TypeVar("T", bound=msgspec.Struct)

Mask = NDArray[np.bool_] | NDArray[np.integer[Any]] | Rle | Mapping[str, Any]
"""A mask of the whole frame: ``bool [height, width]``, integers of 0 and 1 or of 0 and 255, or COCO's
``{"size": [height, width], "counts": ...}`` with compressed counts."""


def hello() -> Call[Hello]:
    """Describe the daemon."""
    return Call("hello", None, NoArgs(), _to(Hello))


def listing(stream: str | None) -> Call[tuple[StreamEntry, ...]]:
    """List streams with their objects."""
    return Call("list", stream, NoArgs(), lambda raw: msgspec.json.decode(raw, type=Listing).streams)


def add_prompt(
    stream: str,
    *,
    object_id: int | None,
    label: str,
    points: Iterable[Sequence[float]],
    box: Sequence[float] | None,
    mask: Mask | None,
    coords: Coords,
    frame: int | None,
    on_expired: OnExpired,
    preview: bool,
    candidates: int = 1,
    candidate: int | None = None,
) -> Call[PromptResult]:
    """Start or correct an object, or preview a mask."""
    args = {
        "object_id": object_id,
        "label": label,
        "points": [list(point) for point in points],
        "box": None if box is None else list(box),
        "mask": None if mask is None else _rle(mask),
        "coords": coords,
        "frame": frame,
        "on_expired": on_expired,
        "preview": preview,
        "candidates": candidates,
        "candidate": candidate,
    }
    return Call(
        "add_prompt",
        stream,
        _args("add_prompt", args, AddPrompt),
        _to(PromptResult),
        feature=None if candidates == 1 and candidate is None else "candidates",
    )


def undo_prompt(stream: str, object_id: int) -> Call[Undone]:
    """Undo an object's last prompt."""
    return Call("undo_prompt", stream, _object("undo_prompt", object_id), _to(Undone))


def remove_object(stream: str, object_id: int) -> Call[None]:
    """Stop tracking an object."""
    return Call("remove_object", stream, _object("remove_object", object_id), _nothing)


def label_object(stream: str, object_id: int, label: str) -> Call[None]:
    """Name an object."""
    args = {"object_id": object_id, "label": label}
    return Call("label_object", stream, _args("label_object", args, LabelObject), _nothing)


def undo(stream: str) -> Call[UndoneChange]:
    """Undo the newest change of a stream."""
    return Call("undo", stream, NoArgs(), _to(UndoneChange), feature="undo")


def redo(stream: str) -> Call[UndoneChange]:
    """Redo the change that was undone last."""
    return Call("redo", stream, NoArgs(), _to(UndoneChange), feature="redo")


def set_prompts(
    stream: str, prompts: Iterable[Mapping[str, Any]], frame: int | None = None, on_expired: OnExpired = "error"
) -> Call[PromptsSet]:
    """Set all objects of a stream."""
    values = {
        "prompts": [
            {**prompt, "mask": _rle(prompt["mask"])} if prompt.get("mask") is not None else dict(prompt)
            for prompt in prompts
        ],
        "frame": frame,
        "on_expired": on_expired,
    }
    args = _args("set_prompts", values, SetPrompts)
    if frame is None:  # it has no effect then, and a daemon without the feature would refuse it
        args = msgspec.structs.replace(args, on_expired="error")
    return Call(
        "set_prompts",
        stream,
        args,
        _to(PromptsSet),
        feature=None if frame is None else "prompts_on_frame",
    )


def set_find(stream: str, enabled: bool | None, settings: Mapping[str, Any] | None) -> Call[Finding]:
    """Set whether and how objects are found without a prompt."""
    args = {"enabled": enabled, "settings": None if settings is None else dict(settings)}
    return Call("set_find", stream, _args("set_find", args, SetFind), _to(Finding), feature="find")


def on_stream(op: str, stream: str) -> Call[None]:
    """``reset``, ``pause``, ``resume``, ``remove_stream``."""
    return Call(op, stream, NoArgs(), _nothing)


def snapshot(stream: str) -> Call[Snapshot]:
    """Get the newest frame's masks."""
    return Call("snapshot", stream, NoArgs(), lambda raw: Snapshot.of(msgspec.json.decode(raw, type=SnapshotResult)))


def get_status(stream: str | None) -> Call[StatusResult]:
    """Get the newest status messages."""
    return Call("get_status", stream, NoArgs(), _to(StatusResult))


def add_stream(stream: str, settings: Mapping[str, Any]) -> Call[None]:
    """Add a stream."""
    return Call("add_stream", stream, _args("add_stream", {"settings": dict(settings)}, AddStream), _nothing)


def get_settings(stream: str) -> Call[StreamSettings]:
    """Return a stream's settings."""
    return Call("get_settings", stream, NoArgs(), _to(StreamSettings), feature="change_stream")


def change_stream(stream: str, settings: Mapping[str, Any]) -> Call[StreamSettings]:
    """Change some settings of a stream."""
    args = _args("change_stream", {"settings": dict(settings)}, ChangeStream)
    return Call("change_stream", stream, args, _to(StreamSettings), feature="change_stream")


def record_clip(stream: str, before_s: float | None, after_s: float | None) -> Call[ClipStarted]:
    """Begin a clip around the current moment."""
    args = _args("record_clip", {"before_s": before_s, "after_s": after_s}, RecordClip)
    return Call("record_clip", stream, args, _to(ClipStarted), feature="clips")


def reload() -> Call[Reloaded]:
    """Reload the configuration file."""
    return Call("reload", None, NoArgs(), _to(Reloaded))


def _object(op: str, object_id: int) -> ObjectArgs:
    return _args(op, {"object_id": object_id}, ObjectArgs)


def _args(op: str, values: Mapping[str, Any], kind: type[T]) -> T:
    """Check arguments as the daemon does, so that a mistake is reported before it is sent."""
    try:
        plain = _plain(values)
        _check_finite(op, plain)
        return msgspec.convert(plain, kind)
    except msgspec.ValidationError as error:
        raise ControlError("BAD_REQUEST", f"{op}: {field_problem(plain, kind, 'args') or error}") from None
    except UnicodeEncodeError as error:  # a lone surrogate in the name or value of a choice
        raise ControlError(
            "BAD_REQUEST", f"{op}: {error.object[:100]!r} is not valid Unicode and cannot be sent"
        ) from None


def _check_finite(op: str, value: Any, field: str = "") -> None:
    """Refuse NaN and infinity, which JSON turns into null: the daemon would treat them as missing."""
    match value:
        case float() if not math.isfinite(value):
            raise ControlError("BAD_REQUEST", f"{op}: {field} is {value}: give a finite number")
        case Mapping():
            for name, item in value.items():
                _check_finite(op, item, f"{field}.{name}" if field else str(name))
        case list():
            for index, item in enumerate(value):
                _check_finite(op, item, f"{field}[{index}]")


def _plain(value: Any) -> Any:
    """Return a value with numbers and arrays of NumPy and torch converted to Python's own types, for JSON."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if callable(tolist := getattr(value, "tolist", None)):
        return tolist()
    if isinstance(value, numbers.Real) and not isinstance(value, int | float):
        return float(value)  # a fraction
    return value


def _to(result: type[T]) -> Any:
    return lambda raw: msgspec.json.decode(raw, type=result)


def _nothing(raw: msgspec.Raw) -> None:
    """The reply has no result."""


def _rle(mask: Mask) -> Rle:
    """Return a mask as run lengths."""
    if isinstance(mask, Rle):
        return mask
    if isinstance(mask, Mapping):
        return _coco_rle(mask)
    try:
        array = np.asarray(mask)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ControlError(
            "BAD_REQUEST", f"mask: it cannot be read as an array ({error}): give a NumPy array, bool [height, width]"
        ) from None
    array = _bool_mask(array)
    return Rle((array.shape[0], array.shape[1]), encode_rle(array).decode())


def _coco_rle(mask: Mapping[str, Any]) -> Rle:
    counts = mask.get("counts")
    if isinstance(counts, bytes):
        counts = counts.decode("ascii", "replace")
    if not isinstance(counts, str):
        raise ControlError(
            "BAD_REQUEST",
            f"mask: counts is a {type(counts).__name__}: give a compressed string, as pycocotools.mask.encode or "
            "frPyObjects returns it",
        )
    try:
        height, width = (operator.index(side) for side in mask["size"])
    except (KeyError, TypeError, ValueError):
        raise ControlError("BAD_REQUEST", f"mask: size is {mask.get('size')!r}: give [height, width]") from None
    return Rle((height, width), counts)


def _bool_mask(array: NDArray[Any]) -> BoolMask:
    """Return a mask as contiguous ``bool [height, width]``.

    Raises:
        ControlError: it is unclear which values mean the object. Logits, for example, are never zero.
    """
    if array.ndim != 2 or 0 in array.shape:
        raise ControlError("BAD_REQUEST", f"mask: the shape is {array.shape}: give bool [height, width]")
    if array.dtype != np.bool_:
        if not np.issubdtype(array.dtype, np.integer):
            raise ControlError("BAD_REQUEST", f"mask: the values are {array.dtype}: give bool, for example logits > 0")
        values = np.unique(array)
        if not (np.isin(values, (0, 1)).all() or np.isin(values, (0, 255)).all()):
            raise ControlError(
                "BAD_REQUEST",
                f"mask: {array.dtype} values from {values[0]} to {values[-1]}: give bool, or integers that are all 0 "
                "and 1 or all 0 and 255",
            )
    return np.ascontiguousarray(array != 0)
