"""A codec, size or pixel format that changes in mid-stream: everything after it is delivered, as a new part."""

import functools
import tempfile
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


NAMES = {"libx264": "h264", "libx265": "hevc", "mpeg2video": "mpeg2video", "mpeg4": "mpeg4"}


@functools.cache
def part(codec: str, *, frames: int = FRAMES, size: tuple[int, int] = (320, 240)) -> bytes:
    options = {"libx265": {"x265-params": "log-level=none"}}.get(codec, {})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{codec}.ts"
        return write_video(path, frames=frames, codec=codec, options=options, size=size).read_bytes()


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
def test_a_change_of_codec_loses_no_picture_beyond_the_seam(
    tmp_path: Path, first: str, second: str, names: tuple[str, str]
) -> None:
    joint = tmp_path / "joint.ts"
    joint.write_bytes(part(first) + part(second))
    frames, end, corrupt = read_all(joint)
    assert 2 * FRAMES - SEAM - corrupt <= len(frames) <= 2 * FRAMES
    changes = [(number, frame.discontinuity) for number, frame in enumerate(frames) if frame.discontinuity]
    assert [what for _, what in changes] == [f"codec changed from {names[0]} to {names[1]}"]
    assert FRAMES - SEAM - corrupt <= changes[0][0] <= FRAMES
    assert "end of the video" in end


@pytest.mark.parametrize(
    "codecs",
    [
        ("libx264", "libx265", "libx264"),
        ("mpeg2video", "libx265", "mpeg2video"),
        ("libx264", "mpeg4", "libx265"),
        ("mpeg4", "libx264", "mpeg2video"),
        ("mpeg4", "mpeg2video", "mpeg4"),
    ],
)
@pytest.mark.parametrize(("frames", "size"), [(15, (64, 48)), (FRAMES, (320, 240))], ids=["few KB", "100 KB"])
def test_three_codecs_within_the_read_ahead_are_all_delivered(
    tmp_path: Path, codecs: tuple[str, ...], frames: int, size: tuple[int, int]
) -> None:
    joint = tmp_path / "joint.ts"
    joint.write_bytes(b"".join(part(codec, frames=frames, size=size) for codec in codecs))
    pictures, end, corrupt = read_all(joint)
    assert 3 * frames - 2 * SEAM <= len(pictures) <= 3 * frames
    changes = [picture.discontinuity for picture in pictures if picture.discontinuity]
    first, second, third = (NAMES[codec] for codec in codecs)
    assert changes == [f"codec changed from {first} to {second}", f"codec changed from {second} to {third}"]
    assert "its codec changes 2 times, and the last pictures before that may be missing" in end
    assert corrupt >= 1  # a picture of which one half was read with each part


def test_a_cut_codec_that_changes_is_counted(tmp_path: Path) -> None:
    """The second part begins in the middle of a group of pictures, so nothing can be decoded until the next one."""
    second = part("mpeg2video")
    head, packets = second[: 3 * 188], [second[at : at + 188] for at in range(0, len(second), 188)]
    starts = [at for at, packet in enumerate(packets) if packet[1] & 0x40 and packet[1] & 0x1F == 1 and packet[2] == 0]
    joint = tmp_path / "joint.ts"
    joint.write_bytes(part("libx264") + head + b"".join(packets[starts[3] :]))
    pictures, end, corrupt = read_all(joint)
    missing = 2 * FRAMES - 3 - len(pictures)
    assert 5 <= missing <= corrupt + 2 * SEAM
    assert f"{corrupt} damaged packets" in end


def test_two_changes_of_codec_in_hls_are_followed(tmp_path: Path) -> None:
    for codec in ("libx264", "libx265"):
        (tmp_path / f"{codec}.ts").write_bytes(part(codec))
    segments = "\n#EXT-X-DISCONTINUITY\n".join(f"#EXTINF:1.2,\n{name}.ts" for name in ("libx264", "libx265", "libx264"))
    playlist = tmp_path / "vod.m3u8"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-PLAYLIST-TYPE:VOD\n{segments}\n#EXT-X-ENDLIST\n")
    frames, end, corrupt = read_all(playlist, "hls")
    assert 3 * FRAMES - 2 * SEAM - corrupt <= len(frames) <= 3 * FRAMES
    assert len([frame for frame in frames if frame.discontinuity]) == 2
    assert "end of the video" in end  # and not "its last seconds are missing", though each part starts at 0


def test_changes_of_size_and_pixel_format_are_delivered(tmp_path: Path) -> None:
    joint = tmp_path / "joint.ts"
    small = write_video(tmp_path / "small.ts", frames=FRAMES, size=(160, 90), pixel_format="yuv444p").read_bytes()
    joint.write_bytes(part("libx264") + small)
    frames, _, _ = read_all(joint)
    assert len(frames) >= 2 * FRAMES - SEAM
    continuity = Continuity(live=False)
    breaks = [why for frame in frames if (why := continuity.break_before(frame))]
    assert breaks == ["size changed from 320x240 to 160x90"]


def test_a_change_of_codec_is_a_discontinuity(tmp_path: Path) -> None:
    joint = tmp_path / "joint.ts"
    joint.write_bytes(part("libx264") + part("libx265"))
    frames, _, _ = read_all(joint)
    continuity = Continuity(live=False)
    breaks = [why for frame in frames if (why := continuity.break_before(frame))]
    assert breaks[0] == "codec changed from h264 to hevc"  # then the time stamps start over


@pytest.mark.parametrize("quantizer", [8, 10, 15])
def test_slices_of_mpeg2_are_not_taken_for_another_codec(tmp_path: Path, quantizer: int) -> None:
    """With 624 lines and more a slice has the start code of H.264's parameters, and the quantizer is the profile."""
    mpeg2 = write_video(
        tmp_path / "mpeg2.ts",
        frames=6,
        size=(640, 720),
        codec="mpeg2video",
        options={"qmin": str(quantizer), "qmax": str(quantizer), "b": "20000000", "g": "3"},
    )
    frames, _, corrupt = read_all(mpeg2)
    assert (len(frames), corrupt) == (6, 0)
    joint = tmp_path / "joint.ts"
    joint.write_bytes(part("libx264") + mpeg2.read_bytes() + part("libx265"))
    frames, _, corrupt = read_all(joint)
    changes = [frame.discontinuity for frame in frames if frame.discontinuity]
    assert changes == ["codec changed from h264 to mpeg2video", "codec changed from mpeg2video to hevc"]
    assert 2 * FRAMES + 6 - 2 * SEAM - corrupt <= len(frames)


def test_lengths_of_mp4_are_not_taken_for_start_codes(tmp_path: Path) -> None:
    """Pictures of 256 to 511 bytes in MP4 segments have a length that reads like a start code."""
    playlist = tmp_path / "vod.m3u8"
    write_video(
        playlist,
        frames=400,
        size=(128, 96),
        container="hls",
        container_options={"hls_segment_type": "fmp4", "hls_playlist_type": "vod"},
        options={"crf": "24", "tune": "zerolatency"},
    )
    frames, _, corrupt = read_all(playlist, "hls")
    assert (len(frames), corrupt) == (400, 0)
    assert not any(frame.discontinuity for frame in frames)


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
