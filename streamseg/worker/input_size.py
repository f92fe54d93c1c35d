"""The size of the model's input for one stream under ``overload: smaller_input``.

:attr:`InputSize.reduced_to` always matches the tracker: a change that fails leaves the stream as it was, and is retried
after a back-off.
"""

from __future__ import annotations

import logging
import time
from typing import Final

from streamseg.common.backoff import Backoff, BackoffPolicy
from streamseg.tracker.faults import classify, free_cached_memory
from streamseg.tracker.types import Tracker
from streamseg.worker.stream_events import EventLog
from streamseg.worker.track_errors import raise_if_device_lost

log = logging.getLogger(__name__)

_RETRY: Final = BackoffPolicy(first_s=10, max_s=320, healthy_s=0)
"""Back-off after a change that failed, mostly for lack of memory."""


class InputSize:
    """Changes and remembers the size. Used by the worker's thread, between two frames.

    Args:
        stream: Id of the stream.
        tracker: The stream is open on it.
        events: Events of the stream.

    Attributes:
        reduced_to: Side of the smaller input in pixels; None while the model sees the full size.
    """

    def __init__(self, stream: str, tracker: Tracker, events: EventLog) -> None:
        self.reduced_to: int | None = None
        self._stream, self._tracker, self._events = stream, tracker, events
        self._backoff = Backoff(_RETRY)
        self._not_before = 0.0

    @property
    def may_change(self) -> bool:
        """Whether a change may be tried: none has failed recently."""
        return time.monotonic() >= self._not_before

    def reduce(self, reason: str) -> None:
        """Reduce the model's input from the next frame on, if the model has a smaller one.

        Args:
            reason: For the event.

        Raises:
            DeviceError: The device is lost.
        """
        if self.reduced_to is None and (side := self._choose(smaller=True)) is not None:
            self.reduced_to = side
            self._events.add("input_reduced", detail=f"{side} pixels: {reason}")

    def restore(self) -> None:
        """Restore the full input from the next frame on.

        Raises:
            DeviceError: The device is lost.
        """
        if self.reduced_to is not None and (side := self._choose(smaller=False)) is not None:
            self._note_restored(f"{side} pixels")

    def reopened(self) -> None:
        """Choose the smaller input again after the stream was reopened, with the full size.

        Raises:
            DeviceError: The device is lost.
        """
        if self.reduced_to is not None and self._choose(smaller=True) is None:
            self._note_restored("the smaller input cannot be used, see the log")

    def _note_restored(self, detail: str) -> None:
        self.reduced_to = None
        self._events.add("input_restored", detail=detail)

    def _choose(self, *, smaller: bool) -> int | None:
        """Return the new side in pixels; None if nothing has changed."""
        if not self.may_change:
            return None
        try:
            side = self._tracker.choose_input(self._stream, smaller=smaller)
        except BaseException as error:
            raise_if_device_lost(error)
            wait_s = self._backoff.next_wait_s()
            self._not_before = time.monotonic() + wait_s
            log.exception(
                "stream %s: the model's input stays as it is: %s; next try in %.0f s or later",
                self._stream,
                classify(error).text,
                wait_s,
            )
        else:
            self._backoff.succeeded(0)
            return side
        free_cached_memory()  # outside of the handler, which would keep the failed call's tensors
        return None
