"""One stream inside the worker: its prompts, its objects' states, and what a new epoch means for them."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import numpy as np

from streamseg.config.schema import PromptConfig, StreamConfig
from streamseg.errors import PromptError
from streamseg.frame import Frame
from streamseg.messages.internal import StreamEvent, TrackedFrame, TrackedObject
from streamseg.messages.wire import EventKind
from streamseg.tracker.types import ObjectResult, Tracker
from streamseg.worker.object_states import ObjectStates
from streamseg.worker.prompts import build_prompt

log = logging.getLogger(__name__)


class TrackedStream:
    """Applies a stream's prompts and policy to the tracker, frame by frame.

    Args:
        stream: Its id.
        config: Its settings.
        tracker: Shared by all streams; the stream is opened on it.
        memory_lost: A worker before this one tracked the stream. Objects cannot be kept without its memory: they
            are prompted anew, or forgotten if that is the stream's policy.
    """

    def __init__(self, stream: str, config: StreamConfig, tracker: Tracker, *, memory_lost: bool = False) -> None:
        self.stream = stream
        self.tracked = 0
        self._config = config
        self._tracker = tracker
        self._states = ObjectStates(int(config.lost_after_s * 1e9))
        self._labels: dict[int, str] = {}
        self._memory_lost = memory_lost
        forget = memory_lost and config.on_discontinuity == "reset"
        self._pending: list[PromptConfig] = [] if forget else list(config.prompts)
        self._rejected: list[PromptConfig] = []
        self._epoch: int | None = None
        self._events: list[StreamEvent] = []
        tracker.open_stream(stream)

    def begin_frame(self, frame: Frame) -> None:
        """Do what must come before a frame is tracked: a new epoch may reset the stream."""
        if self._memory_lost:
            self._memory_lost = False
            self._event("tracker_reset", frame, detail="the worker was restarted and has no memory of what came before")
        if self._epoch is not None and frame.epoch != self._epoch:
            self._on_discontinuity(frame)
        self._epoch = frame.epoch

    def finish_frame(self, frame: Frame, results: list[ObjectResult]) -> list[ObjectResult]:
        """Apply the prompts that wait for this frame, after it was tracked.

        Returns:
            The frame's results with those of the prompts.
        """
        self.tracked += 1
        pending, self._pending = self._pending, []
        for config in pending:
            prompted = self._apply(config, frame)
            if prompted is not None:
                results = [result for result in results if result.obj_id != prompted.obj_id] + [prompted]
        return results

    def message(
        self, frame: Frame, results: Iterable[ObjectResult], t_tracked_ns: int, dropped: int, slot: int
    ) -> TrackedFrame:
        """Pack a frame's results for the publisher, and note changes of its objects' states."""
        stamps, size = frame.stamps, (frame.format.width, frame.format.height)
        return TrackedFrame(
            stream=self.stream,
            frame_id=frame.frame_id,
            epoch=frame.epoch,
            size=size,
            t_wall_ns=stamps.t_wall_ns,
            t_source=stamps.t_source,
            t_captured_ns=stamps.t_captured_ns,
            t_decoded_ns=stamps.t_decoded_ns,
            t_tracked_ns=t_tracked_ns,
            pts=stamps.pts,
            time_base=stamps.time_base,
            dropped=dropped,
            slot=slot,
            objects=[self._pack(result, frame) for result in results],
        )

    def take_events(self) -> list[StreamEvent]:
        """Return the events since the last call."""
        events, self._events = self._events, []
        return events

    def _on_discontinuity(self, frame: Frame) -> None:
        policy = self._config.on_discontinuity
        if policy == "keep":
            self._pending, self._rejected = self._rejected, []  # they may fit the new size
            return
        self._tracker.reset(self.stream)
        self._states.clear()
        self._labels.clear()
        self._pending = list(self._config.prompts) if policy == "reprompt" else []
        self._rejected.clear()
        self._event("tracker_reset", frame, detail=f"epoch {frame.epoch} began and on_discontinuity is {policy}")

    def _apply(self, config: PromptConfig, frame: Frame) -> ObjectResult | None:
        try:
            prompt = build_prompt(config, (frame.format.width, frame.format.height))
            result = self._tracker.add_prompt(self.stream, prompt).current
        except PromptError as error:
            self._rejected.append(config)
            log.error("stream %s: %s", self.stream, error)
            self._event("prompt_rejected", frame, obj_id=config.object, label=config.label, detail=str(error))
            return None
        if config.object not in self._labels:
            self._event("object_added", frame, obj_id=config.object, label=config.label)
        self._labels[config.object] = config.label
        return result

    def _pack(self, result: ObjectResult, frame: Frame) -> TrackedObject:
        label = self._labels.get(result.obj_id, "")
        visible = result.object_score_logits > 0 and result.area > 0
        state, event = self._states.update(result.obj_id, visible, _stream_time_ns(frame))
        if event is not None:
            self._event(event, frame, obj_id=result.obj_id, label=label)
        return TrackedObject(
            obj_id=result.obj_id,
            label=label,
            state=state,
            iou_prediction=result.iou_prediction,
            object_score_logits=result.object_score_logits,
            roi=result.roi,
            area=result.area,
            centroid=result.centroid,
            bits=np.packbits(result.mask, axis=1).tobytes(),
        )

    def _event(
        self, kind: EventKind, frame: Frame, *, obj_id: int | None = None, label: str = "", detail: str = ""
    ) -> None:
        self._events.append(
            StreamEvent(
                stream=self.stream,
                kind=kind,
                t_wall_ns=frame.stamps.t_wall_ns,
                epoch=frame.epoch,
                frame_id=frame.frame_id,
                obj_id=obj_id,
                label=label,
                detail=detail,
            )
        )


def _stream_time_ns(frame: Frame) -> int:
    """A file's own time (it may be read faster than it plays), otherwise when the frame was captured."""
    stamps = frame.stamps
    if stamps.t_source == "file" and stamps.pts is not None:
        numerator, denominator = stamps.time_base
        return stamps.pts * numerator * 1_000_000_000 // denominator
    return stamps.t_captured_ns
