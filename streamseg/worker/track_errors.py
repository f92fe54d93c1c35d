"""Errors of the tracker from which only a new worker recovers."""

from __future__ import annotations

from streamseg.errors import DeviceError
from streamseg.tracker.faults import classify


def raise_if_device_lost(error: BaseException) -> None:
    """Raise DeviceError after an error which only a new worker helps against."""
    fault = classify(error)
    if fault.remedy == "restart":
        raise DeviceError(f"{fault.text}: a new worker goes on from the last snapshot") from error
