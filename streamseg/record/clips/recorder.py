"""Decides which pictures belong to which clip."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final, Literal

from streamseg.client import EventMessage, FramePair
from streamseg.config.schema import RecordConfig
from streamseg.errors import StreamsegError
from streamseg.ipc.messages import StreamEvent
from streamseg.record.clips.clip import Clip
from streamseg.record.clips.folder import ClipFolder
from streamseg.record.clips.ring import Kept, PictureRing

log = logging.getLogger(__name__)

_RING_BYTES: Final = 64 * 2**20
_MAX_STREAMS: Final = 64
_MAX_RINGS_BYTES: Final = 512 * 2**20


class ClipRecorder:
    """Keeps the newest pictures of each stream, and writes clips of events. One clip of a stream at a time.

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
        self._running: dict[str, Clip] = {}

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
        ring.add(kept)
        while sum(each.nbytes for each in self._rings.values()) > _MAX_RINGS_BYTES:
            max(self._rings.values(), key=lambda each: each.nbytes).clear()
        if pair.stream in self._running:
            self._running[pair.stream].add(kept)

    def _begin(self, event: EventMessage) -> None:
        t_ns = event.t_mono_ns or self._now_ns()
        if event.stream in self._running:
            self._running[event.stream].extend(t_ns)
            return
        ring = self._rings.get(event.stream)
        before = ring.since(t_ns - int(self._clips.before_s * 1e9)) if ring is not None else []
        try:
            path = self._folder.next_path(event.stream, event.event)
            self._running[event.stream] = Clip(
                path, event, t_ns, before, after_s=self._clips.after_s, overlay=self._clips.overlay
            )
        except StreamsegError as error:
            self._fail(event, str(error))

    @property
    def busy(self) -> bool:
        """Whether pictures wait to be written."""
        return any(clip.busy for clip in self._running.values())

    def write_next(self) -> None:
        """Write one picture of each clip, and complete those that are at their end."""
        for stream, clip in list(self._running.items()):
            clip.end_if_silent(self._now_ns())
            try:
                if clip.write_next():
                    del self._running[stream]
                    self._complete(clip)
            except StreamsegError as error:
                self._running.pop(stream, None)
                self._abandon(clip)
                self._fail(clip.event, str(error))

    def _complete(self, clip: Clip) -> None:
        clip.close()
        event = clip.event
        if not clip.written:
            self._fail(event, "no picture arrived")
            return
        if clip.dropped:
            log.warning("%s: %d pictures are left out, since writing is too slow", clip.path, clip.dropped)
        log.info("%s: %d pictures", clip.path, clip.written)
        self._say("clip_saved", event, clip.path.name)

    def _abandon(self, clip: Clip) -> None:
        try:
            clip.close()
        except StreamsegError as error:
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
        for clip in self._running.values():
            try:
                while clip.busy:
                    clip.write_next()
                self._complete(clip)
            except StreamsegError as error:
                self._fail(clip.event, str(error))
        self._running.clear()
        self._folder.close()
