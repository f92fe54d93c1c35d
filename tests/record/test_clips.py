"""Clips of events: what a daemon writes, and what is kept meanwhile."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import psutil
import pytest

from streamseg.client import ControlError, Controller, EventMessage, FramePair, Subscriber
from streamseg.client.assembly import assemble
from streamseg.common.clip_names import parse_clip_name
from streamseg.config.schema import ClipsConfig, RecordConfig
from streamseg.errors import RecordError
from streamseg.ipc.commands import Command, Outcome
from streamseg.ipc.messages import StreamEvent
from streamseg.protocol.arguments import RecordClip
from streamseg.record.clips.folder import ClipFolder
from streamseg.record.clips.recorder import ClipRecorder
from streamseg.record.clips.requests import ClipRequests
from streamseg.record.clips.ring import Kept, PictureRing
from tests.client.conftest import Messages
from tests.e2e.daemon_process import DISC, DaemonProcess

WHOLE = {"polygon": [[0, 0], [1, 0], [1, 1], [0, 1]], "coords": "normalized"}
BEFORE_S, AFTER_S = 1.0, 0.5


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """A daemon with a zone and clips, but no recording."""
    cam: dict[str, Any] = DISC["streams"]["cam"]  # type: ignore[index]
    streams = {"cam": {**cam, "zones": {"all": WHOLE}, "prompts": []}}
    clips = {"path": "clips", "before_s": BEFORE_S, "after_s": AFTER_S, "events": ["zone_entered"]}
    record = {"keep_free_mb": 1, "clips": clips}
    running = DaemonProcess(DISC | {"streams": streams, "record": record}, tmp_path_factory.mktemp("clips"))
    running.wait_log("clips of cam can begin")
    yield running
    running.close()


def clip_event(daemon: DaemonProcess, label: str) -> EventMessage:
    """Start an object, which is in the zone, and return what is said about its clip."""
    with Subscriber(daemon.endpoint, kinds=["events", "image"], timeout_s=60) as subscriber:
        subscriber.receive()
        with Controller(daemon.control) as control:
            control.add_prompt("cam", points=[(0.5, 0.5)], label=label)
        return next(
            message
            for message in subscriber
            if isinstance(message, EventMessage) and message.event.startswith("clip_") and message.label == label
        )


def test_a_requested_clip_has_the_requested_length(daemon: DaemonProcess) -> None:
    """It has the length that was asked for, and its name is known at once."""
    with (
        Subscriber(daemon.endpoint, kinds=["events", "image"], timeout_s=60) as subscriber,
        Controller(daemon.control) as control,
    ):
        subscriber.receive()  # so no event is missed
        assert "clips" in control.hello().features
        started = control.record_clip("cam", after_s=0.3)
        assert (started.before_s, started.after_s) == (BEFORE_S, 0.3)
        with pytest.raises(ControlError, match=r"only 1 s are kept.*record\.clips\.before_s"):
            control.record_clip("cam", before_s=30)
        with pytest.raises(ControlError, match="after_s"):
            control.record_clip("cam", after_s=0)
        saved = next(each for each in subscriber if isinstance(each, EventMessage) and each.event == "clip_saved")
    assert (saved.detail, saved.object) == (started.clip, None)
    assert parse_clip_name(started.clip).kind == "requested"  # type: ignore[union-attr]
    path = daemon.file.parent / "clips" / started.clip
    length_s = duration_s(path)
    path.unlink()
    assert 0 <= length_s <= BEFORE_S + 0.3 + 0.2  # the daemon has just begun: it kept little yet


def test_an_event_makes_a_clip_and_a_full_disk_makes_it_fail(daemon: DaemonProcess) -> None:
    saved = clip_event(daemon, "cup")
    assert (saved.stream, saved.event) == ("cam", "clip_saved")
    folder = daemon.file.parent / "clips"
    assert [path.name for path in folder.glob("*.mp4")] == [saved.detail]
    assert saved.detail.endswith("-cam-zone_entered.mp4")
    assert folder.stat().st_mode & 0o077 == 0
    with av.open(str(folder / saved.detail)) as container:
        assert container.metadata["title"] == "cam: zone_entered cup all"
        frames = list(container.decode(video=0))
        times = [float(frame.pts * frame.time_base) for frame in frames]
        first, last = (frame.to_ndarray(format="rgb24").astype(int) for frame in (frames[0], frames[-1]))
    assert AFTER_S / 2 < times[-1] <= BEFORE_S + AFTER_S + 0.2
    assert first.shape == (180, 320, 3)
    # From the event on there is the object's label, in the color of its outline.
    blue = np.array([0x56, 0xB4, 0xE9])
    assert (np.abs(last - blue).sum(axis=2) < 60).sum() > 50 + (np.abs(first - blue).sum(axis=2) < 60).sum()

    daemon.child("recorder").rlimit(psutil.RLIMIT_FSIZE, (2000, 2000))  # as a full disk: it takes a part of a write
    failed = clip_event(daemon, "plate")
    assert failed.event == "clip_failed"
    assert "File too large" in failed.detail
    assert [path.name for path in folder.iterdir() if path.name != ".lock"] == [saved.detail]
    assert "recorder ended" not in daemon.log


class Pairs:
    """Pairs of a picture and masks with stamps of choice."""

    def __init__(self) -> None:
        self._golden = Messages()

    def __call__(self, frame: int, t_s: float, size: Sequence[int] = (16, 10), **fields: Any) -> FramePair:
        stamp = {"frame": frame, "seq": frame, "t_captured_ns": str(int(t_s * 1e9)), "size": size, **fields}
        *image, _ = self._golden("image", **stamp)
        mask_parts = self._golden("masks_coco_rle", **stamp)
        masks = assemble(mask_parts[:2] if fields.get("objects") == [] else mask_parts)
        jpeg = cv2.imencode(".jpg", np.zeros((size[1], size[0], 3), np.uint8))[1].tobytes()
        return FramePair(assemble([*image, jpeg]), masks)  # type: ignore[arg-type]


def test_the_ring_is_bounded_by_time_and_by_bytes() -> None:
    pairs = Pairs()
    kept = [Kept.of(pairs(number, number / 10)) for number in range(100)]
    ring = PictureRing(2.0, 10**9)
    for each in kept:
        ring.add(each)
    assert [each.pair.frame for each in ring.since(0)] == list(range(79, 100))
    assert [each.pair.frame for each in ring.since(int(9.75e9))] == [98, 99]
    small = PictureRing(2.0, 5 * kept[0].nbytes)
    for each in kept:
        small.add(each)
        assert small.nbytes <= 5 * kept[0].nbytes
    assert len(small.since(0)) == 5
    small.add(kept[0])  # the clock began again
    assert len(small.since(0)) == 1


class Run:
    """A recorder with a clock, and what it announced."""

    def __init__(self, folder: Path, **clips: Any) -> None:
        self.now_s = 0.0
        self.said: list[StreamEvent] = []
        settings = {"before_s": 1.0, "after_s": 1.0, "events": ("zone_entered",), **clips}
        record = RecordConfig(keep_free_mb=0, clips=ClipsConfig(path=str(folder), **settings))
        self.recorder = ClipRecorder(record, self.said.append, lambda: int(self.now_s * 1e9))
        self._pairs, self._golden, self._frame = Pairs(), Messages(), 0

    def play(self, until_s: float, write: bool = True) -> None:
        while self.now_s < until_s:
            self._frame += 1
            self.now_s += 0.1
            self.recorder.feed(self._pairs(self._frame, self.now_s))
            if write:
                self.recorder.write_next()

    def event(self, kind: str = "zone_entered", **fields: Any) -> None:
        stamp = str(int(self.now_s * 1e9))
        event = assemble(self._golden("event_object", kind=kind, t_mono_ns=stamp, **fields))
        self.recorder.feed(event)  # type: ignore[arg-type]

    def broken_pair(self, stream: str, t_s: float) -> FramePair:
        """A pair that no encoder takes."""
        return self._pairs(1, t_s, stream=stream, size=[1, 1], objects=[])

    def write_all(self) -> None:
        while self.recorder.busy:
            self.recorder.write_next()


def duration_s(path: Path) -> float:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return float((frames[-1].pts - frames[0].pts) * frames[0].time_base)


def test_an_event_during_a_clip_makes_it_longer(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.play(3.0)
    run.event("zone_left")  # not one of the events
    run.event()
    run.play(3.5)
    run.event()
    run.play(6.0)
    run.write_all()
    (saved,) = run.said
    assert saved.kind == "clip_saved"
    assert duration_s(tmp_path / saved.detail) == pytest.approx(1.0 + 0.5 + 1.0, abs=0.2)
    run.recorder.close()


def test_a_requested_clip_is_not_changed_by_events(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with pytest.raises(ControlError, match="no picture of cam1"):
        run.recorder.request("cam1", RecordClip())
    run.play(3.0)
    started = run.recorder.request("cam1", RecordClip(before_s=0.5))
    run.play(3.5)
    run.event()
    run.play(6.0)
    run.write_all()
    assert [said.kind for said in run.said] == ["clip_saved"] * 2
    assert started.clip in {said.detail for said in run.said}
    assert duration_s(tmp_path / started.clip) == pytest.approx(1.5, abs=0.2)
    for _ in range(8):
        run.recorder.request("cam1", RecordClip())
    with pytest.raises(ControlError, match="too many") as error:
        run.recorder.request("cam1", RecordClip())
    assert error.value.retryable
    run.now_s = 60.0
    run.write_all()
    run.recorder.feed(run.broken_pair("yard", 60.0))
    failing = run.recorder.request("yard", RecordClip())
    run.write_all()
    assert [said.detail.partition(":")[0] for said in run.said if said.kind == "clip_failed"] == [failing.clip]
    run.recorder.close()


def test_requests_are_executed_once_and_refused_while_there_are_no_clips(tmp_path: Path) -> None:
    answers: list[Outcome] = []
    requests = ClipRequests(answers.append)
    run = Run(tmp_path)
    run.play(1.0)
    for number in range(2):
        requests.put(Command(number, "record_clip", "cam1", b"{}", "page 1"))
    requests.execute(run.recorder.request)
    assert [answer.number for answer in answers] == [0, 1]
    assert answers[0].result == answers[1].result != b""
    requests.put(Command(2, "record_clip", "cam1", b"{}", "page 2"))
    requests.refuse("the folder is gone", 1.0)
    assert answers[2].error is not None
    assert answers[2].error.message.endswith("the folder is gone")
    for number in range(3, 68):
        requests.put(Command(number, "record_clip", "cam1", b"{}"))
    assert answers[3].number == 67
    assert answers[3].error is not None
    assert answers[3].error.retryable
    run.recorder.close()


def test_a_camera_that_goes_away_ends_its_clip(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.play(2.0)
    run.event()
    run.now_s = 60.0
    run.write_all()
    assert [said.kind for said in run.said] == ["clip_saved"]
    run.event()  # without a picture
    run.now_s = 120.0
    run.recorder.write_next()
    assert [(said.kind, said.detail) for said in run.said[1:]] == [("clip_failed", "no picture arrived")]
    run.recorder.close()


def test_clips_that_are_too_many_or_half_written_are_deleted(tmp_path: Path) -> None:
    for number in range(3):
        old = tmp_path / f"2026010{number}T000000Z-cam-zone_entered.mp4"
        old.write_bytes(bytes(600))
        recent = time.time() - 10 + number
        os.utime(old, (recent, recent))
    (tmp_path / "20260101T000000Z-cam-zone_entered-2.mp4.77.part").touch()
    mine = {"wedding.mp4", "20260101T000000Z-wedding.mp4", "wedding.mp4.77.part", "notes.txt"}
    for name in mine:
        (tmp_path / name).write_bytes(bytes(2000))
        os.utime(tmp_path / name, (0, 0))
    folder = ClipFolder(ClipsConfig(path=str(tmp_path), max_gb=1e-6, max_hours=1.0), keep_free_mb=0)
    assert folder.next_path("cam", "line_crossed").parent == tmp_path
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {".lock", "20260102T000000Z-cam-zone_entered.mp4"} | mine
    with pytest.raises(RecordError, match="another recorder"):
        ClipFolder(ClipsConfig(path=str(tmp_path)), keep_free_mb=0)
    folder.close()
    full = ClipFolder(ClipsConfig(path=str(tmp_path)), keep_free_mb=10**9)
    with pytest.raises(RecordError, match="kept free"):
        full.next_path("cam", "line_crossed")
    full.close()


def test_an_event_after_the_end_of_a_clip_that_is_not_written_yet_begins_another(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.play(2.0)
    run.event()
    run.play(3.5, write=False)
    run.event()
    run.play(5.5, write=False)
    run.write_all()
    assert [said.kind for said in run.said] == ["clip_saved"] * 2
    assert len({said.detail for said in run.said}) == len(list(tmp_path.glob("*.mp4"))) == 2
    run.recorder.close()


def test_pictures_that_wait_are_bounded_over_all_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path)
    run.play(0.1)
    monkeypatch.setattr("streamseg.record.clips.recorder._MAX_WAITING_BYTES", 5 * Kept.of(Pairs()(1, 0.1)).nbytes)
    run.event()
    run.event(stream="yard")
    run.play(0.9, write=False)
    run.recorder.close()
    assert {said.stream: said.kind for said in run.said} == {"cam1": "clip_saved", "yard": "clip_failed"}
    (saved,) = tmp_path.glob("*.mp4")
    with av.open(str(saved)) as container:
        assert len(list(container.decode(video=0))) == 5


def test_a_clip_that_fails_ends_neither_the_others_nor_the_recorder(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.play(1.0)
    run.event()
    run.recorder.feed(run.broken_pair("yard", 1.0))
    run.event(stream="yard")
    run.play(3.0)
    run.write_all()
    failed, saved = run.said
    assert (failed.stream, failed.kind) == ("yard", "clip_failed")
    assert (saved.stream, saved.kind) == ("cam1", "clip_saved")
    run.recorder.feed(run.broken_pair("yard", 3.0))
    run.event(stream="yard")
    run.recorder.close()
    assert [(said.stream, said.kind) for said in run.said[2:]] == [("yard", "clip_failed")]
    assert [path.name for path in tmp_path.glob("*.mp4*")] == [saved.detail]
    ClipFolder(ClipsConfig(path=str(tmp_path)), keep_free_mb=0).close()  # its lock is free


def test_a_clip_ends_early_when_the_disk_is_nearly_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path, after_s=100.0)
    run.play(1.0)
    run.event()
    run.play(2.0)
    monkeypatch.setattr(run.recorder._folder, "_keep_free_mb", 10**9)
    run.play(5.0)
    assert [said.kind for said in run.said] == ["clip_saved"]
    run.event()
    assert "kept free" in run.said[-1].detail
    run.recorder.close()


def test_nothing_decoded_stays_in_memory(tmp_path: Path) -> None:
    run = Run(tmp_path)
    pair = Pairs()(1, 0.1)
    run.recorder.feed(pair)
    run.event()
    run.write_all()
    assert "rgb" not in vars(pair.image)
    assert not [obj for obj in pair.masks.objects if "crop" in vars(obj)]
    run.recorder.close()
