"""The capture process as the supervisor runs it: spawned, with a real ring, pipe, socket and sources."""

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.capture.capture_harness import CaptureHarness
from tests.servers.live_servers import (
    GstRtspServer,
    MjpegServer,
    Publisher,
    black_hole,
    free_port,
    serve_folder,
    write_video,
)

STOP_LIMIT_S = 0.8  # then the supervisor sends SIGTERM


@pytest.fixture
def harness() -> Iterator[Callable[..., CaptureHarness]]:
    made: list[CaptureHarness] = []

    def make(**settings: object) -> CaptureHarness:
        made.append(CaptureHarness(**settings))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.close()


Make = Callable[..., CaptureHarness]


def test_every_frame_of_a_file_reaches_a_slow_reader(harness: Make, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", frames=40)
    capture = harness(policy="every", slots=2)
    capture.start(source=str(path), pace="fast")
    # A worker that is busy: the writer has to wait for it.
    capture.wait_for(lambda: capture.ring.counters().pending == 2 and capture.reports, take=0)
    written = capture.ring.counters().frames
    capture.wait_for(lambda: len(capture.reports) >= 3, take=0)
    assert capture.ring.counters().frames == written == 2
    assert capture.has_said("progress"), "a writer that waits for its reader does not hang"

    capture.wait_for(lambda: capture.has_said("ended"))
    capture.drain()

    assert [frame.frame_id for frame in capture.frames] == [*range(40)]
    assert {frame.epoch for frame in capture.frames} == {0}
    counters = capture.ring.counters()
    assert (counters.frames, counters.dropped) == (40, 0)
    capture.wait_for(lambda: capture.state() == "ended")
    assert capture.kinds() == ["stream_connected", "stream_ended"]
    assert capture.reports[-1].size == (64, 48)
    assert capture.process.is_alive(), "it waits for the supervisor's word"
    capture.stop()


@pytest.mark.parametrize("loop", [False, True])
def test_progress_is_logged_if_the_file_has_an_end(
    harness: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str], loop: bool
) -> None:
    capture = harness(policy="every")
    capture.start(source=str(write_video(tmp_path / "a.mp4", frames=8, rate=1)), pace="live", loop=loop)
    capture.wait_for(lambda: len(capture.frames) >= 8)  # never in less than 7 s: progress is logged every 5 s
    capture.stop()
    assert ("played" in capfd.readouterr().err) is not loop


