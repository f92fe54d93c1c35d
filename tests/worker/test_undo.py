"""Changes of a stream's objects are undone: the last eight, for a minute."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from streamseg.config.schema import StreamConfig
from streamseg.errors import PromptError
from streamseg.frame import Frame, FrameFormat, FrameStamps
from streamseg.ipc.commands import Command
from streamseg.ipc.saved_prompts import SavedObject, SavedPrompt
from streamseg.tracker.simple.color import ColorTracker
from streamseg.worker.command_handlers import handle_command
from streamseg.worker.track_frames import track_frames
from streamseg.worker.tracked_stream import TrackedStream
from streamseg.worker.undo import MAX_AGE_S, MAX_CHANGES, UndoStack

SIZE = (320, 180)
COLORS = {1: (220, 30, 30), 2: (30, 220, 30), 3: (30, 30, 220)}


def place(obj_id: int, number: int) -> tuple[int, int, int, int]:
    """Box of a square that moves to the right."""
    x, y = 10 + 4 * number, 10 + 50 * (obj_id - 1)
    return x, y, x + 30, y + 30


def picture(number: int) -> Frame:
    pixels = np.full((SIZE[1], SIZE[0], 3), 110, np.uint8)
    for obj_id, color in COLORS.items():
        x0, y0, x1, y1 = place(obj_id, number)
        pixels[y0:y1, x0:x1] = color
    stamps = FrameStamps(1_700_000_000_000_000_000 + number, "file", 1000, 2000, number, (1, 10))
    return Frame(number, 0, FrameFormat(*SIZE, "rgb24"), (pixels.reshape(SIZE[1], -1),), stamps)


class Stage:
    """Moving squares, tracked by their color, and a client."""

    def __init__(self, max_objects: int = 3) -> None:
        self.tracker = ColorTracker(max_objects=max_objects)
        self.stream = TrackedStream("cam", StreamConfig(source="scene:simple"), self.tracker, max_objects=max_objects)
        self.number = -1
        self.next()

    def next(self, frames: int = 1) -> dict[int, tuple[int, int, int, int]]:
        """Show frames; return what is published of the last one."""
        for _ in range(frames):
            self.number += 1
            shown = {"cam": picture(self.number)}
            (result,) = track_frames(self.tracker, {"cam": self.stream}, shown)
        return {obj.obj_id: obj.roi for obj in result.objects}

    def ask(self, op: str, **args: object):
        command = Command(number=1, op=op, stream="cam", args=msgspec.json.encode(args))
        outcome = handle_command(command, {"cam": self.stream})
        self.message = outcome.error.message if outcome.error else ""
        return outcome.error.code if outcome.error else msgspec.json.decode(outcome.result)

    def add(self, obj_id: int, **args: object):
        return self.ask("add_prompt", object_id=obj_id, box=place(obj_id, self.number), coords="pixels", **args)

    def roi(self, obj_id: int) -> tuple[int, int, int, int]:
        x0, y0, x1, y1 = place(obj_id, self.number)
        return x0, y0, x1 - x0, y1 - y0

    def events(self) -> list[tuple[str, int | None]]:
        return [(event.kind, event.obj_id) for event in self.stream.take_events()]


def test_a_removed_object_comes_back_where_it_is_now():
    stage = Stage()
    stage.add(1, label="cup")
    stage.next(3)
    stage.ask("remove_object", object_id=1)
    assert stage.next(20) == {}
    assert stage.ask("list")["streams"][0]["objects"] == []
    stage.events()
    assert stage.ask("undo") == {"op": "remove_object", "object_ids": [1], "left": 1}
    assert stage.events() == [("object_added", 1)]
    (entry,) = stage.ask("list")["streams"][0]["objects"]
    assert (entry["label"], entry["prompts"], tuple(entry["bbox"])) == ("cup", 1, stage.roi(1))
    assert stage.next() == {1: stage.roi(1)}


def test_a_reset_is_undone_as_a_whole():
    stage = Stage()
    for obj_id in (1, 2):
        stage.add(obj_id, label=str(obj_id))
    stage.ask("reset")
    assert stage.next(5) == {}
    assert stage.ask("undo")["object_ids"] == [1, 2]
    assert stage.next() == {1: stage.roi(1), 2: stage.roi(2)}
    assert [obj.label for obj in stage.stream.objects.table.objects.values()] == ["1", "2"]


def test_prompts_corrections_and_names_are_undone_in_turn():
    stage = Stage()
    stage.add(1, label="cup")
    stage.ask("label_object", object_id=1, label="mug")
    x, y, _, _ = place(1, stage.number)
    stage.ask("add_prompt", object_id=1, points=[[x + 5, y + 5]], coords="pixels")
    assert stage.ask("undo") == {"op": "add_prompt", "object_ids": [1], "left": 2}
    assert len(stage.stream.objects.table.objects[1].prompts) == 1
    assert stage.ask("undo")["op"] == "label_object"
    assert stage.stream.objects.table.objects[1].label == "cup"
    assert stage.ask("undo") == {"op": "add_prompt", "object_ids": [1], "left": 0}
    assert stage.next() == {}
    assert stage.ask("undo") == "NOTHING_TO_UNDO"
    assert "the last 8 are kept for 60 s, and none from before a restart of the worker" in stage.message


def test_a_refusal_does_not_name_an_id_unknown_to_the_client():
    stage = Stage()
    marks = ({"points": [[9000, 9000]]}, {"box": [0, 0, 9000, 9]}, {"frame": 10**6, "points": [[1, 1]]})
    for args in (*marks, {"mask": {"size": [1, 1], "counts": "1"}}):
        stage.ask("add_prompt", coords="pixels", **args)
        assert stage.message
        assert "object 1" not in stage.message
    stage.ask("add_prompt", object_id=7, coords="pixels", points=[[9000, 9000]])
    assert stage.message.startswith("object 7: ")


def test_set_prompts_is_undone():
    stage = Stage()
    stage.add(1, label="cup")
    stage.next(2)
    wanted = [{"object_id": obj_id, "box": place(obj_id, stage.number), "coords": "pixels"} for obj_id in (2, 3)]
    assert stage.ask("set_prompts", prompts=wanted, frame=stage.number)["prompted"] == [2, 3]
    assert stage.next() == {2: stage.roi(2), 3: stage.roi(3)}
    assert stage.ask("undo")["op"] == "set_prompts"
    assert stage.next() == {1: stage.roi(1)}


def test_hidden_objects_make_room():
    stage = Stage(max_objects=2)
    for obj_id in (1, 2):
        stage.add(obj_id)
    stage.ask("remove_object", object_id=1)
    assert stage.add(3)["new"]
    assert stage.next(2) == {2: stage.roi(2), 3: stage.roi(3)}
    assert stage.add(1) == "BAD_PROMPT"  # full
    stage.ask("remove_object", object_id=3)
    preview = stage.ask("add_prompt", box=place(1, stage.number), coords="pixels", preview=True)
    assert preview["area"] == 900
    assert [stage.ask("undo")["op"] for _ in range(3)] == ["remove_object", "add_prompt", "remove_object"]
    assert stage.next() == {1: stage.roi(1), 2: stage.roi(2)}


def test_a_removed_id_starts_again_when_it_is_reused():
    stage = Stage()
    stage.add(1, label="cup")
    stage.ask("remove_object", object_id=1)
    again = stage.ask("add_prompt", object_id=1, box=place(2, stage.number), coords="pixels")
    assert (again["new"], again["label"]) == (True, "")
    assert stage.next() == {1: stage.roi(2)}
    assert stage.ask("add_prompt", box=place(3, stage.number), coords="pixels")["object_id"] == 2


def test_set_prompts_starts_several_objects_on_the_frame_that_was_seen():
    stage = Stage()
    seen = stage.number
    stage.next(6)
    wanted = [{"object_id": obj_id, "box": place(obj_id, seen), "coords": "pixels"} for obj_id in (1, 2, 3)]
    result = stage.ask("set_prompts", prompts=wanted, frame=seen)
    assert (result["prompted"], result["frame"]) == ([1, 2, 3], seen)
    assert [tuple(mark["box_px"]) for mark in result["marks"]] == [place(obj_id, seen) for obj_id in (1, 2, 3)]
    assert stage.next() == {obj_id: stage.roi(obj_id) for obj_id in (1, 2, 3)}


def test_set_prompts_on_a_frame_that_is_gone():
    stage = Stage()
    stage.add(1)
    stage.next(40)
    wanted = [{"object_id": 2, "box": place(2, stage.number), "coords": "pixels"}]
    assert stage.ask("set_prompts", prompts=wanted, frame=0) == "FRAME_EXPIRED"
    assert [*stage.stream.objects.table.objects] == [1]
    assert stage.ask("set_prompts", prompts=wanted, frame=0, on_expired="newest")["frame"] == stage.number
    assert stage.ask("set_prompts", prompts=wanted, frame=stage.number + 1) == "BAD_PROMPT"
    assert stage.next() == {2: stage.roi(2)}


def test_changes_are_bounded_in_number_and_time():
    now = [0.0]
    stack = UndoStack(lambda: now[0])
    objects = {number: SavedObject(number, "", (SavedPrompt(box=(0, 0, 1, 1)),)) for number in range(20)}
    for number in range(20):
        stack.record("add_prompt", {}, {number: objects[number]})
        now[0] += 1
    assert len(stack) == MAX_CHANGES
    stack.record("label_object", objects, objects)  # changed nothing
    newest = stack.take()
    assert newest is not None
    assert newest.before == {19: None}
    now[0] += MAX_AGE_S - 3
    assert len(stack) == 2
    now[0] += 2
    assert stack.take() is None


@pytest.mark.parametrize("op", ["remove_object", "reset"])
def test_removed_objects_cost_nothing_and_can_return_for_a_minute(op: str):
    stage = Stage()
    stage.add(1)
    now = [0.0]
    stage.stream.objects._hidden._clock = lambda: now[0]
    stage.ask(op, **({"object_id": 1} if op == "remove_object" else {}))
    stage.next()
    assert stage.tracker.track({"cam": picture(stage.number)})["cam"] == []
    assert stage.tracker.bring_back("cam", 1).area == 900
    stage.tracker.set_aside("cam", 1)
    now[0] += MAX_AGE_S + 1
    stage.next()
    with pytest.raises(PromptError, match="not set it aside"):
        stage.tracker.bring_back("cam", 1)


def test_removed_objects_are_bounded():
    stage = Stage(max_objects=2)
    for obj_id in (1, 2, 3):
        stage.add(obj_id)
        stage.next()
        stage.ask("remove_object", object_id=obj_id)
    assert [*stage.stream.objects._hidden._hidden] == [2, 3]
    with pytest.raises(PromptError, match="not set it aside"):
        stage.tracker.bring_back("cam", 1)


def test_undone_changes_are_redone_in_order():
    stage = Stage()
    stage.add(1, label="cup")
    stage.ask("label_object", object_id=1, label="mug")
    stage.ask("remove_object", object_id=1)
    for _ in range(3):
        stage.ask("undo")
    assert stage.next(3) == {}
    assert stage.ask("redo") == {"op": "add_prompt", "object_ids": [1], "left": 2}
    assert stage.next(3) == {1: stage.roi(1)}, "with its memory, so it is where it is now"
    assert stage.ask("redo")["op"] == "label_object"
    assert stage.stream.objects.table.objects[1].label == "mug"
    assert stage.ask("redo") == {"op": "remove_object", "object_ids": [1], "left": 0}
    assert stage.next() == {}
    assert stage.ask("redo") == "NOTHING_TO_REDO"
    assert stage.ask("undo")["op"] == "remove_object"
    assert stage.next() == {1: stage.roi(1)}
    assert stage.ask("redo")["op"] == "remove_object"


def test_a_correction_is_done_again_on_its_own_frame():
    stage = Stage()
    stage.add(1)
    x, y, _, _ = place(1, stage.number)
    stage.ask("add_prompt", object_id=1, points=[[x + 5, y + 5]], coords="pixels")
    stage.next(2)
    stage.ask("undo")
    assert stage.ask("redo") == {"op": "add_prompt", "object_ids": [1], "left": 0}
    assert len(stage.stream.objects.table.objects[1].prompts) == 2
    assert stage.next() == {1: stage.roi(1)}
    stage.ask("undo")
    stage.next(400)
    assert stage.ask("redo") == "FRAME_EXPIRED", "no longer held: it would mark another place"
    assert len(stage.stream.objects.table.objects[1].prompts) == 1


def test_another_change_clears_the_undone_ones():
    stage = Stage()
    stage.add(1)
    stage.ask("undo")
    stage.add(2)
    assert stage.ask("redo") == "NOTHING_TO_REDO"
    assert stage.next() == {2: stage.roi(2)}
