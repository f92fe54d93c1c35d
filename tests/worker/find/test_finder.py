"""``find`` with the tracker of colors, whose candidates are exact: what it finds, keeps, and retires."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bench.find_score import FindScore
from bench.scene_run import FPS, SceneRun
from streamseg.config.schema import AreaConfig, FindConfig
from streamseg.errors import FrameExpiredError
from streamseg.ipc.commands import Command
from streamseg.ipc.saved_prompts import SavedObject
from streamseg.protocol.arguments import Rle
from streamseg.protocol.mask_codec import decode_frame_rle
from streamseg.sources.scene.source import Scene
from streamseg.tracker.simple.color import ColorTracker
from streamseg.tracker.types import Prompt
from streamseg.worker.command_handlers import handle_command
from streamseg.worker.inheritance import Inheritance, read_snapshot
from streamseg.worker.snapshots import Snapshots
from streamseg.worker.spec import SnapshotSpec
from streamseg.worker.tracked_stream import TrackedStream

STILL = Scene("scene:simple?size=320x180")
TRUTH = STILL.truth(0)


def run(find: FindConfig | None = None, scene: Scene = STILL, **config: Any) -> SceneRun:
    return SceneRun(scene, ColorTracker(), find or FindConfig(every_s=1.0), config)


def ask(stream: TrackedStream, op: str, **args: Any) -> Any:
    outcome = handle_command(Command(1, op, "cam", msgspec.json.encode(args)), {"cam": stream})
    if outcome.error is not None:
        return outcome.error
    return msgspec.json.decode(outcome.result)


def origins(stage: SceneRun) -> dict[int, str]:
    return {obj_id: obj.origin for obj_id, obj in stage.stream.objects.table.objects.items()}


def test_visitors_are_found_within_two_looks_once_each_and_are_given_up_when_they_are_gone():
    stage = run(scene=Scene("scene:visit?size=320x180"))
    frames = range(0, 450, 2)
    score = FindScore.of(stage.find.every_s, frames.step, FPS)
    for n in frames:
        stage.feed(n)
        score.add(n, stage.scene.truth(n), stage.masks(), stage.ids())
    assert len(score.visits) >= 6
    assert score.recall(frames.stop) == 1.0
    assert score.duplicates == score.switches == score.ghost_frames == score.late_deaths == 0
    kinds = stage.kinds()
    assert kinds["object_found"] == kinds["object_added"] == len(score.visits)
    assert kinds["object_retired"] == kinds["object_removed"] >= 2
    counts = stage.stream.finder.counts()
    assert counts is not None
    assert (counts.found, counts.retired) == (kinds["object_found"], kinds["object_retired"])
    assert frames.stop / FPS <= counts.looks <= 3 * frames.stop / FPS


def test_an_object_is_confirmed_by_several_sightings():
    stage = run(FindConfig(every_s=2.0, confirm=3))
    for n in range(5):
        stage.feed(n)
    assert not stage.stream.objects.table.objects
    for n in range(5, 8):
        stage.feed(n)
    assert set(origins(stage).values()) == {"auto"}
    assert len(origins(stage)) == 3


def test_nothing_is_found_unless_it_is_asked_for():
    stage = run(FindConfig(enabled=False))
    for n in range(10):
        stage.feed(n)
    assert not stage.events
    assert stage.stream.finder.counts() is None


def test_areas_and_the_limit_are_respected():
    half = AreaConfig(polygon=((0, 0), (0.5, 0), (0.5, 1), (0, 1)), coords="normalized")
    centers = [np.nonzero(mask)[1].mean() / 320 for mask in TRUTH.values()]
    left = sum(center < 0.45 for center in centers)
    for find, expected in (
        (FindConfig(confirm=1, region=(half,)), left + sum(0.45 <= center < 0.5 for center in centers)),
        (FindConfig(confirm=1, max_objects=1), 1),
    ):
        stage = run(find)
        stage.feed(0)
        assert len(origins(stage)) == expected
    whole = AreaConfig(polygon=((0, 0), (1, 0), (1, 1), (0, 1)), coords="normalized")
    stage = run(FindConfig(confirm=1, ignore=(whole,)))
    stage.feed(0)
    assert not origins(stage)


def test_what_a_user_prompted_is_not_found_again_and_never_retired():
    stage = run(FindConfig(confirm=1, every_s=0.5), scene=Scene("scene:visit?size=320x180"), lost_after_s=0.5)
    stage.feed(0)
    found = set(origins(stage))
    assert found
    mine = min(found)
    assert ask(stage.stream, "label_object", object_id=mine, label="mine") == {}
    assert origins(stage)[mine] == "user"
    for n in range(1, 420, 3):
        stage.feed(n)
    assert origins(stage)[mine] == "user"
    assert mine not in {event.obj_id for event in stage.events if event.kind == "object_retired"}
    assert found - {mine} <= {event.obj_id for event in stage.events if event.kind == "object_retired"}


def test_a_correction_makes_a_found_object_the_users_and_undo_gives_it_back():
    stage = run(FindConfig(confirm=1))
    stage.feed(0)
    x, y, w, h = stage.stream.latest.results[1].roi  # type: ignore[union-attr]
    ask(stage.stream, "add_prompt", object_id=1, points=[[x + w / 2, y + h / 2]], coords="pixels")
    assert origins(stage)[1] == "user"
    ask(stage.stream, "undo")
    assert origins(stage)[1] == "auto"


def test_what_a_user_removes_is_not_found_again_until_a_reset():
    stage = run(FindConfig(confirm=1, every_s=0.2))
    stage.feed(0)
    before = set(origins(stage))
    ask(stage.stream, "remove_object", object_id=min(before))
    for n in range(1, 30):
        stage.feed(n)
    assert set(origins(stage)) == before - {min(before)}
    ask(stage.stream, "reset")
    for n in range(30, 40):
        stage.feed(n)
    assert len(origins(stage)) == len(before)
    assert not before & set(origins(stage))


def test_set_prompts_leaves_found_objects_alone():
    stage = run(FindConfig(confirm=1))
    stage.feed(0)
    result = ask(stage.stream, "set_prompts", prompts=[])
    assert result["removed"] == []
    assert len(origins(stage)) == 3


def test_a_client_switches_it_on_and_off_until_the_configuration_changes():
    stage = run(FindConfig(enabled=False))
    stage.feed(0)
    answer = ask(stage.stream, "set_find", enabled=True, settings={"confirm": 1, "every_s": 0.5})
    assert answer["enabled"] is True
    assert answer["settings"]["confirm"] == 1
    stage.feed(1)
    assert len(origins(stage)) == 3
    assert ask(stage.stream, "list")["streams"][0]["finding"] is True
    saved = stage.stream.take_saved()
    assert saved is not None
    left = Inheritance(saved)
    again = TrackedStream("cam", stage.stream.config, ColorTracker(), left=left)
    assert again.finder.config.enabled
    other = msgspec.structs.replace(stage.stream.config, find=FindConfig(enabled=False, every_s=5))
    assert not TrackedStream("cam", other, ColorTracker(), left=left).finder.config.enabled
    ask(stage.stream, "set_find", enabled=False)
    assert not stage.stream.finder.config.enabled
    assert len(origins(stage)) == 3


@pytest.mark.parametrize("enabled", [True, False])
def test_settings_alone_switch_nothing_on_or_off(enabled: bool):
    stage = run(FindConfig(enabled=enabled))
    answer = ask(stage.stream, "set_find", settings={"every_s": 5.0})
    assert (answer["enabled"], answer["settings"]["every_s"]) == (enabled, 5.0)
    assert stage.stream.finder.config == FindConfig(enabled=enabled, every_s=5.0)
    assert ask(stage.stream, "set_find", settings={"enabled": not enabled})["enabled"] is not enabled
    assert ask(stage.stream, "set_find", settings={"enabled": not enabled}, enabled=enabled)["enabled"] is enabled


def test_bad_settings_are_refused_with_their_name():
    stage = run()
    error = ask(stage.stream, "set_find", settings={"evry_s": 1})
    assert error.code == "BAD_CONFIG"
    assert "did you mean every_s?" in error.message
    assert "min_area" in ask(stage.stream, "set_find", settings={"min_area": 0.5}).message


@pytest.mark.parametrize("policy", ["keep", "reset", "reprompt"])
def test_without_memory_found_objects_are_dropped_and_found_again(policy: str):
    stage = run(FindConfig(confirm=1), on_discontinuity=policy)
    stage.feed(0)
    saved = stage.stream.take_saved()
    assert saved is not None
    stage.stream = TrackedStream(
        "cam", stage.stream.config, ColorTracker(), left=Inheritance(saved, memory_lost=True), max_objects=8
    )
    stage.tracker = stage.stream._tracker
    stage.feed(1)
    assert sorted(origins(stage)) == [4, 5, 6]


def test_objects_keep_their_origin_when_a_new_worker_goes_on_from_a_snapshot(tmp_path: Path):
    stage = run(FindConfig(confirm=1, every_s=1.0))
    stage.feed(0)
    ask(stage.stream, "label_object", object_id=1, label="mine")
    before = {1: "user", 2: "auto", 3: "auto"}
    assert origins(stage) == before
    spec = SnapshotSpec(tmp_path, every_s=0.0, session="s")
    snapshots = Snapshots(spec, stage.tracker)
    snapshots._not_before = 0.0
    snapshots.changed("cam")
    snapshots.take_due({"cam": stage.stream})
    snapshots.close()
    saved, config, tracker = stage.stream.take_saved(), stage.stream.config, ColorTracker()
    assert saved is not None
    snapshot, reason = read_snapshot(spec.folder, "cam", config, tracker.memory_format, 3600)
    assert snapshot is not None, reason
    stage.tracker, left = tracker, Inheritance(saved, memory_lost=True, snapshot=snapshot, session="s")
    stage.stream = TrackedStream("cam", config, tracker, left=left, max_objects=8)
    stage.events.clear()
    for n in range(1, 40):
        stage.feed(n)
    assert origins(stage) == before
    assert {obj["id"]: obj["origin"] for obj in ask(stage.stream, "list")["streams"][0]["objects"]} == before
    assert [event.kind for event in stage.events] == ["restored"]


def test_a_pause_drops_the_look_that_is_under_way():
    stage = run(FindConfig(confirm=1))
    stage.track(0)
    assert stage.stream.finder.has_work
    stage.stream.pause(True)
    assert not stage.stream.finder.has_work


def test_a_slow_look_finds_all_on_its_frame_and_releases_it():
    tracker = ColorTracker(history_frames=2)
    stage = SceneRun(STILL, tracker, FindConfig(confirm=1, every_s=2))
    stage.track(0)
    stage.stream.finder.work()  # of frame 0, which newer frames push out before the next turn
    for n in range(1, 8):
        stage.track(n)
    stage.look()
    assert len(origins(stage)) == 3
    assert stage.stream.finder.counts().expired == 0  # type: ignore[union-attr]
    with pytest.raises(FrameExpiredError):
        tracker.preview("cam", Prompt(9, mask=TRUTH[1]), 0, fresh=True)


def test_a_tracker_that_fails_ends_only_the_look(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    stage = run(FindConfig(confirm=1, every_s=0.5))

    def broken(*_args: object) -> list[object]:
        raise RuntimeError("out of order")

    monkeypatch.setattr(stage.tracker, "_candidates", broken)
    stage.feed(0)
    assert stage.stream.finder.counts().failed == 1  # type: ignore[union-attr]
    for n in range(15, 15 * 9, 15):
        stage.feed(n)
    assert stage.stream.finder.counts().failed == 9  # type: ignore[union-attr]
    reported = [record.message for record in caplog.records if "a look for objects failed" in record.message]
    assert [message.rpartition(", ")[2] for message in reported] == [f"{n} so far" for n in (1, 2, 4, 8)]
    monkeypatch.undo()
    for n in range(15 * 9, 15 * 9 + 20):
        stage.feed(n)
    assert len(origins(stage)) == 3


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def shown_twice(stage: SceneRun) -> list[tuple[int, int]]:
    masks = stage.masks()
    return [(one, two) for one in masks for two in masks if one < two and overlap(masks[one], masks[two]) > 0.5]


def box_of(mask: np.ndarray) -> list[int]:
    rows, columns = np.nonzero(mask)
    return [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]


@pytest.mark.parametrize("confirm", [1, 2])
def test_a_look_that_gets_its_first_turn_late_is_about_the_frame_of_that_turn(confirm: int):
    stage = run(FindConfig(confirm=confirm, every_s=2.0))
    late = 0
    for looks in range(confirm):
        for n in range(late, 12 * (looks + 1) + 1):
            stage.track(n)
        late = 12 * (looks + 1)
        stage.look()
    assert late > 0
    found = [event for event in stage.events if event.kind == "object_found"]
    assert [event.detail for event in found] == [f"on frame {late}"] * 3
    masks = stage.masks()
    for obj in stage.stream.objects.table.objects.values():
        assert max(overlap(masks[obj.obj_id], truth) for truth in STILL.truth(late).values()) > 0.95
        prompted = full_mask(obj)
        assert max(overlap(prompted, truth) for truth in STILL.truth(late).values()) > 0.99


def full_mask(obj: SavedObject) -> np.ndarray:
    mask = obj.prompts[0].mask
    assert isinstance(mask, Rle)
    return decode_frame_rle(mask, (320, 180))


@pytest.mark.parametrize("later", [0, 8])
@pytest.mark.parametrize("how", ["add_prompt", "set_prompts"])
def test_what_a_user_adds_during_a_look_is_not_found(how: str, later: int):
    stage = run(FindConfig(confirm=1, every_s=100.0))
    stage.track(0)
    stage.stream.finder.work()  # the masks that the look compares with are taken
    for n in range(1, later + 1):  # and objects move on
        stage.track(n)
    box = box_of(STILL.truth(later)[1])
    if how == "add_prompt":
        assert ask(stage.stream, how, box=box, coords="pixels")["new"]
    else:
        prompt = {"object_id": 1, "box": box, "coords": "pixels"}
        assert ask(stage.stream, how, prompts=[prompt])["prompted"] == [1]
        assert not stage.stream.finder.has_work  # until the object has a mask
        stage.look()
        stage.track(later + 1)
    stage.look()
    assert not shown_twice(stage)
    assert origins(stage) == {1: "user", 2: "auto", 3: "auto"}


def test_what_a_user_brings_back_during_a_look_is_not_found():
    stage = run(FindConfig(confirm=1, every_s=0.1, max_objects=8))
    stage.track(0)
    ask(stage.stream, "add_prompt", box=box_of(TRUTH[1]), coords="pixels")
    stage.look()
    ask(stage.stream, "remove_object", object_id=1)
    for n in range(1, 5):
        stage.track(n)
    stage.stream.finder.work()  # the look does not know it
    ask(stage.stream, "undo")
    stage.look()
    assert not shown_twice(stage)
    assert origins(stage)[1] == "user"
    assert len(origins(stage)) == 3


def test_an_object_that_is_not_accepted_leaves_nothing_behind():
    stage = run(FindConfig(enabled=False))
    stage.track(0)
    stage.stream.take_events()
    objects = stage.stream.objects
    assert objects.start_found(TRUTH[1], 0, label="", origin="auto", accept=lambda _current: False) is None
    assert not objects.table.objects
    assert not stage.stream.take_events()
    stage.track(1)
    assert not stage.masks()
    assert objects.start_found(STILL.truth(1)[1], 1, label="", origin="auto") == 1
