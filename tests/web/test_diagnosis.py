"""The health of a stream in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streamseg.protocol.published import FindCounts, Overload
from streamseg.web.diagnosis import health_of
from tests.web.test_metrics import CAM, DAEMON

WELL = replace(CAM, fps_in=25.0, fps_out=25.0, drops={}, reconnects=0)
READY = replace(DAEMON, processes={"worker": "ready"}, restarts={})


@pytest.mark.parametrize(
    ("status", "processes", "text", "level"),
    [
        ({}, "ready", "All good: 25 frames/s.", ""),
        ({"state": "failed", "last_error": "no route."}, "ready", "The source failed: no route. Check its", "bad"),
        ({"state": "reconnecting"}, "ready", "The source is lost. It is reconnected by itself", "bad"),
        ({"state": "ended"}, "ready", "The source has ended.", "warn"),
        (
            {"state": "connecting", "last_error": "no route"},
            "ready",
            "The source does not open: no route. It is",
            "bad",
        ),
        ({"state": "connecting"}, "ready", "The source is connecting.", "warn"),
        ({}, "starting", "The worker process is starting. It recovers by itself.", "warn"),
        ({"no_masks_s": 7.4}, "ready", "No masks for 7 s although frames come.", "bad"),
        ({"paused": True}, "ready", "Tracking is paused: press Resume.", "warn"),
        (
            {"fps_out": 5.0, "overload": Overload("lower_rate", 0.8)},
            "ready",
            "Only 5 of 25 frames/s get masks: use a",
            "warn",
        ),
        ({"fps_out": 5.0}, "ready", "All good: 5 frames/s.", ""),  # a process died, and its state is not known yet
    ],
)
def test_one_sentence_says_what_is_wrong(status, processes, text, level):
    health = health_of(replace(WELL, **status), replace(READY, processes={"worker": processes}))
    assert health.text.startswith(text)
    assert health.level == level


def test_figures_and_losses_are_in_words():
    drops = {"ring/superseded": 12, "image/slow": 3, "track/odd_thing": 1}
    status = replace(WELL, reconnects=2, drops=drops, latency_ms={"track": 8.14})
    health = health_of(status, replace(READY, uptime_s=3725.0, restarts={"worker": 1}))
    figures = {name: (value, level) for name, value, level in health.figures}
    assert figures["reconnects"] == ("2", "warn")
    assert figures["… track"] == ("8.1 ms", "")
    assert figures["… decode"] == ("–", "")
    assert figures["process restarts"] == ("1", "warn")
    assert figures["running for"] == ("1 h 2 min", "")
    assert figures["frames lost: a newer one was ready"] == ("12", "")
    assert figures["pictures lost: a newer one was ready"] == ("3", "")
    assert figures["frames lost: odd thing"] == ("1", "")


def test_figures_show_the_search_for_objects_while_it_is_on():
    figures = {name: value for name, value, _ in health_of(replace(WELL, find=FindCounts()), READY).figures}
    assert [figures[name] for name in figures if name.startswith("find: ")] == ["0", "0", "–"]
    counts = FindCounts(looks=3, tentative=4, look_ms=1318.7)
    figures = {name: value for name, value, _ in health_of(replace(WELL, find=counts), READY).figures}
    assert [figures[name] for name in figures if name.startswith("find: ")] == ["3", "4", "1.3 s"]
    assert not [name for name, *_ in health_of(WELL, READY).figures if name.startswith("find: ")]


def test_before_the_daemon_has_reported():
    assert health_of(WELL, None).text == "All good: 25 frames/s."
