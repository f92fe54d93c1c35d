"""A new worker continues the objects of the one before from a snapshot. With nano."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from streamseg.config.schema import StreamConfig
from streamseg.ipc.saved_prompts import SavedObject, SavedPrompt, SavedStream
from streamseg.state.stream_snapshot import MAX_BYTES, StreamSnapshot, decode_snapshot, encode_snapshot
from streamseg.tracker.simple.echo import EchoTracker
from streamseg.tracker.stream_memory import to_array, to_tensor
from streamseg.tracker.types import StreamMemory
from streamseg.worker.inheritance import Inheritance, read_snapshot
from streamseg.worker.snapshots import Snapshots
from streamseg.worker.spec import SnapshotSpec
from streamseg.worker.track_frames import track_frames
from streamseg.worker.tracked_stream import TrackedStream
from tests.tracker.lost_leaf import LEAF, OBJ, PAD, SCENE, frame, nano

CONFIG = StreamConfig(source="scene:default")


class Worker:
    """One stream of a worker, with its snapshots."""

    def __init__(self, folder: Path, saved: SavedStream | None = None, session: str = "s", **config: object) -> None:
        self.tracker = nano(image_size=128)
        self.spec = SnapshotSpec(folder, every_s=0.0, session=session)
        self.config = StreamConfig(**{"source": "scene:default", **config})
        left = None
        if saved is not None:
            found, reason = read_snapshot(self.spec.folder, "cam", self.config, self.tracker.memory_format, 3600)
            left = Inheritance(saved, True, found, reason or "no reason", session)
        self.stream = TrackedStream("cam", self.config, self.tracker, left=left, max_objects=4)
        self.streams = {"cam": self.stream}
        self.snapshots = Snapshots(self.spec, self.tracker)

    def show(self, number: int, epoch: int = 0):
        shown = replace(frame(number, SCENE.render(number)), epoch=epoch)
        (result,) = track_frames(self.tracker, self.streams, {"cam": shown})
        return {obj.obj_id: obj for obj in result.objects}

    def mark(self, number: int, obj_id: int, truth: int, label: str = "") -> None:
        x, y, width, height = SCENE.truth_box(number, truth)
        prompt = SavedPrompt(box=(x, y, x + width, y + height), coords="pixels")
        self.stream.objects.add_prompt(obj_id, label, prompt, None)

    def die(self) -> SavedStream:
        """Take a snapshot, and return what the supervisor knows."""
        self.snapshots._not_before = 0.0
        self.snapshots.changed("cam")
        self.snapshots.take_due(self.streams)
        self.snapshots.close()
        saved = self.stream.take_saved()
        assert saved is not None
        return saved


def iou(obj: object, number: int, truth: int) -> float:
    mask = SCENE.truth(number)[truth]
    x, y, w, h = obj.roi
    found = np.zeros_like(mask)
    found[y : y + h, x : x + w] = np.unpackbits(np.frombuffer(obj.bits, np.uint8).reshape(h, -1), axis=1)[:, :w]
    return float((mask & found).sum() / max((mask | found).sum(), 1))


def followed(folder: Path) -> tuple[Worker, SavedStream]:
    worker = Worker(folder)
    worker.show(0)
    worker.mark(0, OBJ, LEAF, "leaf")
    worker.mark(0, 2, PAD)
    for number in range(1, 8):
        worker.show(number)
    worker.stream.take_events()
    return worker, worker.die()


@pytest.fixture(scope="module")
def dead(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SavedStream]:
    """What a worker left behind; its folder may only be read."""
    folder = tmp_path_factory.mktemp("dead")
    return folder, followed(folder)[1]


@pytest.fixture
def saved(dead: tuple[Path, SavedStream], tmp_path: Path) -> SavedStream:
    """The same, with its snapshots copied into this test's folder."""
    shutil.copytree(dead[0], tmp_path, dirs_exist_ok=True)
    return dead[1]


def test_objects_continue_as_if_nothing_had_happened(tmp_path: Path) -> None:
    worker, saved = followed(tmp_path)
    successor = Worker(tmp_path, saved)
    for number in range(8, 12):
        wanted, found = worker.show(number), successor.show(number)
        assert [*found] == [OBJ, 2]
        for obj_id in found:
            assert found[obj_id].state == "tracked"
            assert found[obj_id].bits == wanted[obj_id].bits
            assert found[obj_id].iou_prediction == wanted[obj_id].iou_prediction
    assert found[OBJ].label == "leaf"
    (event,) = successor.stream.take_events()
    assert (event.kind, event.objects) == ("restored", [OBJ, 2])
    assert "0 frames ago" in event.detail


