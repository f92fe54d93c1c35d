"""Previews of several viewers are answered together, each with its own result or refusal."""

from __future__ import annotations

import msgspec
import numpy as np

from streamseg.config.schema import StreamConfig
from streamseg.frame import Frame, FrameFormat, FrameStamps
from streamseg.ipc.commands import Command
from streamseg.tracker.simple.echo import EchoTracker
from streamseg.worker.command_handlers import handle_command, handle_previews
from streamseg.worker.track_frames import track_frames
from streamseg.worker.tracked_stream import TrackedStream

SIZE = (64, 48)
BOX = [0.25, 0.25, 0.5, 0.5]


def frame(number: int) -> Frame:
    stamps = FrameStamps(1_700_000_000_000_000_000 + number, "file", 1000, 2000, number, (1, 10))
    return Frame(number, 0, FrameFormat(*SIZE, "gray8"), (np.zeros(SIZE[::-1], np.uint8),), stamps)


def opened(name: str, tracker: EchoTracker) -> TrackedStream:
    return TrackedStream(name, StreamConfig(source="scene:simple"), tracker)


def preview(number: int, stream: str, **args: object) -> Command:
    return Command(number, "add_prompt", stream, msgspec.json.encode({"preview": True, **args}))


def test_each_preview_has_its_own_answer():
    tracker = EchoTracker()
    streams = {name: opened(name, tracker) for name in ("one", "two", "waits")}
    for number in range(3):
        for name in ("one", "two"):
            list(track_frames(tracker, streams, {name: frame(number)}))
    asked = [
        preview(11, "one", box=BOX),
        preview(12, "two", box=BOX, frame=1),
        preview(13, "gone", box=BOX),
        preview(14, "one", points=[[80, 20]], coords="pixels"),
        preview(15, "waits", box=BOX),
        preview(16, "one", box=BOX, frame=9),
        preview(17, "one", box=[0.1, 0.1, 0.2, 0.2], object_id=5, label="mug"),
    ]
    of_streams = [[one for one in asked if one.stream == stream] for stream in ("one", "two", "gone", "waits")]
    outcomes = {outcome.number: outcome for some in of_streams for outcome in handle_previews(some, streams)}
    assert sorted(outcomes) == [command.number for command in asked]
    for command in asked:
        alone = handle_command(command, streams)
        assert outcomes[command.number] == alone
    codes = {number: outcome.error.code for number, outcome in outcomes.items() if outcome.error is not None}
    assert codes == {13: "STREAM_NOT_FOUND", 14: "BAD_PROMPT", 15: "NO_FRAME_YET", 16: "BAD_PROMPT"}
    first = msgspec.json.decode(outcomes[11].result)
    assert (first["object_id"], first["frame"], first["new"], first["area"] > 0) == (0, 2, True, True)
    assert msgspec.json.decode(outcomes[12].result)["frame"] == 1
    assert streams["one"].objects.table.objects == {}


def test_an_exception_is_the_outcome_of_all_that_ran_with_it(monkeypatch):
    tracker = EchoTracker()
    streams = {"one": opened("one", tracker)}
    list(track_frames(tracker, streams, {"one": frame(0)}))

    def fail(*_args: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(tracker, "previews", fail)
    outcomes = handle_previews([preview(1, "one", box=BOX), preview(2, "one", box=BOX)], streams)
    assert [(outcome.number, outcome.error.code) for outcome in outcomes if outcome.error] == [
        (1, "INTERNAL"),
        (2, "INTERNAL"),
    ]
