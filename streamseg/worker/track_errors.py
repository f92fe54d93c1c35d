"""Exceptions of the tracker: those that need a new worker, and those that are only logged."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from streamseg.errors import DeviceError
from streamseg.tracker.faults import classify

log = logging.getLogger(__name__)


def raise_if_device_lost(error: BaseException) -> None:
    """Raise DeviceError after an error that only a new worker recovers from."""
    fault = classify(error)
    if fault.remedy == "restart":
        raise DeviceError(f"{fault.text}: a new worker goes on from the last snapshot") from error


@contextmanager
def logged_only(stream: str, what: str) -> Iterator[None]:
    """Log an exception of the tracker and go on: for steps whose failure costs some memory at most.

    Args:
        stream: Id of the stream.
        what: What failed, for the log.

    Raises:
        DeviceError: the device is lost.
    """
    try:
        yield
    except BaseException as error:
        raise_if_device_lost(error)
        log.exception("stream %s: %s", stream, what)