def suspended(folder: Path) -> tuple[Worker, SavedStream]:
    """A worker that suspended the leaf after frame 4."""
    worker = Worker(folder, overload="oldest_objects")
    worker.show(0)
    worker.mark(0, 2, PAD)
    worker.mark(0, OBJ, LEAF, "leaf")
    for number in range(1, 5):
        worker.show(number)
    worker.stream.objects.suspend(OBJ, "overload")
    for number in range(5, 8):
        worker.show(number)
    return worker, worker.die()


def test_suspended_objects_keep_their_memory_through_two_restarts(tmp_path: Path) -> None:
    worker, saved = suspended(tmp_path)
    second = Worker(tmp_path, saved, overload="oldest_objects")
    wanted, found = worker.show(8), second.show(8)
    assert {obj_id: (obj.state, obj.area > 0) for obj_id, obj in found.items()} == {
        2: ("tracked", True),
        OBJ: ("suspended", False),
    }
    assert found[2].bits == wanted[2].bits
    assert [(event.kind, event.objects) for event in second.stream.take_events()] == [("restored", [2, OBJ])]
    second.stream.objects.table.changed = True
    third = Worker(tmp_path, second.die(), overload="oldest_objects")
    third.show(9)
    worker.show(9)
    for one in (worker, third):
        one.stream.objects.resume(OBJ)
    wanted, found = worker.show(10)[OBJ], third.show(10)[OBJ]
    assert (found.state, found.label) == ("tracked", "leaf")
    assert found.bits == wanted.bits
    assert iou(found, 10, LEAF) > 0.5


def test_a_restart_with_another_policy_resumes_what_was_suspended(tmp_path: Path) -> None:
    _, saved = suspended(tmp_path)
    successor = Worker(tmp_path, saved)
    found = successor.show(8)
    assert {obj_id: obj.state for obj_id, obj in found.items()} == {2: "tracked", OBJ: "tracked"}
    assert iou(found[OBJ], 8, LEAF) > 0.5
    assert [event.kind for event in successor.stream.take_events()] == ["restored", "object_resumed"]


def test_a_suspended_object_is_found_for_a_planned_restart(tmp_path: Path) -> None:
    worker, _ = suspended(tmp_path)
    saved = worker.stream.save_for_planned_restart()
    assert saved.unseen == ()
    found, truth = worker.stream.latest.results[OBJ], SCENE.truth(7)[LEAF]
    x, y, w, h = found.roi
    inside = int((truth[y : y + h, x : x + w] & found.mask).sum())
    assert inside / (found.area + int(truth.sum()) - inside) > 0.5  # where it is now, not where it was suspended
    assert all(obj.last_mask is not None for obj in saved.objects)


def test_a_gap_is_reported_and_the_object_found_again(tmp_path: Path, saved: SavedStream) -> None:
    successor = Worker(tmp_path, saved)
    found = successor.show(20)
    assert "12 frames ago" in successor.stream.take_events()[0].detail
    assert iou(found[OBJ], 20, LEAF) > 0.5


def test_corrections_after_a_restore_work_and_undo_says_what_it_cannot(tmp_path: Path, saved: SavedStream) -> None:
    successor = Worker(tmp_path, saved)
    successor.show(8)
    successor.mark(8, OBJ, LEAF)
    assert iou(successor.show(9)[OBJ], 9, LEAF) > 0.5
    assert successor.stream.objects.undo_prompt(OBJ) == 1
    assert iou(successor.show(10)[OBJ], 10, LEAF) > 0.5
    successor.stream.objects.remove(2)
    assert [*successor.show(11)] == [OBJ]


@pytest.mark.parametrize(
    ("policy", "kinds", "state"),
    [
        ("keep", ["tracker_reset", "object_lost"], "lost"),
        ("reset", ["tracker_reset", "object_removed"], None),
        ("reprompt", ["tracker_reset", "object_added"], "tracked"),
    ],
)
def test_what_has_no_memory_is_lost_unless_the_policy_says_otherwise(
    tmp_path: Path, saved: SavedStream, policy: str, kinds: list[str], state: str | None
) -> None:
    new = SavedObject(8, "late", (SavedPrompt(points=((0.5, 0.5, 1.0),)),))
    saved = replace(saved, objects=(*saved.objects, new))
    successor = Worker(tmp_path, saved, on_discontinuity=policy)
    found = successor.show(8)
    events = successor.stream.take_events()
    assert [event.kind for event in events] == ["restored", *kinds]
    assert events[1].objects == [8]
    assert [obj_id for obj_id in found if obj_id != 8] == [OBJ, 2]
    assert (found[8].state if 8 in found else None) == state
    if state == "lost":
        assert (found[8].area, found[8].label) == (0, "late")
        successor.mark(8, 8, LEAF)
        assert successor.show(9)[8].state == "tracked"
        assert successor.stream.objects.missing == set()


