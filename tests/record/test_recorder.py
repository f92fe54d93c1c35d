"""New segments, old ones, and the end of the disk."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from streamseg.config.schema import RecordConfig
from streamseg.errors import RecordError
from streamseg.record.folder import read_recording, segments
from streamseg.record.recorder import Recorder, RecordLimits
from tests.protocol import golden_messages

MASKS = golden_messages.read("masks_coco_rle")
FREE = {"keep_free_bytes": 0}


def limits(**changed: object) -> RecordLimits:
    return replace(RecordLimits.of(RecordConfig()), **changed)  # type: ignore[arg-type]


def test_segments_end_by_size_and_keep_the_order(tmp_path: Path) -> None:
    with Recorder(tmp_path, limits(segment_bytes=5000, **FREE)) as recorder:
        for number in range(50):
            recorder.write(MASKS, number)
    assert len(segments(tmp_path)) > 3
    found = list(read_recording(tmp_path))
    assert [recorded.t_received_ns for recorded in found] == list(range(50))
    assert all(recorded.parts == tuple(MASKS[1:]) for recorded in found)
    with Recorder(tmp_path, limits(**FREE)) as recorder:  # goes on after what is there
        recorder.write(MASKS, 50)
    assert [recorded.t_received_ns for recorded in read_recording(tmp_path)] == list(range(51))


def test_segments_end_by_time(tmp_path: Path) -> None:
    now_s = [0.0]
    with Recorder(tmp_path, limits(segment_s=10, **FREE), now_s=lambda: now_s[0]) as recorder:
        for now_s[0] in (0.0, 9.0, 11.0, 12.0, 30.0):
            recorder.write(MASKS, 0)
    assert len(segments(tmp_path)) == 3


def test_the_oldest_segments_are_deleted(tmp_path: Path) -> None:
    now_s = [0.0]
    bounds = limits(segment_bytes=4000, max_bytes=12_000, **FREE)
    with Recorder(tmp_path, bounds, now_s=lambda: now_s[0]) as recorder:
        for number in range(100):
            now_s[0] = 2.0 * number
            recorder.write(MASKS, number)
    kept = [recorded.t_received_ns for recorded in read_recording(tmp_path)]
    assert kept == list(range(kept[0], 100))
    assert kept[0] > 0
    assert sum(path.stat().st_size for path in segments(tmp_path)) < 13_000


def test_segments_may_be_deleted_by_the_user_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bounds = limits(segment_bytes=4000, max_bytes=12_000, **FREE)
    real = segments

    def deleted_after_listing(folder: Path) -> list[Path]:
        found = real(folder)
        for path in found[:1]:
            path.unlink()
        return found

    monkeypatch.setattr("streamseg.record.recorder.segments", deleted_after_listing)
    with Recorder(tmp_path, bounds) as recorder:
        for number in range(30):
            recorder.write(MASKS, number)
    assert [recorded.t_received_ns for recorded in read_recording(tmp_path)][-1] == 29


def test_only_this_user_can_read_it(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with Recorder(tmp_path / "recording", limits(**FREE)) as recorder:
            recorder.write(MASKS, 0)
    finally:
        os.umask(before)
    assert (tmp_path / "recording").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "recording").iterdir()} == {0o600}


def test_old_segments_are_deleted_by_age(tmp_path: Path) -> None:
    with Recorder(tmp_path, limits(**FREE)) as recorder:
        recorder.write(MASKS, 1)
    (old,) = segments(tmp_path)
    os.utime(old, (time.time() - 7200,) * 2)
    with Recorder(tmp_path, limits(max_age_s=3600, **FREE)) as recorder:
        recorder.write(MASKS, 2)
    assert [recorded.t_received_ns for recorded in read_recording(tmp_path)] == [2]


def test_it_stops_before_the_disk_is_full(tmp_path: Path) -> None:
    with (
        Recorder(tmp_path, limits(keep_free_bytes=2**60)) as recorder,
        pytest.raises(RecordError, match=r"stopped: the disk has \d+ MB left, and \d+ MB are kept free"),
    ):
        recorder.write(MASKS, 0)


def test_one_recorder_at_a_time(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from streamseg.record.folder import *; RecordingLock(Path(sys.argv[1]))"
    )
    with Recorder(tmp_path, limits()):
        done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=60)
        with pytest.raises(RecordError, match="another recorder is writing there"):
            Recorder(tmp_path, limits())
    assert "another recorder is writing there" in done.stderr
    Recorder(tmp_path, limits()).close()
