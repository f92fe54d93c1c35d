from pathlib import Path

import pytest

from streamseg.config.schema import StreamConfig
from streamseg.errors import SourceOpenError
from streamseg.sources.probe import probe
from tests.servers.live_servers import free_port, write_video


def test_a_file_is_reported(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", frames=10)
    report = probe(StreamConfig(source=str(path), pace="fast"), seconds=10)
    assert (report.kind, report.live, report.clock, report.ended) == ("file", False, "file", True)
    assert (report.frames, report.frames_announced, report.rate_announced) == (10, 10, 25.0)
    assert (report.format.width, report.format.height, report.format.pixel_format) == (64, 48, "yuv420p")
    assert report.clock_offset_ms is None
    assert report.jitter_ms is not None


def test_a_single_picture_has_no_rate(tmp_path: Path) -> None:
    report = probe(StreamConfig(source=str(write_video(tmp_path / "a.mp4", frames=1)), pace="fast"))
    assert report.frames == 1
    assert report.rate_measured is report.jitter_ms is report.longest_gap_ms is None


def test_the_probe_ends_in_time() -> None:
    report = probe(StreamConfig(source="lavfi:testsrc2=size=64x48:rate=50"), seconds=0.2)
    assert not report.ended
    assert report.seconds >= 0.2


def test_a_source_that_cannot_be_opened_is_an_error() -> None:
    with pytest.raises(SourceOpenError, match="refused"):
        probe(StreamConfig(source=f"rtsp://127.0.0.1:{free_port()}/cam"))
