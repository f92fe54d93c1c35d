"""Results of the control operations in replies; ``docs/protocol.md``, "Control", is the contract.

Readers ignore unknown fields.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from streamseg.protocol.arguments import Rle
from streamseg.protocol.published import Box, DaemonStatus, ObjectSummary, Status

if TYPE_CHECKING:
    from streamseg.protocol.mask_codec import BoolMask

PixelPoint = tuple[float, float, float]
PixelBox = tuple[float, float, float, float]


class Nothing(msgspec.Struct, frozen=True):
    """The request was done; there is no result."""


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """``hello``.

    Attributes:
        version: Version of streamseg.
        session: Id of this run of the daemon, as in published messages.
        model: Name of the model.
        max_objects: Largest number of objects per stream.
        publish: Addresses at which masks are published.
        streams: Ids of all streams.
        ops: Operations that the daemon supports.
        features: Features beyond the first version of this protocol; see :data:`FEATURES`.
    """

    version: str
    session: str
    model: str
    max_objects: int
    publish: tuple[str, ...]
    streams: tuple[str, ...]
    ops: tuple[str, ...]
    features: tuple[str, ...] = ()


class ObjectEntry(ObjectSummary, frozen=True, kw_only=True):
    """One object of ``list``. A ``waiting`` object has no scores until its prompt is applied to the next frame."""

    prompts: Annotated[int, Meta(description="Number of its prompts: the one that started it and its corrections.")]
    origin: Annotated[
        str, Meta(description="Who started it: user, config, auto (found without a prompt) or prompter.")
    ] = "user"


class StreamEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One stream of ``list``.

    Attributes:
        stream: Its id.
        source: Its address, without credentials.
        paused: Its frames are published but not tracked.
        frame: Number of the newest tracked frame; None before the first.
        size: Width and height in pixels; zeros before the first frame.
        objects: Its objects, oldest first.
        finding: Objects are found without a prompt; None from a daemon that cannot.
    """

    stream: str
    source: str
    paused: bool
    frame: int | None
    size: tuple[int, int]
    objects: tuple[ObjectEntry, ...]
    finding: bool | None = None


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """``set_find``: the settings in use.

    Attributes:
        enabled: Objects are found without a prompt.
        settings: As under ``streams.NAME.find`` in a configuration file.
    """

    enabled: bool
    settings: dict[str, Any]


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """``list``."""

    streams: tuple[StreamEntry, ...]


