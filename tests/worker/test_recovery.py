"""A prompt brings a lost object back: the reply, the event, the saved prompts, and undo. With nano."""

from __future__ import annotations

import msgspec
import numpy as np

from streamseg.config.schema import StreamConfig
from streamseg.ipc.commands import Command
from streamseg.protocol.mask_codec import encode_rle
from streamseg.worker.command_handlers import handle_command
from streamseg.worker.track_frames import track_frames
from streamseg.worker.tracked_stream import TrackedStream
from tests.tracker.lost_leaf import LEAF, OBJ, PAD, SCENE, Picture, frame, gray, nano, without


class Client:
    def __init__(self) -> None:
        self.tracker = nano()
        self.stream = TrackedStream("cam", StreamConfig(source="scene:default"), self.tracker, max_objects=4)
        self.number = -1

    def show(self, picture: Picture) -> dict[int, int]:
        """Show a frame; return the areas of the objects that are published."""
        self.number += 1
        (result,) = track_frames(self.tracker, {"cam": self.stream}, {"cam": frame(self.number, picture)})
        return {obj.obj_id: obj.area for obj in result.objects}

    def ask(self, op: str, **args: object):
        command = Command(number=1, op=op, stream="cam", args=msgspec.json.encode(args))
        outcome = handle_command(command, {"cam": self.stream})
        return outcome.error or msgspec.json.decode(outcome.result)

    def click(self, number: int, obj_id: int, **args: object):
        x, y = SCENE.click_point(number, obj_id) or (0, 0)
        return self.ask("add_prompt", points=[[x, y]], coords="pixels", **args)

    def lose_the_leaf(self) -> int:
        """Follow the leaf, then lose it; return the number of the scene's frame that is shown last."""
        self.show(SCENE.render(0))
        x, y, width, height = SCENE.truth_box(0, LEAF)
        box = [x, y, x + width, y + height]
        self.ask("add_prompt", object_id=OBJ, label="leaf", box=box, coords="pixels")
        for number in range(1, 9):
            self.show(SCENE.render(number))
        for number in range(60, 120, 10):
            for _ in range(8):
                self.show(gray())
            if self.show(without(number, LEAF))[OBJ] == 0 and SCENE.click_point(number, PAD) is not None:
                self.stream.take_events()
                return number
        raise AssertionError("the model takes something else for the leaf")


def test_a_restart_is_reported_saved_and_undone() -> None:
    client = Client()
    back = client.lose_the_leaf()
    reply = client.click(back, PAD, object_id=OBJ)
    assert (reply["restarted"], reply["new"], reply["label"]) == (True, False, "leaf")
    assert reply["area"] > 0
    (event,) = client.stream.take_events()
    assert (event.kind, event.obj_id, event.label) == ("object_restarted", OBJ, "leaf")
    saved = client.stream.take_saved()
    assert saved is not None
    (obj,) = saved.objects
    assert [prompt.restarts for prompt in obj.prompts] == [False, True]
    assert obj.start_prompts == obj.prompts[1:]
    assert client.show(without(back + 1, LEAF))[OBJ] > 0
    assert [event.kind for event in client.stream.take_events()] == ["object_appeared"]
    assert client.ask("undo")["op"] == "add_prompt"
    assert client.show(without(back + 2, LEAF))[OBJ] == 0
    assert client.show(SCENE.render(back + 3))[OBJ] > 0


def test_candidates_are_offered_and_chosen() -> None:
    client = Client()
    client.show(SCENE.render(0))
    offered = client.click(0, LEAF, preview=True, candidates=3)["candidates"]
    assert len(offered) == 3
    assert [one["score"] for one in offered] == sorted((one["score"] for one in offered), reverse=True)
    chosen = max((number for number in range(3) if offered[number]["area"]), key=lambda one: offered[one]["area"])
    assert client.click(0, LEAF, candidate=chosen)["area"] == offered[chosen]["area"]


def test_a_mask_that_the_model_cannot_follow_is_refused() -> None:
    client = Client()
    client.show(SCENE.render(0))
    error = client.ask("add_prompt", mask={"size": [270, 480], "counts": tiny_counts()}, preview=False)
    assert error.code == "BAD_PROMPT"
    assert "the smallest object that this model can track in a frame of 480x270 is about 15x9 pixels" in error.message
    assert client.ask("list")["streams"][0]["objects"] == []


def tiny_counts() -> str:
    mask = np.zeros((270, 480), np.bool_)
    mask[100:102, 100:103] = True
    return encode_rle(mask).decode()


def test_refused_set_prompts_change_nothing() -> None:
    client = Client()
    client.show(SCENE.render(0))
    for obj_id, truth in ((OBJ, LEAF), (2, PAD)):
        x, y, width, height = SCENE.truth_box(0, truth)
        client.ask("add_prompt", object_id=obj_id, label="a", box=[x, y, x + width, y + height], coords="pixels")
    client.show(SCENE.render(1))
    client.stream.take_events()
    before = dict(client.stream.objects.table.objects)
    frame_id = client.stream.objects.latest.frame_id
    wanted = [
        {"object_id": 7, "label": "b", "points": [[0.5, 0.5]]},
        {"object_id": OBJ, "mask": {"size": [270, 480], "counts": tiny_counts()}},
    ]
    refused = client.ask("set_prompts", prompts=wanted, frame=frame_id)
    assert refused.code == "BAD_PROMPT"
    assert client.stream.objects.table.objects == before
    assert client.stream.take_events() == []
    assert set(client.show(SCENE.render(2))) == {OBJ, 2}
