"""The worker as a real process: a stream on which the tracker fails stops neither the worker nor the other streams."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import numpy as np
import zmq

from streamseg.config.schema import ModelConfig, PromptConfig, StreamConfig
from streamseg.frame import FrameFormat, FrameStamps, SourceFrame
from streamseg.ipc.messages import StreamEvent, TrackedFrame, WorkerReport, decode
from streamseg.ring.frame_ring import FrameRing
from streamseg.worker.spec import SnapshotSpec, WorkerSpec
from tests.worker.poisoned_worker import POISON, main

SPAWN = multiprocessing.get_context("spawn")
BOX = PromptConfig(object=7, label="cup", box=(100, 100, 140, 150))


def frame(level: int) -> SourceFrame:
    now = time.monotonic_ns()
    stamps = FrameStamps(time.time_ns(), "arrival", now, now, None, (1, 90_000))
    return SourceFrame(FrameFormat(320, 180, "rgb24"), (np.full((180, 960), level, np.uint8),), stamps)


def test_a_stream_that_fails_is_isolated_and_comes_back(tmp_path: Path) -> None:
    streams = {name: StreamConfig(source="scene:simple", prompts=(BOX,)) for name in ("good", "bad")}
    rings = {name: FrameRing(policy="newest", slots=4, slot_bytes=1 << 18) for name in streams}
    writers = {name: ring.writer() for name, ring in rings.items()}
    internal = f"ipc://{tmp_path}/internal"
    ours, theirs = SPAWN.Pipe()
    snapshots = SnapshotSpec(tmp_path / "state")
    spec = WorkerSpec(
        ModelConfig(name="echo"),
        streams,
        internal,
        f"ipc://{tmp_path}/commands",
        snapshots,
        f"ipc://{tmp_path}/prompters",
    )
    with zmq.Context() as context, context.socket(zmq.PULL) as inbox:
        inbox.bind(internal)
        process = SPAWN.Process(target=main, args=(spec, rings, theirs))
        process.start()
        theirs.close()
        frames: list[TrackedFrame] = []
        events: list[StreamEvent] = []
        drops: dict[str, dict[str, int]] = {}

        def step(bad_level: int) -> None:
            """Write a frame of each stream and read the worker's messages."""
            writers["good"].write(frame(0))
            writers["bad"].write(frame(bad_level))
            while inbox.poll(30):
                match decode(inbox.recv()):
                    case TrackedFrame() as message:
                        frames.append(message)
                    case StreamEvent() as event:
                        events.append(event)
                    case WorkerReport() as report:
                        drops.update(report.drops)
            while ours.poll():
                ours.recv()
            assert process.is_alive()

        def ids(stream: str) -> list[int]:
            return next(([obj.obj_id for obj in one.objects] for one in reversed(frames) if one.stream == stream), [])

        def run(bad_level: int, condition) -> None:
            deadline = time.monotonic() + 60
            while not condition():
                assert time.monotonic() < deadline
                step(bad_level)

        try:
            run(0, lambda: ids("good") == ids("bad") == [7])
            run(POISON, lambda: any(event.kind == "tracking_failed" for event in events))
            failed = next(event for event in events if event.kind == "tracking_failed")
            assert failed.stream == "bad"
            assert "ValueError: a poisoned frame" in failed.detail
            began, before = time.monotonic(), len(frames)
            run(POISON, lambda: len(frames) > before + 6)
            assert ids("good") == [7]
            assert ids("bad") == []
            good = [one.t_tracked_ns for one in frames if one.stream == "good"]
            assert max(np.diff(good)) < 1e9 + (time.monotonic() - began) * 1e8
            run(0, lambda: ids("bad") == [7])
            run(0, lambda: drops.get("bad", {}).get("track/failed", 0) > 0)
            assert "track/failed" not in drops["good"]
        finally:
            process.kill()
            process.join(10)
            ours.close()
            for ring in rings.values():
                ring.close()
