"""Requests to a running daemon, and streams to send them about."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streamseg.client import ControlError, Controller
from tests.e2e.daemon_process import DaemonProcess, wait_for

SIMPLE = "scene:simple?size=320x180"
FILE_LIKE = f"{SIMPLE}&live=0"
"""As a file does it waits rather than drops, so that a busy machine cannot cost it a frame."""


def refused(code: str, ask: Callable[[], object]) -> ControlError:
    with pytest.raises(ControlError) as caught:
        ask()
    assert caught.value.code == code, caught.value
    return caught.value


def controller(running: DaemonProcess) -> Controller:
    running.wait_log("ready: masks at")
    return Controller(running.control)


def first_frame(control: Controller, stream: str = "cam") -> int:
    wait_for(lambda: control.list(stream)[0].frame is not None, 30, f"a frame of {stream}")
    frame = control.list(stream)[0].frame
    assert frame is not None
    return frame
