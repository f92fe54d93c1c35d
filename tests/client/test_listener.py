"""Callbacks for what a publisher sends."""

from __future__ import annotations

import queue

import pytest

from streamseg.client import EventMessage, Listener, MaskFrame
from streamseg.errors import ConfigError


def test_each_kind_has_its_callback(golden, outlet) -> None:
    got: queue.Queue[object] = queue.Queue()
    with Listener(outlet.endpoint, streams=["cam1"], on_masks=got.put, on_event=got.put) as listener:
        outlet.wait(b"\x01v1/cam1/masks/", b"\x01v1/cam1/events/")
        outlet.send(golden.masks(1))
        assert isinstance(got.get(timeout=20), MaskFrame)
        outlet.send(golden("event_object"))
        assert isinstance(got.get(timeout=20), EventMessage)
        assert not listener.wait(0)
    assert listener.wait(0)


def test_an_exception_in_a_callback_ends_it_and_reaches_the_caller(golden, outlet) -> None:
    def fail(frame: MaskFrame) -> None:
        raise ZeroDivisionError(frame.frame)

    with Listener(outlet.endpoint, streams=["cam1"], on_masks=fail) as listener:
        outlet.wait(b"\x01v1/cam1/masks/")
        outlet.send(golden.masks(7))
        with pytest.raises(ZeroDivisionError, match="7"):
            listener.wait(20)
        assert listener.wait(0)  # raised once


def test_a_callback_may_close_it(golden, outlet) -> None:
    listener = Listener(outlet.endpoint, streams=["cam1"], on_masks=lambda _: listener.close())
    outlet.wait(b"\x01v1/cam1/masks/")
    outlet.send(golden.masks(1))
    assert listener.wait(20)


def test_it_needs_a_callback() -> None:
    with pytest.raises(ConfigError, match="needs a callback"):
        Listener("ipc:///nowhere")
