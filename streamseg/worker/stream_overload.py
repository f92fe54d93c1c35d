"""Applies a stream's ``overload`` policy: suspends objects, or reduces the model's input."""

from __future__ import annotations

import time

import msgspec

from streamseg.protocol.published import Overload
from streamseg.tracker.types import Tracker
from streamseg.worker.input_size import InputSize
from streamseg.worker.overload import OverloadMeter, Relief
from streamseg.worker.stream_events import EventLog
from streamseg.worker.stream_objects import StreamObjects


class StreamOverload:
    """The measures for one stream while the worker does not keep up with it.

    Args:
        name: Id of the stream.
        tracker: Shared by all streams.
        objects: The stream's objects.
        events: Where changes are reported.

    Attributes:
        policy: The setting ``overload``.
    """

    def __init__(self, name: str, tracker: Tracker, objects: StreamObjects, events: EventLog) -> None:
        self.policy = "lower_rate"
        self._objects = objects
        self._meter = OverloadMeter()
        self._input = InputSize(name, tracker, events)

    def change(self, policy: str) -> None:
        """Use a policy; undo the measures of the previous one."""
        self.policy = policy
        if policy != "oldest_objects":
            self._objects.resume_all()
        if policy != "smaller_input":
            self._input.restore()

    def stream_reopened(self) -> None:
        """Choose the input again after the stream was reopened on the tracker."""
        self._input.reopened()

    def measure(self, frames: int, dropped: int, *, tracking: bool) -> None:
        """Take the counters of the stream's ring, and apply the policy.

        Args:
            frames: Frames captured so far.
            dropped: Frames dropped so far.
            tracking: Whether the stream's frames are tracked; otherwise it is only measured.
        """
        objects, suspended = len(self._objects.table.tracked), len(self._objects.suspended)
        fewer, reduced = self.policy == "oldest_objects", self._input.reduced_to is not None
        if reduced and self.policy != "smaller_input":
            self._input.restore()  # it could not when the policy changed
        relief = self._meter.update(
            time.monotonic(),
            frames=frames,
            dropped=dropped,
            can_do_less=objects - suspended > 1 if fewer else objects > 0 and not reduced and self._input.may_change,
            can_do_more=suspended > 0 if fewer else reduced and self._input.may_change,
        )
        if relief is None or not tracking:
            return
        match self.policy:
            case "oldest_objects":
                self._suspend_or_resume(relief)
            case "smaller_input" if relief == "less":
                self._input.reduce(self._dropped_words)
            case "smaller_input":
                self._input.restore()

    def published(self) -> Overload | None:
        """Return the state of the overload; None if the worker keeps up."""
        suspended, reduced_to = list(self._objects.suspended), self._input.reduced_to
        if not (self._meter.overloaded or suspended or reduced_to):
            return None
        dropped = round(self._meter.share, 3) if self._meter.overloaded else 0.0
        return Overload(self.policy, dropped, suspended, reduced_to or msgspec.UNSET)

    def _suspend_or_resume(self, relief: Relief) -> None:
        suspended = self._objects.suspended
        if relief == "less":
            newest = [obj.obj_id for obj in self._objects.table.tracked if obj.obj_id not in suspended][-1]
            self._objects.suspend(newest, self._dropped_words)
        else:
            self._objects.resume(suspended[0])

    @property
    def _dropped_words(self) -> str:
        return f"{self._meter.share:.0%} of the frames are dropped"
