"""A client that needs a newer daemon fails with a clear message before it sends anything."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from streamseg.client import control_calls as calls
from streamseg.client.control_core import ControlCore
from streamseg.errors import ControlError
from streamseg.protocol.control import FEATURES
from streamseg.protocol.results import Hello

OLD = Hello(version="0.1.0", session="9f", model="nano", max_objects=16, publish=(), streams=("cam",), ops=("hello",))
PROMPT = {"object_id": 1, "points": [[0.5, 0.5]]}


def add_prompt(**arguments):
    marks = {"points": [(0.5, 0.5)], "box": None, "mask": None, "coords": "normalized"}
    rest = {"object_id": None, "label": "", "frame": None, "on_expired": "error", "preview": False}
    return calls.add_prompt("cam", **{**marks, **rest, **arguments})


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (calls.undo("cam"), "undo: "),
        (calls.set_prompts("cam", [PROMPT], frame=7), "set_prompts with these arguments: "),
        (add_prompt(preview=True, candidates=3), "add_prompt with these arguments: "),
        (add_prompt(candidate=1), "add_prompt with these arguments: "),
    ],
)
def test_features_that_an_old_daemon_lacks_are_reported(call, name):
    core = ControlCore("ipc:///x")
    assert core.must_ask(call)
    with pytest.raises(ControlError, match=f"{name}the daemon at ipc:///x is streamseg 0.1.0, too old") as refused:
        core.check_feature(call, OLD)
    assert refused.value.code == "UNSUPPORTED"


def test_a_daemon_with_the_feature_is_asked_once():
    core = ControlCore("ipc:///x")
    core.check_feature(calls.undo("cam"), replace(OLD, features=FEATURES))
    assert not core.must_ask(calls.undo("cam"))
    assert not core.must_ask(calls.set_prompts("cam", [PROMPT], frame=7))


def test_requests_without_new_features_are_sent_unchanged():
    """An old daemon refuses fields that it does not know."""
    core = ControlCore("ipc:///x")
    call = calls.set_prompts("cam", [PROMPT])
    assert not core.must_ask(call)
    assert not core.must_ask(add_prompt())
    _, (_, data) = core.request(call)
    assert [*json.loads(data)["args"]] == ["prompts"]


def test_text_that_cannot_be_sent_is_refused():
    core = ControlCore("ipc:///x")
    with pytest.raises(ControlError, match="not valid Unicode"):
        core.request(calls.add_stream("cam", {"source": "/media/caf\udce9/clip.mp4"}))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"fps": float("inf")}, "settings.fps is inf"),
        ({"prompts": [{"object": 1, "points": [[float("nan"), 1]]}]}, r"settings.prompts\[0\].points\[0\]\[0\] is nan"),
    ],
)
def test_numbers_that_json_cannot_hold_are_refused(settings, words):
    with pytest.raises(ControlError, match=words):
        calls.add_stream("cam", settings)


def test_a_name_that_is_not_unicode_is_refused():
    with pytest.raises(ControlError, match="not valid Unicode"):
        calls.set_prompts("cam", [{"object_id": 1, "\ud800": 1, "points": [[0.1, 0.1]]}])
