"""`streamseg view` through an outage. (Here, because this folder has a publisher that can be silenced.)"""

from __future__ import annotations

import threading

import pytest

from streamseg.cli import view
from streamseg.errors import SubscribeTimeoutError


def publish_first(golden, outlet):
    def publish():
        outlet.wait(b"\x01v1/cam1/masks/", b"\x01v1/cam1/image/")
        outlet.send(golden.masks(1), golden("image", frame=1, seq=0))

    thread = threading.Thread(target=publish, daemon=True)
    thread.start()
    return thread


def test_view_survives_an_outage(golden, outlet):
    turns = []

    def go_on():
        turns.append(len(turns))
        if len(turns) == 4:  # after three turns of silence
            outlet.send(golden.masks(2), golden("image", frame=2, seq=1))
        return len(turns) < 8

    first = publish_first(golden, outlet)
    pairs = view._pairs(outlet.endpoint, "cam1", None, None, None, go_on)
    assert next(pairs).frame == 1
    first.join(20)
    assert next(pairs).frame == 2
    assert len(turns) >= 4
    assert list(pairs) == []  # ended by go_on
    assert len(turns) == 8


def test_an_explicit_timeout_still_applies_in_an_outage(golden, outlet):
    publish_first(golden, outlet)
    pairs = view._pairs(outlet.endpoint, "cam1", 2.0, None, None, lambda: True)
    assert next(pairs).frame == 1
    with pytest.raises(SubscribeTimeoutError, match=r"within 2 s"):
        next(pairs)


def test_a_source_that_never_delivered_fails(outlet, monkeypatch):
    monkeypatch.setattr(view, "_FIRST_S", 0.1)
    with pytest.raises(SubscribeTimeoutError, match=r"within 0\.1 s"):
        next(view._pairs(outlet.endpoint, "cam1", None, None, None, lambda: True))
