"""Arguments of the control operations in requests; ``docs/protocol.md``, "Control", is the contract.

Unknown fields are an error, so that typos do not pass silently.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from streamseg.protocol.prompt_rules import MAX_OBJECT_ID

ObjectId = Annotated[int, Meta(ge=1, le=MAX_OBJECT_ID)]
Label = Annotated[str, Meta(max_length=100)]
Coords = Literal["normalized", "pixels"]
OnExpired = Literal["error", "newest"]


class Rle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A mask of the whole frame as COCO's compressed run lengths.

    Attributes:
        size: [height, width], in COCO's order.
        counts: Compressed counts as text, as pycocotools writes them.
    """

    size: tuple[int, int]
    counts: str

    def __repr__(self) -> str:
        return f"Rle(size={self.size}, counts=<{len(self.counts)} characters>)"


class NoArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No arguments besides the stream, if any."""


class PromptArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Marks an object: points and a box, or a mask alone.

    Attributes:
        points: [x, y] or [x, y, label]: label 1 is on the object (default), 0 is off.
        box: [x0, y0, x1, y1].
        mask: Mask of the whole frame.
        coords: Unit of points and box: ``normalized`` (0..1 of the frame's width and height) or ``pixels``.
    """

    points: Annotated[
        tuple[Annotated[tuple[float, ...], Meta(min_length=2, max_length=3)], ...], Meta(max_length=64)
    ] = ()
    box: tuple[float, float, float, float] | None = None
    mask: Rle | None = None
    coords: Coords = "normalized"


class AddPrompt(PromptArgs, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """``add_prompt``: start an object or correct one.

    Attributes:
        object_id: The object; None starts a new one with an id of the daemon's choice.
        label: Name of the object; empty on an existing object keeps its name.
        frame: Number of the frame that the prompt was made on; None: the newest.
        on_expired: If that frame is no longer held: fail, or use the newest frame.
        preview: Only return the mask; nothing changes.
        candidates: With ``preview`` and points alone: 3 also returns the masks that an ambiguous click can mean.
        candidate: With points alone: which of those masks to take, 0 is the best one; None leaves it to the model.
    """

    object_id: ObjectId | None = None
    label: Label = ""
    frame: Annotated[int, Meta(ge=0)] | None = None
    on_expired: OnExpired = "error"
    preview: bool = False
    candidates: Literal[1, 3] = 1
    candidate: Annotated[int, Meta(ge=0, le=2)] | None = None


class ObjectArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``remove_object``, ``undo_prompt``: the object."""

    object_id: ObjectId


class LabelObject(ObjectArgs, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``label_object``: the object's new name."""

    label: Label


class SetPrompt(PromptArgs, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One object of ``set_prompts``."""

    object_id: ObjectId
    label: Label = ""


class SetPrompts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """``set_prompts``: all objects of the stream.

    Attributes:
        prompts: The objects.
        frame: Number of the frame that all prompts were made on; None: the next one.
        on_expired: If that frame is no longer held: fail, or use the newest frame.
    """

    prompts: Annotated[tuple[SetPrompt, ...], Meta(max_length=256)]
    frame: Annotated[int, Meta(ge=0)] | None = None
    on_expired: OnExpired = "error"


class SetFind(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """``set_find``: whether and how objects are found without a prompt, until the configured settings change.

    Attributes:
        enabled: Find objects; None leaves it unchanged.
        settings: As under ``streams.NAME.find`` in a configuration file; None leaves them unchanged.
    """

    enabled: bool | None = None
    settings: dict[str, Any] | None = None


class RecordClip(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """``record_clip``: how much video to include before and after the request.

    Attributes:
        before_s: Seconds before, at most as many as the daemon keeps; None: all of them.
        after_s: Seconds after; None: as after an event.
    """

    before_s: Annotated[float, Meta(ge=0, le=60)] | None = None
    after_s: Annotated[float, Meta(ge=0.1, le=300)] | None = None


class AddStream(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``add_stream``: settings, as under ``streams.NAME`` in a configuration file."""

    settings: dict[str, Any]


class ChangeStream(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``change_stream``: the settings to change, as under ``streams.NAME``; not ``source`` and ``prompts``."""

    settings: dict[str, Any]