def test_a_lost_object_stays_lost_through_a_second_restart(tmp_path: Path, saved: SavedStream) -> None:
    new = SavedObject(8, "late", (SavedPrompt(points=((0.5, 0.5, 1.0),)),))
    second = Worker(tmp_path, replace(saved, objects=(*saved.objects, new)))
    second.show(8)
    second.stream.objects.table.changed = True
    third = Worker(tmp_path, second.die())
    found = third.show(9)
    assert {obj_id: obj.state for obj_id, obj in found.items()} == {OBJ: "tracked", 2: "tracked", 8: "lost"}


def test_an_id_that_was_given_to_another_object_is_not_restored(tmp_path: Path, saved: SavedStream) -> None:
    other = SavedObject(OBJ, "other", (SavedPrompt(points=((0.1, 0.1, 1.0),)),))
    successor = Worker(tmp_path, replace(saved, objects=(other, saved.objects[1])))
    assert {obj_id: obj.state for obj_id, obj in successor.show(8).items()} == {OBJ: "lost", 2: "tracked"}


def test_a_reconnect_during_the_gap_follows_the_policy(tmp_path: Path, saved: SavedStream) -> None:
    successor = Worker(tmp_path, saved, on_discontinuity="reset")
    assert successor.show(8, epoch=1) == {}
    assert [event.kind for event in successor.stream.take_events()][:2] == ["restored", "tracker_reset"]


def test_snapshots_that_do_not_fit_say_why(tmp_path: Path) -> None:
    worker, _ = followed(tmp_path)
    folder, memory_format = worker.spec.folder, worker.tracker.memory_format

    def reason(config: StreamConfig = CONFIG, name: str = memory_format, max_age_s: float = 3600) -> str:
        return read_snapshot(folder, "cam", config, name, max_age_s)[1]

    assert reason() == ""
    assert "of another model" in reason(name="another")
    assert "of another source" in reason(StreamConfig(source="scene:crossing"))
    data = folder.read_stream("cam", MAX_BYTES)
    assert data is not None
    old = replace(decode_snapshot(data), t_wall_ns=time.time_ns() - 100 * 10**9)
    folder.write_stream("cam", encode_snapshot(old))
    assert "is 100 s old, state.max_age_s is 50" in reason(max_age_s=50)
    folder.write_stream("cam", data[:-100])
    assert "it is damaged" in reason()
    folder.remove_stream("cam")
    assert reason() == "there is no snapshot of its memory"


def test_memory_of_another_shape_is_not_imported(tmp_path: Path) -> None:
    worker, saved = followed(tmp_path)
    data = worker.spec.folder.read_stream("cam", MAX_BYTES)
    assert data is not None
    snapshot = decode_snapshot(data)
    bad = {obj_id: {**memory, "pointers": memory["pointers"][:, :5]} for obj_id, memory in snapshot.memory.items()}
    worker.spec.folder.write_stream("cam", encode_snapshot(replace(snapshot, memory=bad)))
    successor = Worker(tmp_path, saved)
    assert {obj.state for obj in successor.show(8).values()} == {"lost"}
    assert "does not fit" in successor.stream.take_events()[0].detail


