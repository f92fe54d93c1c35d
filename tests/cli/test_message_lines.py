from datetime import datetime

import numpy as np
import pytest

from streamseg.cli.message_lines import message_line
from streamseg.client.results import (
    DaemonStatusMessage,
    EventMessage,
    ImageFrame,
    MaskFrame,
    ObjectMask,
    ObjectsFrame,
    StatusMessage,
)

WALL_NS = 1_790_000_000_123_456_789
TIME = datetime.fromtimestamp(WALL_NS / 1e9).strftime("%H:%M:%S.") + "123"
IDS = {"session": "s", "publisher": "p", "seq": 1, "t_wall_ns": WALL_NS}
FRAME = {
    **IDS,
    "stream": "cam",
    "epoch": 0,
    "frame": 1240,
    "t_source": "arrival",
    "t_captured_ns": 1,
    "t_decoded_ns": 2,
    "t_tracked_ns": 3,
    "t_published_ns": 4,
    "same_clock": True,
    "age_ms": 34.6,
    "pts": None,
    "time_base": (1, 1000),
    "size": (640, 360),
    "model": "m",
    "dropped": 0,
}


def seen(**fields):
    values = {
        "id": 1,
        "label": "cup",
        "state": "tracked",
        "score": 0.914,
        "presence": 0.9,
        "bbox": (10, 20, 30, 40),
        "area": 900,
        "centroid": (1.0, 2.0),
        "roi": (10, 20, 30, 40),
        "size": (640, 360),
        "encoding": "none",
        "data": b"",
    }
    return ObjectMask(**{**values, **fields})


def test_line_of_masks():
    objects = (seen(), seen(id=2, label="", state="lost", area=0))
    assert message_line(MaskFrame(**FRAME, objects=objects)) == (
        f"{TIME} cam      masks   frame 1240, 35 ms old: 1 cup tracked at 10,20 30x40 score 0.91; 2 lost"
    )


def test_losses_are_shown():
    line = message_line(MaskFrame(**FRAME, objects=(), gap=3, skipped=2))
    assert line.endswith("frame 1240, 35 ms old, 2 skipped: no objects  [3 lost on the way]")


@pytest.mark.parametrize("kind", [MaskFrame, ObjectsFrame])
def test_repeated_frames_name_their_source(kind):
    line = message_line(kind(**FRAME, objects=(), repeats=1233))
    assert line.endswith("frame 1240, 35 ms old, repeats 1233: no objects")


def test_line_of_an_image():
    line = message_line(ImageFrame(**FRAME, jpeg=bytes(np.zeros(2048, dtype=np.uint8))))
    assert line.endswith("image   frame 1240, 35 ms old: 640x360, 2 KiB")


def test_line_of_an_event():
    event = EventMessage(
        **IDS, stream="cam", event="object_lost", epoch=0, frame=7, object=1, label="cup", detail="not seen for 3 s"
    )
    assert message_line(event).endswith("events  object_lost 1 cup on frame 7: not seen for 3 s")


def status(**fields):
    values = {
        "stream": "cam",
        "state": "streaming",
        "source": "scene:default",
        "size": (640, 360),
        "fps_in": 30.04,
        "fps_out": 12.3,
        "frames": 100,
        "tracked": 90,
        "drops": {},
        "reconnects": 0,
        "epoch": 0,
        "objects": 2,
        "latency_ms": {},
        "published": {},
        "subscribed": [],
        "last_error": "",
    }
    return StatusMessage(**IDS, **{**values, **fields})


def test_line_of_a_stream_status():
    assert message_line(status()).endswith("streaming; 640x360; 30.0 frames/s in, 12.3 out; 2 objects")
    assert message_line(status(repeated=70)).endswith("2 objects; 70 repeated")
    line = message_line(
        status(drops={"ring/superseded": 4, "x/y": 0}, reconnects=2, last_error="refused", latency_ms={"total": 35.4})
    )
    assert line.endswith("2 objects; 35 ms; dropped 4 ring/superseded; 2 reconnects; refused")


def test_line_of_a_daemon_status():
    message = DaemonStatusMessage(
        **IDS,
        stream="_daemon",
        clock="c",
        version="1",
        model="nano",
        device="cpu",
        uptime_s=12.4,
        streams=["cam"],
        processes={"publisher": "ready", "worker": "starting"},
        restarts={"publisher": 0, "worker": 1},
    )
    assert message_line(message).endswith(
        "_daemon  status  nano on cpu, up 12 s; publisher ready, worker starting; 1 restart"
    )


def test_terminal_commands_in_messages_are_escaped():
    line = message_line(status(last_error="a\x1b[2J\nb\x9b"))
    assert line.endswith("a?[2J?b?")
