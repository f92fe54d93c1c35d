"""Decides which pictures belong to which clip."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final, Literal

from streamseg.client import EventMessage, FramePair
from streamseg.common.clip_names import REQUESTED
from streamseg.config.schema import RecordConfig
from streamseg.errors import StreamsegError, reason_of
from streamseg.ipc.messages import StreamEvent
from streamseg.protocol.arguments import RecordClip
from streamseg.protocol.control import control_error
from streamseg.protocol.results import ClipStarted
from streamseg.record.clips.clip import Clip
from streamseg.record.clips.folder import ClipFolder
from streamseg.record.clips.ring import Kept, PictureRing
from streamseg.record.clips.trigger import Trigger

log = logging.getLogger(__name__)

_RING_BYTES: Final = 64 * 2**20
_MAX_STREAMS: Final = 64
_MAX_RINGS_BYTES: Final = 512 * 2**20
_MAX_WAITING_BYTES: Final = 256 * 2**20
_MAX_CLIPS: Final = 64
_MAX_REQUESTED: Final = 8
"""Requested clips that may be written at the same time: each is encoded separately."""
_ROOM_NS: Final = 2_000_000_000


class ClipRecorder:
    """Keeps the newest pictures of each stream, and writes clips around events.

    An event during a clip makes it longer. An event after its end begins the next one, even if pictures of the first
    still wait to be written. A requested clip is separate, and events do not change it.

    Args:
        record: Settings.
        announce: Called with the events ``clip_saved`` and ``clip_failed``.
        now_ns: The monotonic clock.

    Raises:
        RecordError: The folder cannot be used.
    """

    def __init__(
        self,
        record: RecordConfig,
        announce: Callable[[StreamEvent], None],
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._clips = record.clips
        self._announce = announce
        self._now_ns = now_ns
        self._folder = ClipFolder(record.clips, record.keep_free_mb)
        self._rings: dict[str, PictureRing] = {}
        self._running: list[Clip] = []
        self._room_checked_ns = 0

    def feed(self, message: FramePair | EventMessage) -> None:
        """Take a picture with its masks, or an event."""
        if isinstance(message, FramePair):
            self._add(message)
        elif message.event == "stream_removed":
            self._rings.pop(message.detail, None)
        elif message.event in self._clips.events:
            self._begin(Trigger.of(message, self._now_ns()))

    def _add(self, pair: FramePair) -> None:
        kept = Kept.of(pair)
        ring = self._rings.get(pair.stream)
        if ring is None:
            if len(self._rings) >= _MAX_STREAMS:
                return
            ring = self._rings[pair.stream] = PictureRing(self._clips.before_s, _RING_BYTES)
            log.debug("clips of %s can begin: the first picture has come", pair.stream)
        ring.add(kept)
        while sum(each.nbytes for each in self._rings.values()) > _MAX_RINGS_BYTES:
            max(self._rings.values(), key=lambda each: each.nbytes).clear()
        for clip in self._running:
            if clip.trigger.stream == pair.stream:
                clip.add(kept)
        self._bound_waiting()

    def _begin(self, trigger: Trigger) -> None:
        for clip in self._running:
            if clip.trigger.stream == trigger.stream and not clip.ended and not clip.trigger.requested:
                clip.extend(trigger.t_ns)
                return
        if len(self._running) >= _MAX_CLIPS:
            self._fail(trigger, f"{_MAX_CLIPS} clips are being written already")
            return
        try:
            self._start(trigger, self._clips.before_s, self._clips.after_s)
        except Exception as error:  # noqa: BLE001 - one clip must not end the others
            self._fail(trigger, reason_of(error))

    def request(self, stream: str, wanted: RecordClip) -> ClipStarted:
        """Begin a clip around the current moment.

        Raises:
            ControlError: It cannot begin.
        """
        clips = self._clips
        before_s = clips.before_s if wanted.before_s is None else wanted.before_s
        after_s = clips.after_s if wanted.after_s is None else wanted.after_s
        if before_s > clips.before_s:
            raise control_error(
                "BAD_REQUEST",
                f"record_clip: before_s is {before_s:g}, and only {clips.before_s:g} s are kept: give less, or set "
                "record.clips.before_s",
            )
        if stream not in self._rings:
            raise control_error("NO_FRAME_YET", f"record_clip: no picture of {stream} has come yet: is the camera on?")
        if sum(clip.trigger.requested for clip in self._running) >= _MAX_REQUESTED or len(self._running) >= _MAX_CLIPS:
            raise control_error("BUSY", "record_clip: too many clips are being written: try again when one is complete")
        try:
            clip = self._start(Trigger(stream, REQUESTED, self._now_ns()), before_s, after_s)
        except StreamsegError as error:
            raise control_error("BUSY", f"record_clip: {reason_of(error)}") from None
        return ClipStarted(clip=clip.path.name, before_s=before_s, after_s=after_s)

    def _start(self, trigger: Trigger, before_s: float, after_s: float) -> Clip:
        ring = self._rings.get(trigger.stream)
        before = ring.since(trigger.t_ns - int(before_s * 1e9)) if ring is not None else []
        path = self._folder.next_path(trigger.stream, trigger.kind)
        clip = Clip(path, trigger, before, after_s=after_s, overlay=self._clips.overlay)
        self._running.append(clip)
        self._bound_waiting()
        return clip

    def _bound_waiting(self) -> None:
        while sum(clip.waiting_bytes for clip in self._running) > _MAX_WAITING_BYTES:
            max(self._running, key=lambda clip: clip.waiting_bytes).drop_oldest()

    @property
    def busy(self) -> bool:
        """Whether pictures wait to be written."""
        return any(clip.busy for clip in self._running)

    def write_next(self) -> None:
        """Write one picture of each clip, and complete clips that have ended."""
        self._check_room()
        for clip in list(self._running):
            clip.end_if_silent(self._now_ns())
            try:
                complete = clip.write_next()
            except Exception as error:  # noqa: BLE001 - one clip must not end the others
                self._running.remove(clip)
                self._abandon(clip)
                self._fail(clip.trigger, reason_of(error), clip.path.name)
            else:
                if complete:
                    self._running.remove(clip)
                    self._complete(clip)

    def _check_room(self) -> None:
        """End the clips early when the disk is nearly full."""
        now_ns = self._now_ns()
        if not self._running or now_ns - self._room_checked_ns < _ROOM_NS:
            return
        self._room_checked_ns = now_ns
        try:
            self._folder.check_room()
        except StreamsegError as error:
            log.warning("%d clips end early: %s", len(self._running), error)
            for clip in self._running:
                clip.end_now()

    def _complete(self, clip: Clip) -> None:
        try:
            clip.close()
        except Exception as error:  # noqa: BLE001 - one clip must not end the others
            self._fail(clip.trigger, reason_of(error), clip.path.name)
            return
        if not clip.written:
            self._fail(clip.trigger, "no picture arrived", clip.path.name)
            return
        if clip.dropped:
            log.warning("%s: %d pictures are left out, since writing is too slow", clip.path, clip.dropped)
        log.info("%s: %d pictures", clip.path, clip.written)
        self._say("clip_saved", clip.trigger, clip.path.name)

    def _abandon(self, clip: Clip) -> None:
        try:
            clip.abandon()
        except Exception as error:  # noqa: BLE001
            log.debug("%s", error)  # the first error is the one to report

    def _fail(self, trigger: Trigger, reason: str, name: str = "") -> None:
        log.warning("no clip of %s in %s: %s", trigger.kind, trigger.stream, reason)
        # A client that requested a clip identifies it by its name.
        self._say("clip_failed", trigger, f"{name}: {reason}" if trigger.requested else reason)

    def _say(self, kind: Literal["clip_saved", "clip_failed"], trigger: Trigger, detail: str) -> None:
        self._announce(
            StreamEvent(trigger.stream, kind, time.time_ns(), obj_id=trigger.obj_id, label=trigger.label, detail=detail)
        )

    def close(self) -> None:
        """Complete the running clips with the pictures that have arrived."""
        try:
            for clip in self._running:
                clip.ended = True
            while self._running:
                self.write_next()
        finally:
            self._folder.close()
