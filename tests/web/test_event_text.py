"""Events in words."""

from __future__ import annotations

from typing import Any

import pytest

from streamseg.client import EventMessage
from streamseg.protocol.published import Region
from streamseg.web.event_text import event_words

HEADER: dict[str, Any] = {"stream": "cam", "session": "0", "publisher": "1", "seq": 1, "t_wall_ns": 1, "epoch": 0}


@pytest.mark.parametrize(
    ("fields", "text", "level", "state"),
    [
        ({"event": "object_added", "object": 3, "label": "cup"}, "3 cup added", "", "tracked"),
        ({"event": "object_lost", "object": 3}, "object 3 lost", "bad", "lost"),
        ({"event": "object_occluded", "object": 3}, "object 3 hidden", "warn", "occluded"),
        ({"event": "tracker_reset", "objects": (2, 1)}, "objects 1, 2 removed", "", ""),
        ({"event": "tracker_reset", "detail": "requested"}, "all objects removed (requested)", "", ""),
        ({"event": "stream_connected", "detail": "rtsp"}, "connected (rtsp)", "good", ""),
        (
            {"event": "zone_left", "object": 3, "region": Region("door", dwell_s=3.0), "detail": "cup (3) left door"},
            "cup (3) left door",
            "",
            "",
        ),
        ({"event": "of_a_newer_daemon"}, "of a newer daemon", "", ""),
    ],
)
def test_events_have_text_level_and_state(fields, text, level, state):
    fields = {"frame": None, "object": None, "label": "", "detail": "", **fields}
    words = event_words(EventMessage(**HEADER, **fields))
    assert (words.text, words.level, words.state) == (text, level, state)
