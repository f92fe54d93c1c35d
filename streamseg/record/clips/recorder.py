"""Decides which pictures belong to which clip."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final, Literal

from streamseg.client import EventMessage, FramePair
from streamseg.config.schema import RecordConfig
from streamseg.errors import StreamsegError, reason_of
from streamseg.ipc.messages import StreamEvent
from streamseg.record.clips.clip import Clip
from streamseg.record.clips.folder import ClipFolder
from streamseg.record.clips.ring import Kept, PictureRing

log = logging.getLogger(__name__)

_RING_BYTES: Final = 64 * 2**20
_MAX_STREAMS: Final = 64
_MAX_RINGS_BYTES: Final = 512 * 2**20
_MAX_WAITING_BYTES: Final = 256 * 2**20
_MAX_CLIPS: Final = 64
_ROOM_NS: Final = 2_000_000_000


class ClipRecorder:
    """Keeps the newest pictures of each stream, and writes clips of events.

    An event during a clip makes it longer. One that comes after its end begins the next, even if pictures of the former
    still wait to be written.

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
            self._begin(message)

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
            if clip.event.stream == pair.stream:
                clip.add(kept)
        self._bound_waiting()

    def _begin(self, event: EventMessage) -> None:
        t_ns = event.t_mono_ns or self._now_ns()
        for clip in self._running:
            if clip.event.stream == event.stream and not clip.ended:
                clip.extend(t_ns)
                return
        if len(self._running) >= _MAX_CLIPS:
            self._fail(event, f"{_MAX_CLIPS} clips are being written already")
            return
        ring = self._rings.get(event.stream)
        before = ring.since(t_ns - int(self._clips.before_s * 1e9)) if ring is not None else []
        try:
            path = self._folder.next_path(event.stream, event.event)
            clips = self._clips
            self._running.append(Clip(path, event, t_ns, before, after_s=clips.after_s, overlay=clips.overlay))
        except Exception as error:  # noqa: BLE001 - one clip must not end the others
            self._fail(event, reason_of(error))
        self._bound_waiting()

    def _bound_waiting(self) -> None:
        while sum(clip.waiting_bytes for clip in self._running) > _MAX_WAITING_BYTES:
            max(self._running, key=lambda clip: clip.waiting_bytes).drop_oldest()

    @property
    def busy(self) -> bool:
        """Whether pictures wait to be written."""
        return any(clip.busy for clip in self._running)

    def write_next(self) -> None:
        """Write one picture of each clip, and complete those that are at their end."""
        self._check_room()
        for clip in list(self._running):
            clip.end_if_silent(self._now_ns())
            try:
                complete = clip.write_next()
            except Exception as error:  # noqa: BLE001 - one clip must not end the others
                self._running.remove(clip)
                self._abandon(clip)
                self._fail(clip.event, reason_of(error))
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
        event = clip.event
        try:
            clip.close()
        except Exception as error:  # noqa: BLE001 - one clip must not end the others
            self._fail(event, reason_of(error))
            return
        if not clip.written:
            self._fail(event, "no picture arrived")
            return
        if clip.dropped:
            log.warning("%s: %d pictures are left out, since writing is too slow", clip.path, clip.dropped)
        log.info("%s: %d pictures", clip.path, clip.written)
        self._say("clip_saved", event, clip.path.name)

    def _abandon(self, clip: Clip) -> None:
        try:
            clip.abandon()
        except Exception as error:  # noqa: BLE001
            log.debug("%s", error)  # the first error is the one to report

    def _fail(self, event: EventMessage, reason: str) -> None:
        log.warning("no clip of %s in %s: %s", event.event, event.stream, reason)
        self._say("clip_failed", event, reason)

    def _say(self, kind: Literal["clip_saved", "clip_failed"], event: EventMessage, detail: str) -> None:
        self._announce(
            StreamEvent(event.stream, kind, time.time_ns(), obj_id=event.object, label=event.label, detail=detail)
        )

    def close(self) -> None:
        """Complete what is being written, up to the pictures that have come."""
        try:
            for clip in self._running:
                clip.ended = True
            while self._running:
                self.write_next()
        finally:
            self._folder.close()