def bytes_of(snapshot: StreamSnapshot, data: bytes, *, obj_id: int) -> bytes:
    """Change a byte in the middle of an object's features, as a bad sector does."""
    changed = bytearray(data)
    features = snapshot.memory[obj_id]["features"].tobytes()
    changed[data.index(features) + len(features) // 2] ^= 0x01
    return bytes(changed)


def without_pointers(snapshot: StreamSnapshot, _data: bytes, *, obj_id: int) -> bytes:
    memory = {name: array for name, array in snapshot.memory[obj_id].items() if name != "pointers"}
    return encode_snapshot(replace(snapshot, memory={**snapshot.memory, obj_id: memory}))


def infinite_features(snapshot: StreamSnapshot, _data: bytes, *, obj_id: int) -> bytes:
    memory = dict(snapshot.memory[obj_id])
    memory["features"] = to_array(torch.full_like(to_tensor(memory["features"]), torch.inf))
    return encode_snapshot(replace(snapshot, memory={**snapshot.memory, obj_id: memory}))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (bytes_of, "it is damaged: BadZipFile: Bad CRC-32"),
        (without_pointers, "it does not fit: KeyError: 'pointers"),
        (infinite_features, "it is damaged: features holds NaN"),
    ],
)
@pytest.mark.parametrize(("bad", "good"), [(OBJ, 2), (2, OBJ)])
def test_damage_costs_the_damaged_object_alone(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[..., bytes],
    words: str,
    bad: int,
    good: int,
) -> None:
    worker, saved = followed(tmp_path)
    folder = worker.spec.folder
    data = folder.read_stream("cam", MAX_BYTES)
    assert data is not None
    folder.write_stream("cam", damage(decode_snapshot(data), data, obj_id=bad))
    successor = Worker(tmp_path, saved)
    wanted, found = worker.show(8), successor.show(8)
    assert {obj_id: obj.state for obj_id, obj in found.items()} == {good: "tracked", bad: "lost"}
    assert found[good].bits == wanted[good].bits
    assert (found[bad].area, found[OBJ].label) == (0, "leaf")
    restored, reset, lost = successor.stream.take_events()
    assert (restored.kind, restored.objects) == ("restored", [good])
    assert (reset.kind, reset.objects) == ("tracker_reset", [bad])
    assert f"memory of object {bad} is not used: {words}" in reset.detail
    assert (lost.kind, lost.obj_id, lost.label) == ("object_lost", bad, found[bad].label)
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert record.message == f"stream cam: {reset.detail}"
    successor.mark(8, bad, LEAF if bad == OBJ else PAD)
    assert {obj_id: obj.state for obj_id, obj in successor.show(9).items()} == {OBJ: "tracked", 2: "tracked"}
    third = Worker(tmp_path, successor.die())
    assert {obj_id: obj.state for obj_id, obj in third.show(10).items()} == {OBJ: "tracked", 2: "tracked"}


def test_a_damaged_object_that_was_suspended_is_lost(tmp_path: Path) -> None:
    worker, saved = suspended(tmp_path)
    folder = worker.spec.folder
    data = folder.read_stream("cam", MAX_BYTES)
    assert data is not None
    for damage in (bytes_of, infinite_features):
        folder.write_stream("cam", damage(decode_snapshot(data), data, obj_id=OBJ))
        successor = Worker(tmp_path, saved, overload="oldest_objects")
        assert {obj_id: obj.state for obj_id, obj in successor.show(8).items()} == {2: "tracked", OBJ: "lost"}
        assert successor.stream.objects.suspended == ()


def test_a_prompt_is_saved_at_once_though_copies_are_slow(tmp_path: Path) -> None:
    worker = Worker(tmp_path)
    worker.show(0)
    worker.mark(0, OBJ, LEAF)
    worker.snapshots._not_before = float("inf")  # as after a copy that took minutes
    worker.snapshots.save_prompted("cam", worker.stream)
    assert [*read_snapshot(worker.spec.folder, "cam", CONFIG, worker.tracker.memory_format, 60)[0].memory] == [OBJ]
    worker.show(1)
    worker.snapshots._not_before = float("inf")
    worker.snapshots.take_due(worker.streams)
    assert read_snapshot(worker.spec.folder, "cam", CONFIG, worker.tracker.memory_format, 60)[0].frame_id == 0
    worker.mark(1, 2, PAD)
    worker.snapshots.take_due(worker.streams)
    worker.snapshots.close()
    saved = worker.stream.take_saved()
    assert saved is not None
    found = Worker(tmp_path, saved).show(2)
    assert {obj_id: obj.state for obj_id, obj in found.items()} == {OBJ: "tracked", 2: "tracked"}


def test_a_stream_without_objects_leaves_no_snapshot(tmp_path: Path) -> None:
    worker, _ = followed(tmp_path)
    assert worker.spec.folder.streams()
    worker.snapshots = Snapshots(worker.spec, worker.tracker)
    worker.stream.reset("requested")
    worker.die()
    assert worker.spec.folder.streams() == {}


