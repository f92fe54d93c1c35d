"""A snapshot that crashes the worker is set aside: a real worker dies of it twice, and a third one continues."""

from __future__ import annotations

import multiprocessing
import signal
import time
from pathlib import Path

import zmq

from streamseg.config.schema import ModelConfig, PromptConfig, StreamConfig
from streamseg.ipc.messages import StreamEvent, TrackedFrame, decode
from streamseg.ring.frame_ring import FrameRing
from streamseg.state.folder import StateFolder
from streamseg.worker.restore_guard import LASTED_FRAMES, MAX_CRASHES, MAX_UNEXPLAINED, RestoreGuard
from streamseg.worker.spec import SnapshotSpec, WorkerSpec
from tests.worker.poisoned_worker import crashing
from tests.worker.test_process import frame

SPAWN = multiprocessing.get_context("spawn")


class Rig:
    """Two streams whose worker is started again and again, as the supervisor does it."""

    def __init__(self, folder: Path, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        prompt = PromptConfig(object=7, label="cup", box=(100, 100, 140, 150))
        self.rings = {name: FrameRing(policy="newest", slots=4, slot_bytes=1 << 18) for name in ("bad", "good")}
        self.writers = [ring.writer() for ring in self.rings.values()]
        self.state = StateFolder(folder / "state", durable=False)
        self.inbox = context.socket(zmq.PULL)
        self.inbox.bind(f"ipc://{folder}/internal")
        self.spec = WorkerSpec(
            ModelConfig(name="echo"),
            {name: StreamConfig(source="scene:simple", prompts=(prompt,)) for name in self.rings},
            f"ipc://{folder}/internal",
            f"ipc://{folder}/commands",
            SnapshotSpec(folder / "state", every_s=0.1),
            f"ipc://{folder}/prompters",
        )

    def run(self, until) -> tuple[list[StreamEvent | TrackedFrame], int | None]:
        """Write frames until a condition holds, or the worker has ended; return its messages and its exit code."""
        ours, theirs = SPAWN.Pipe()
        process = SPAWN.Process(target=crashing, args=(self.spec, self.rings, theirs))
        process.start()
        theirs.close()
        messages: list[StreamEvent | TrackedFrame] = []
        deadline = time.monotonic() + 60
        try:
            while process.is_alive() and not until(messages):
                assert time.monotonic() < deadline
                for writer in self.writers:
                    writer.write(frame(0))
                while self.inbox.poll(30):
                    message = decode(self.inbox.recv())
                    if isinstance(message, StreamEvent | TrackedFrame):
                        messages.append(message)
                while ours.poll():
                    ours.recv()
        except (EOFError, OSError):  # it has ended
            process.join(10)
        finally:
            code = process.exitcode
            process.kill()
            process.join(10)
            ours.close()
        return messages, code


def test_a_snapshot_that_ends_the_worker_is_set_aside(tmp_path: Path) -> None:
    with zmq.Context() as context:
        rig = Rig(tmp_path, context)
        with rig.inbox:
            _, code = rig.run(lambda _messages: set(rig.state.streams()) == {"bad", "good"})
            assert code is None
            for _ in range(MAX_CRASHES):
                _, code = rig.run(lambda _messages: False)
                assert code == -signal.SIGSEGV
            messages, code = rig.run(
                lambda found: all(
                    sum(isinstance(one, TrackedFrame) and one.stream == name for one in found) > LASTED_FRAMES
                    for name in rig.rings
                )
            )
            assert code is None
        for ring in rig.rings.values():
            ring.close()
    events = {one.kind: one for one in messages if isinstance(one, StreamEvent) and one.stream == "bad"}
    assert events["tracker_reset"].objects == [7]
    assert "the worker ended 2 times soon after it had used the snapshot" in events["tracker_reset"].detail
    assert (events["object_lost"].obj_id, events["object_lost"].label) == (7, "cup")
    assert "restored" not in events
    assert "restored" in {one.kind for one in messages if isinstance(one, StreamEvent) and one.stream == "good"}
    assert (rig.state.path / "bad.crashes").exists()
    assert not (rig.state.path / "good.crashes").exists()
    assert not (rig.state.path / "restoring").exists()
    assert not (rig.state.path / "bad.restores").exists()


def test_crashes_without_a_single_cause_set_all_snapshots_aside(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path / "state", durable=False)
    for _ in range(MAX_UNEXPLAINED):
        guard = RestoreGuard(folder)
        for name in ("one", "two"):
            assert guard.begin(name) == ""
            guard.opened()
        for _part in guard.parts({"one": 1, "two": 2}):
            pass
    guard = RestoreGuard(folder)
    assert all("the worker ended 3 times" in guard.begin(name) for name in ("one", "two"))


def test_two_bad_snapshots_cost_one_crash_each(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path / "state", durable=False)
    refused: list[str] = []
    for _ in range(5):
        guard = RestoreGuard(folder)
        streams = [name for name in ("a", "b", "good") if name not in refused]
        for name in streams:
            refused += [name] if guard.begin(name) else []
            guard.opened()
        for part in guard.parts(dict.fromkeys(streams)):
            if set(part) & {"a", "b"} - set(refused):
                break  # the worker ends here
    assert refused == ["a", "b"]


class Tracked:
    """As much of a stream as the guard reads."""

    tracked = LASTED_FRAMES


def test_a_worker_that_lasts_is_not_counted(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path / "state", durable=False)
    for _ in range(2 * MAX_CRASHES):
        guard = RestoreGuard(folder)
        assert guard.begin("cam") == ""
        guard.check({"cam": Tracked()})  # type: ignore[dict-item]
    for _ in range(2 * MAX_CRASHES):
        guard = RestoreGuard(folder)
        assert guard.begin("cam") == ""
        guard.close()  # stopped as it should be


def test_a_removed_stream_leaves_nothing(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path / "state", durable=False)
    folder.write_stream("cam", b"memory")
    for _ in range(MAX_CRASHES):
        assert RestoreGuard(folder).begin("cam") == ""
    guard = RestoreGuard(folder)
    assert "now cam.crashes" in guard.begin("cam")
    assert folder.streams() == {}
    guard.forget("cam")
    assert list(folder.path.iterdir()) == []


def test_a_count_that_cannot_be_kept_prevents_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    guard = RestoreGuard(StateFolder(tmp_path / "file" / "state", durable=False))
    assert guard.begin("cam") == ""
    guard.close()
