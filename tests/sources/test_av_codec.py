"""A codec, size or pixel format that changes in mid-stream: everything after it is delivered, as a new part."""

from pathlib import Path

import pytest

from streamseg.capture.continuity import Continuity
from streamseg.errors import EndOfStreamError
from streamseg.frame import SourceFrame
from streamseg.sources.av_options import AvKind
from streamseg.sources.av_source import AvSource
from tests.servers.live_servers import write_video

FRAMES = 30
SEAM = 2
"""Pictures that FFmpeg's parser drops when the codec changes."""


def part(folder: Path, codec: str, *, name: str = "", **video: object) -> bytes:
    options = {"libx265": {"x265-params": "log-level=none"}}.get(codec, {})
    path = folder / f"{name or codec}.ts"
    write_video(path, frames=FRAMES, codec=codec, options=options, size=(320, 240), **video)  # type: ignore[arg-type]
    return path.read_bytes()


def read_all(path: Path, kind: AvKind = "file") -> tuple[list[SourceFrame], str, int]:
    """Return the frames, the last words, and how many packets could not be decoded."""
    source = AvSource(str(path), kind, pace="fast")
    source.open()
    frames = []
    try:
        while True:
            frames.append(source.read())
    except EndOfStreamError as end:
        return frames, str(end), source.corrupt
    finally:
        source.close()


@pytest.mark.parametrize(
    ("first", "second", "names"),
    [
        ("libx264", "libx265", ("h264", "hevc")),
        ("libx265", "libx264", ("hevc", "h264")),
        ("libx264", "mpeg2video", ("h264", "mpeg2video")),
        ("mpeg2video", "libx265", ("mpeg2video", "hevc")),
        ("mpeg4", "libx264", ("mpeg4", "h264")),
    ],
)
def test_a_codec_that_changes(tmp_path: Path, first: str, second: str, names: tuple[str, str]) -> None:
    joint = tmp_path / "joint.ts"
    joint.write_bytes(part(tmp_path, first) + part(tmp_path, second))
    frames, end, corrupt = read_all(joint)
    assert 2 * FRAMES - SEAM - corrupt <= len(frames) <= 2 * FRAMES
    changes = [(number, frame.discontinuity) for number, frame in enumerate(frames) if frame.discontinuity]
    assert [what for _, what in changes] == [f"codec changed from {names[0]} to {names[1]}"]
    assert FRAMES - SEAM - corrupt <= changes[0][0] <= FRAMES
    assert "end of the video" in end


def test_a_codec_that_changes_twice_in_hls(tmp_path: Path) -> None:
    for codec in ("libx264", "libx265"):
        part(tmp_path, codec)
    segments = "\n#EXT-X-DISCONTINUITY\n".join(f"#EXTINF:1.2,\n{name}.ts" for name in ("libx264", "libx265", "libx264"))
    playlist = tmp_path / "vod.m3u8"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-PLAYLIST-TYPE:VOD\n{segments}\n#EXT-X-ENDLIST\n")
    frames, end, corrupt = read_all(playlist, "hls")
    assert 3 * FRAMES - 2 * SEAM - corrupt <= len(frames) <= 3 * FRAMES
    assert len([frame for frame in frames if frame.discontinuity]) == 2
    assert "end of the video" in end  # and not "its last seconds are missing", though each part starts at 0


def test_a_size_and_a_pixel_format_that_change(tmp_path: Path) -> None:
    joint = tmp_path / "joint.ts"
    small = write_video(tmp_path / "small.ts", frames=FRAMES, size=(160, 90), pixel_format="yuv444p").read_bytes()
    joint.write_bytes(part(tmp_path, "libx264") + small)
    frames, _, _ = read_all(joint)
    assert len(frames) >= 2 * FRAMES - SEAM
    continuity = Continuity(live=False)
    breaks = [why for frame in frames if (why := continuity.break_before(frame))]
    assert breaks == ["size changed from 320x240 to 160x90"]


def test_a_change_of_codec_is_a_discontinuity(tmp_path: Path) -> None:
    joint = tmp_path / "joint.ts"
    joint.write_bytes(part(tmp_path, "libx264") + part(tmp_path, "libx265"))
    frames, _, _ = read_all(joint)
    continuity = Continuity(live=False)
    breaks = [why for frame in frames if (why := continuity.break_before(frame))]
    assert breaks[0] == "codec changed from h264 to hevc"  # then the time stamps start over


def test_a_second_video_stream_that_starts_late_is_reported(tmp_path: Path) -> None:
    noisy = {"codec": "mpeg2video", "pixel_format": "yuv420p", "options": {"b": "60000000", "g": "1", "minrate": "60M"}}
    first = write_video(tmp_path / "first.ts", frames=FRAMES, codec="mpeg2video", size=(320, 240))
    second = write_video(
        tmp_path / "second.ts", frames=100, size=(1280, 720), container_options={"mpegts_start_pid": "300"}, **noisy
    )  # type: ignore[arg-type]
    joint = tmp_path / "joint.ts"
    joint.write_bytes(first.read_bytes() + second.read_bytes())
    assert second.stat().st_size > 5_000_000
    frames, end, _ = read_all(joint)
    assert len(frames) >= FRAMES - 1
    assert "MB hold nothing of this video stream" in end