def test_each_round_of_a_looped_file_is_an_epoch(harness: Make, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", frames=6)
    capture = harness(policy="every")
    capture.start(source=str(path), pace="fast", loop=True)
    capture.wait_for(lambda: len(capture.frames) >= 20)
    capture.stop()
    assert [frame.frame_id for frame in capture.frames[:20]] == [*range(20)]
    assert [frame.epoch for frame in capture.frames[:20]] == [index // 6 for index in range(20)]


def test_a_damaged_file_is_fatal(harness: Make, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"\x07\x13not a video" * 100)
    capture = harness(policy="every")
    capture.start(source=str(path))
    capture.wait_for(lambda: capture.has_said("fatal") and capture.state() == "failed")
    (fatal,) = (report for report in capture.said if report.kind == "fatal")
    assert "not a video" in fatal.text
    assert fatal.exit_code == 4
    capture.wait_for(lambda: capture.kinds() == ["stream_failed"])
    capture.stop()


def test_size_changes_and_reconnects(harness: Make, mjpeg_server: MjpegServer) -> None:
    capture = harness()
    mjpeg_server.put(*[(160, 120)] * 4, *[(320, 240)] * 4)
    capture.start(source=mjpeg_server.url)
    capture.wait_for(lambda: capture.ring.counters().frames == 8)
    assert capture.ring.counters().epoch == 1
    mjpeg_server.parts.put(None)  # the server closes; the next connection gets what follows
    capture.wait_for(lambda: "stream_reconnecting" in capture.kinds())
    mjpeg_server.put(*[(320, 240)] * 4)
    capture.wait_for(lambda: capture.ring.counters().frames == 12)
    capture.drain()
    capture.wait_for(lambda: capture.reports[-1].frames == 12 and capture.state() == "streaming")

    assert capture.kinds() == ["stream_connected", "stream_reconnecting", "stream_connected"]
    assert [(event.epoch, event.frame_id) for event in capture.events if event.kind == "stream_connected"] == [
        (0, 0),
        (2, 8),
    ]
    report = capture.reports[-1]
    assert (report.reconnects, report.epoch, report.size, report.last_error) == (1, 2, (320, 240), "")
    for frame in capture.frames:
        assert frame.epoch == (0 if frame.frame_id < 4 else 1 if frame.frame_id < 8 else 2)
        assert frame.size == ((160, 120) if frame.epoch == 0 else (320, 240))
    # Every frame was either read or counted as dropped.
    counters = capture.ring.counters()
    assert len(capture.frames) + counters.dropped == 12
    assert len({frame.frame_id for frame in capture.frames}) == len(capture.frames)
    capture.stop()


def test_damaged_pictures_are_counted(harness: Make, mjpeg_server: MjpegServer) -> None:
    capture = harness()
    mjpeg_server.put(*[(160, 120)] * 3)
    for _ in range(4):
        mjpeg_server.parts.put(b"\xff\xd8rubbish" * 9)
    mjpeg_server.put(*[(160, 120)] * 3)
    capture.start(source=mjpeg_server.url)
    capture.wait_for(lambda: capture.reports and capture.reports[-1].drops.get("decode/corrupt") == 4)
    capture.wait_for(lambda: capture.ring.counters().frames == 6)
    capture.stop()


def test_frames_too_large_for_the_ring_are_counted(harness: Make) -> None:
    capture = harness()  # slots of 1 MiB
    capture.start(source="lavfi:testsrc2=size=1280x960:rate=20,format=yuv420p")
    capture.wait_for(lambda: capture.reports and capture.reports[-1].drops.get("ring/too_large", 0) >= 3)
    assert "the frame ring carries" in capture.reports[-1].last_error
    assert capture.ring.counters().frames == 0
    capture.stop()


def test_a_restarted_process_continues_the_frame_ids(harness: Make) -> None:
    capture = harness()
    for _ in range(2):
        capture.start(source="lavfi:testsrc2=size=64x48:rate=100")
        before = capture.ring.counters().frames
        capture.wait_for(lambda before=before: capture.ring.counters().frames >= before + 10)
        capture.process.kill()
        capture.process.join()
        capture.connection.close()
    ids = [frame.frame_id for frame in capture.frames]
    assert ids == sorted(set(ids))
    assert {frame.epoch for frame in capture.frames} == {0, 1}


def test_the_first_connection_is_retried_until_the_publisher_comes(
    harness: Make, publisher: Callable[..., Publisher], capfd: pytest.CaptureFixture[str]
) -> None:
    rest = f"viewer:hunter2@127.0.0.1:{free_port()}/live"
    capture = harness()
    capture.start(source=f"rtsp+listen://{rest}", open_timeout_s=2, stall_timeout_s=1)
    capture.wait_for(lambda: "stream_reconnecting" in capture.kinds())
    assert capture.state() == "connecting"
    assert "no answer" in capture.reports[-1].last_error

    first = publisher(f"rtsp://{rest}")
    capture.wait_for(lambda: "stream_connected" in capture.kinds())
    capture.wait_for(lambda: len(capture.frames) > 5)
    assert {frame.epoch for frame in capture.frames} == {0}

    first.kill()
    capture.wait_for(lambda: capture.state() == "reconnecting")
    second = publisher(f"rtsp://{rest}")
    capture.wait_for(lambda: capture.kinds().count("stream_connected") == 2)
    capture.wait_for(lambda: capture.frames[-1].epoch == 1)

    second.freeze()
    capture.wait_for(lambda: "no video for 1 s" in capture.reports[-1].last_error)
    assert capture.state() == "reconnecting"
    capture.stop()

    ids = [frame.frame_id for frame in capture.frames]
    assert ids == sorted(set(ids))
    everything = repr((capture.events, capture.reports, capture.said)) + "".join(capfd.readouterr())
    assert "viewer:***@" in everything, "the test would prove nothing"
    assert "hunter2" not in everything


@pytest.mark.gstreamer
def test_a_real_server_is_killed_and_returns(harness: Make, gst_server: Callable[..., GstRtspServer]) -> None:
    server = gst_server(user="viewer", password="hunter2")
    capture = harness()
    capture.start(source=server.url("viewer:hunter2@"), stall_timeout_s=2)
    capture.wait_for(lambda: len(capture.frames) > 10)
    server.kill()
    capture.wait_for(lambda: capture.state() == "reconnecting")
    gst_server(port=server.port, user="viewer", password="hunter2")
    capture.wait_for(lambda: capture.frames[-1].epoch == 1)
    capture.wait_for(lambda: capture.state() == "streaming")
    assert capture.reports[-1].reconnects == 1
    assert "hunter2" not in repr((capture.events, capture.reports, capture.said))
    capture.stop()


@pytest.mark.gstreamer
def test_wrong_credentials_are_reported_clearly(harness: Make, gst_server: Callable[..., GstRtspServer]) -> None:
    server = gst_server(user="viewer", password="hunter2")
    capture = harness()
    capture.start(source=server.url("viewer:wr0ng@"))
    capture.wait_for(lambda: "stream_reconnecting" in capture.kinds())
    assert "user name and password" in capture.events[0].detail
    assert "wr0ng" not in repr((capture.events, capture.reports, capture.said))
    assert capture.stop() < STOP_LIMIT_S, "the wait before the next try must end at once"


@pytest.mark.parametrize("where", ["opening", "waiting to reconnect", "reading", "pacing", "the ring is full", "ended"])
def test_it_ends_on_request(harness: Make, mjpeg_server: MjpegServer, tmp_path: Path, where: str) -> None:
    capture = harness(policy="every" if where in ("pacing", "the ring is full", "ended") else "newest")
    with black_hole() as hole:
        match where:
            case "opening":
                capture.start(source=f"rtsp://127.0.0.1:{hole}/cam", open_timeout_s=60)
                capture.wait_for(lambda: capture.has_said("progress"))
            case "waiting to reconnect":
                capture.start(source=f"rtsp://127.0.0.1:{free_port()}/cam")
                capture.wait_for(lambda: "stream_reconnecting" in capture.kinds())
            case "reading":
                mjpeg_server.put(*[(160, 120)] * 3)
                capture.start(source=mjpeg_server.url, stall_timeout_s=60)
                capture.wait_for(lambda: capture.state() == "streaming" and capture.has_said("progress"))
            case "pacing":
                path = write_video(tmp_path / "slow.mp4", frames=3, rate=1)
                capture.start(source=str(path))
                capture.wait_for(lambda: capture.frames)
            case "the ring is full":
                capture.start(source="lavfi:testsrc2=size=64x48:rate=100", pace="fast")
                capture.wait_for(lambda: capture.ring.counters().pending == 4, take=0)
            case "ended":
                capture.start(source=str(write_video(tmp_path / "a.mp4", frames=2)), pace="fast")
                capture.wait_for(lambda: capture.has_said("ended"))
        took = capture.stop()
    # 0.65 s here; the limit leaves room for a busy machine without hiding a wait for FFmpeg's 60 s.
    assert took < 10
    assert not capture.process.is_alive()


def test_it_ends_with_its_supervisor(harness: Make) -> None:
    capture = harness()
    capture.start(source="lavfi:testsrc2=size=64x48:rate=100")
    capture.wait_for(lambda: capture.frames)
    capture.connection.close()
    capture.process.join(30)
    assert capture.process.exitcode == 0


def test_reports_come_while_the_source_is_silent(harness: Make, mjpeg_server: MjpegServer) -> None:
    capture = harness()
    mjpeg_server.put((160, 120), (160, 120))
    capture.start(source=mjpeg_server.url, stall_timeout_s=60)
    capture.wait_for(lambda: capture.state() == "streaming")
    reports, progress = len(capture.reports), sum(report.kind == "progress" for report in capture.said)
    started = time.monotonic()
    capture.wait_for(lambda: len(capture.reports) >= reports + 3)
    assert time.monotonic() - started > 1.5, "one a second"
    assert sum(report.kind == "progress" for report in capture.said) > progress
    assert capture.reports[-1].fps == 0.0
    capture.stop()


def test_a_publisher_that_is_away_costs_no_frame(harness: Make) -> None:
    """Reports that are not read are dropped; the frames continue."""
    capture = harness()
    capture.start(source="lavfi:testsrc2=size=64x48:rate=100", pace="camera")
    capture.wait_for(lambda: capture.ring.counters().frames > 0, take=0)
    capture.publisher_dies()
    frames = capture.ring.counters().frames
    deadline = time.monotonic() + 30
    while capture.ring.counters().frames < frames + 100:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    capture.stop()


def test_every_gap_in_the_ids_is_counted(harness: Make) -> None:
    capture = harness(slots=2)
    capture.start(source="lavfi:testsrc2=size=64x48:rate=200")
    capture.wait_for(lambda: len(capture.frames) >= 50)
    capture.stop()
    capture.drain()
    ids = [frame.frame_id for frame in capture.frames]
    missing = sum(after - before - 1 for before, after in itertools.pairwise(ids)) + ids[0]
    counters = capture.ring.counters()
    assert missing == counters.superseded + counters.no_slot
    assert counters.frames == ids[-1] + 1


def test_a_file_over_http_waits_for_its_reader(harness: Make, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", frames=40)
    with serve_folder(tmp_path) as url:
        capture = harness(policy="newest", slots=2)  # the supervisor cannot know that it is a file
        capture.start(source=f"{url}/{path.name}", pace="fast")
        capture.wait_for(lambda: capture.has_said("ended"))
        capture.drain()
        assert [frame.frame_id for frame in capture.frames] == [*range(40)]
        assert capture.ring.counters().dropped == 0
        capture.stop()


def test_a_file_played_as_a_camera_drops_frames_for_a_slow_reader(harness: Make, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", frames=40)
    capture = harness(policy="newest", slots=2)
    capture.start(source=str(path), pace="camera")
    capture.wait_for(lambda: capture.has_said("ended"), take=0)
    counters = capture.ring.counters()
    assert counters.frames == 40
    assert counters.dropped >= 38, "nothing was read: all but what the slots hold was dropped, and counted"
    capture.wait_for(lambda: capture.kinds() == ["stream_connected", "stream_ended"], take=0)
    capture.stop()