def test_a_stream_that_stands_still_is_not_written_again(tmp_path: Path) -> None:
    worker = Worker(tmp_path)
    worker.show(0)
    worker.mark(0, OBJ, LEAF)
    taken: list[str] = []
    worker.snapshots._take = lambda name, _tracked: taken.append(name)
    for _ in range(3):
        worker.snapshots._not_before = 0.0
        worker.snapshots.take_due(worker.streams)
    assert taken == ["cam"]
    worker.show(1)
    worker.snapshots._not_before = 0.0
    worker.snapshots.take_due(worker.streams)
    worker.snapshots.changed("cam")
    worker.snapshots._not_before = 0.0
    worker.snapshots.take_due(worker.streams)
    assert taken == ["cam"] * 3
    worker.snapshots.close()


def snapshots_of(tmp_path: Path, tracker: EchoTracker) -> tuple[Snapshots, dict[str, TrackedStream]]:
    streams = {name: TrackedStream(name, CONFIG, tracker) for name in ("a", "b", "c")}
    for number, name in enumerate(streams):
        list(track_frames(tracker, streams, {name: frame(number, SCENE.render(0))}))
        streams[name].objects.add_prompt(1, "", SavedPrompt(points=((0.5, 0.5, 1.0),)), None)
    return Snapshots(SnapshotSpec(tmp_path, every_s=0.0), tracker), streams


def test_no_stream_starves_and_a_prompted_one_goes_first(tmp_path: Path) -> None:
    tracker = EchoTracker()
    snapshots, streams = snapshots_of(tmp_path, tracker)
    taken: list[str] = []
    snapshots._take = lambda name, _tracked: taken.append(name)
    for turn in range(6):
        for name in streams:
            list(track_frames(tracker, streams, {name: frame(10 + turn, SCENE.render(0))}))
        if turn == 4:
            snapshots.changed("c")
        snapshots._not_before = 0.0
        snapshots.take_due(streams)
    assert taken == ["a", "b", "c", "a", "c", "b"]
    snapshots.close()


def test_a_snapshot_that_fails_is_counted_and_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(EchoTracker):
        def export_memory(self, stream: str, aside: Iterable[int] = ()) -> StreamMemory:
            raise RuntimeError("out of memory")

    snapshots, streams = snapshots_of(tmp_path, Broken())
    for _ in range(2):
        snapshots.changed("a")
        snapshots._not_before = 0.0
        snapshots.take_due(streams)
    snapshots.take_all(streams)
    snapshots.close()
    assert snapshots.failed == {"a": 3, "b": 1, "c": 1}
    assert [record.message.split(":")[0] for record in caplog.records] == ["stream a", "stream b", "stream c"]


def test_an_object_removed_before_the_first_frame_is_not_reported_as_restored(
    tmp_path: Path, saved: SavedStream
) -> None:
    successor = Worker(tmp_path, saved)
    successor.stream.objects.remove(2)
    assert [*successor.show(8)] == [OBJ]
    events = [(event.kind, event.objects) for event in successor.stream.take_events()]
    assert events == [("object_removed", None), ("restored", [OBJ])]


def test_corrections_never_push_out_the_prompt_that_started_the_object_again() -> None:
    obj = SavedObject(1, "", (SavedPrompt(points=((0.0, 0.0, 1.0),)),))
    obj = obj.corrected(SavedPrompt(points=((0.5, 0.5, 1.0),), restarts=True))
    for number in range(30):
        obj = obj.corrected(SavedPrompt(points=((0.1, number / 30, 1.0),)))
    assert len(obj.prompts) == 16
    assert obj.start_prompts == obj.prompts[1:]
    assert obj.prompts[1].restarts


def test_the_confidence_continues_with_what_it_remembers(tmp_path: Path) -> None:
    first = Worker(tmp_path)
    first.show(0)
    first.mark(0, OBJ, LEAF)
    for number in range(1, 5):
        first.show(number)
    second = Worker(tmp_path, first.die())
    for number in range(5, 8):
        undisturbed, restored = first.show(number)[OBJ], second.show(number)[OBJ]
        assert undisturbed.confidence is not None
        assert restored.confidence == pytest.approx(undisturbed.confidence, abs=1e-5)


def test_snapshots_that_cannot_be_written_are_counted(tmp_path: Path) -> None:
    (tmp_path / "no folder").touch()
    worker = Worker(tmp_path / "no folder")
    worker.show(0)
    worker.mark(0, OBJ, LEAF)
    worker.die()
    assert worker.snapshots.failed["cam"] == 1