class Candidate(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One of the masks that an ambiguous click can mean.

    Attributes:
        bbox: x, y, w, h in pixels.
        area: Pixels.
        score: The model's estimate of the mask's IoU, 0..1.
        rle: The encoded mask. Named ``mask`` on the wire.
    """

    bbox: Box
    area: int
    score: float
    rle: Rle = msgspec.field(name="mask")

    @cached_property
    def mask(self) -> BoolMask:
        """``bool [height, width]`` of the whole frame.

        Raises:
            ProtocolError: The bytes are not a mask.
        """
        from streamseg.protocol.mask_codec import decode_frame_rle

        height, width = self.rle.size
        return decode_frame_rle(self.rle, (width, height))


class PromptResult(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """``add_prompt``.

    Attributes:
        object_id: The object; 0 in a preview of a new one.
        label: Its name.
        new: The prompt started it, rather than correcting it.
        frame: Number of the prompted frame: the requested one, the one that it repeats, or the newest.
        newest: Number of the newest tracked frame; the object was tracked from ``frame`` up to it.
        size: Width and height of ``frame`` in pixels.
        bbox: x, y, w, h of its mask on ``frame``; zeros if it is not seen.
        area: Pixels of its mask on ``frame``.
        score: The model's estimate of that mask's IoU, 0..1.
        presence: Probability that the object is visible on ``frame``, 0..1.
        rle: The encoded mask on ``frame``; None unless this is a preview. Named ``mask`` on the wire.
        points_px: The points of the prompt as (x, y, label), in pixels of ``frame``; empty from daemons before 0.2.
        box_px: The box of the prompt as (x0, y0, x1, y1), in pixels of ``frame``; likewise.
        restarted: The object was not visible and its memory did not find it at the marked place, so it started again
            from this prompt alone. Undo restores its memory.
        candidates: With ``candidates=3``, the masks that the click can mean, best first.
    """

    object_id: int
    label: str
    new: bool
    frame: int
    newest: int
    size: tuple[int, int]
    bbox: Box
    area: int
    score: float
    presence: float
    rle: Rle | None = msgspec.field(name="mask", default=None)
    points_px: tuple[PixelPoint, ...] = ()
    box_px: PixelBox | None = None
    restarted: bool = False
    candidates: tuple[Candidate, ...] = ()

    @cached_property
    def mask(self) -> BoolMask | None:
        """``bool [height, width]`` of the mask on ``frame``; None unless this is a preview.

        Raises:
            ProtocolError: The bytes are not a mask.
        """
        from streamseg.protocol.mask_codec import decode_frame_rle

        return decode_frame_rle(self.rle, self.size) if self.rle is not None else None


class Undone(msgspec.Struct, frozen=True, kw_only=True):
    """``undo_prompt``.

    Attributes:
        object_id: The object.
        prompts: Number of prompts left; 0: its only prompt was undone, which removed the object.
    """

    object_id: int
    prompts: int


class MaskedEntry(ObjectEntry, frozen=True, kw_only=True):
    """One object of ``snapshot``: as in ``list``, with its encoded mask, named ``mask`` on the wire.

    Attributes:
        rle: The mask; None if the object is not seen.
    """

    rle: Rle | None = msgspec.field(name="mask", default=None)


class SnapshotResult(msgspec.Struct, frozen=True, kw_only=True):
    """``snapshot``: the newest tracked frame.

    Attributes:
        stream: Id of the stream.
        frame: Number of the frame.
        epoch: Of the stream.
        size: Width and height in pixels.
        t_wall_ns: When it was captured, Unix epoch.
        image_topic: Topic of its picture, which has the same frame number; published while it has subscribers.
        objects: Its objects, oldest first.
    """

    stream: str
    frame: int
    epoch: int
    size: tuple[int, int]
    t_wall_ns: str
    image_topic: str
    objects: tuple[MaskedEntry, ...]


class StatusResult(msgspec.Struct, frozen=True, kw_only=True):
    """``get_status``: the newest status messages, about a second old at most; None or absent before the first.

    Attributes:
        daemon: As on ``v1/_daemon/status/``.
        streams: As on ``v1/<stream>/status/``.
    """

    daemon: DaemonStatus | None
    streams: tuple[Status, ...]


class PixelMarks(msgspec.Struct, frozen=True, kw_only=True):
    """Points and box of one object in pixels.

    Attributes:
        object_id: The object.
        points_px: (x, y, label).
        box_px: (x0, y0, x1, y1).
    """

    object_id: int
    points_px: tuple[PixelPoint, ...] = ()
    box_px: PixelBox | None = None


class PromptsSet(msgspec.Struct, frozen=True, kw_only=True):
    """``set_prompts``: ids of objects.

    Attributes:
        kept: The prompt is unchanged; the object and its memory were left alone.
        prompted: New or changed; prompted on the next frame.
        removed: No longer tracked.
        frame: Number of the frame that was prompted; None: the prompts wait for the next one.
        marks: The prompts in pixels of that frame, else of the newest one; empty before the first.
    """

    kept: tuple[int, ...]
    prompted: tuple[int, ...]
    removed: tuple[int, ...]
    frame: int | None = None
    marks: tuple[PixelMarks, ...] = ()


class UndoneChange(msgspec.Struct, frozen=True, kw_only=True):
    """``undo``, ``redo``.

    Attributes:
        op: The operation that was undone or redone.
        object_ids: Ids of the objects that it changed.
        left: Number of changes that can still be undone; for ``redo``, redone.
    """

    op: str
    object_ids: tuple[int, ...]
    left: int


class ClipStarted(msgspec.Struct, frozen=True, kw_only=True):
    """``record_clip``: a clip has begun. The event ``clip_saved`` or ``clip_failed`` has its name in ``detail``.

    Attributes:
        clip: Name of the file, which appears when it is complete.
        before_s: Seconds before the request, as far as they are kept.
        after_s: Seconds after it.
    """

    clip: str
    before_s: float
    after_s: float


class StreamSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``get_settings``, ``change_stream``: the current settings of a stream.

    Attributes:
        settings: As under ``streams.NAME`` in a configuration file, defaults included, without ``source`` and
            ``prompts``.
        from_file: The stream is in the configuration file: a reload or a restart restores the file's settings.
    """

    settings: dict[str, Any]
    from_file: bool


class Reloaded(msgspec.Struct, frozen=True, kw_only=True):
    """``reload``: ids of streams, and settings that need a restart of the daemon.

    Attributes:
        added: New streams.
        removed: Streams that were closed.
        restarted: Streams whose source was reopened because its settings changed.
        changed: Streams with changed prompts or policy; their sources were left alone.
        unchanged: All others.
        needs_restart: Settings that changed in the file but cannot change in a running daemon.
        model: Changed settings of the model: the worker is replaced. Empty before version 0.2.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    restarted: tuple[str, ...]
    changed: tuple[str, ...]
    unchanged: tuple[str, ...]
    needs_restart: tuple[str, ...]
    model: tuple[str, ...] = ()
