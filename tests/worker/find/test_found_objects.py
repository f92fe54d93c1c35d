"""Found objects that jump onto another object. The tracker's masks are where the test puts them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.scene_run import SceneRun
from streamseg.config.schema import FindConfig
from streamseg.frame import Frame
from streamseg.protocol.published import Origin
from streamseg.sources.scene.source import Scene
from streamseg.tracker.measure import count_pixels, object_result, unseen
from streamseg.tracker.simple.echo import EchoTracker
from streamseg.tracker.types import BoolMask, ObjectResult

SCENE = Scene("scene:simple?size=320x180")


def square(x: int) -> BoolMask:
    mask = np.zeros((180, 320), np.bool_)
    mask[60:100, x : x + 40] = True
    return mask


def specks(x: int) -> BoolMask:
    """Two corners of the square: the same box."""
    mask = np.zeros_like(square(x))
    mask[60:66, x : x + 6] = mask[94:100, x + 34 : x + 40] = True
    return mask


def corner(x: int, side: int) -> BoolMask:
    """A part of the square, in its corner."""
    mask = np.zeros_like(square(x))
    mask[60 : 60 + side, x : x + side] = True
    return mask


Place = int | BoolMask | None


class Placed(EchoTracker):
    """Each object is a square at a place, another mask, or not visible."""

    places: Mapping[int, Place]

    def track(self, frames: Mapping[str, Frame]) -> dict[str, list[ObjectResult]]:
        found = super().track(frames)
        return {name: [self._placed(one) for one in results] for name, results in found.items()}

    def _placed(self, one: ObjectResult) -> ObjectResult:
        place = self.places[one.obj_id]
        if place is None:
            return unseen(one.obj_id, one.size)
        mask = square(place) if isinstance(place, int) else place
        return object_result(one.obj_id, one.size, count_pixels(mask), iou_prediction=1, object_score_logits=9)


def run(second: Origin, *places: tuple[Place, Place]) -> SceneRun:
    """Object 1 was found, object 2 is of ``second``; both are where ``places`` says, frame by frame."""
    tracker = Placed()
    tracker.places = {}
    stage = SceneRun(SCENE, tracker, FindConfig(enabled=False))
    stage.track(0)
    for x, origin in ((40, "auto"), (200, second)):
        stage.stream.objects.start_found(square(x), 0, label="", origin=origin)
    for n, (first, other) in enumerate(places, start=1):
        show(stage, n, first, other)
    return stage


def show(stage: SceneRun, number: int, first: Place, other: Place) -> None:
    stage.tracker.places = {1: first, 2: other}
    stage.track(number)
    stage.events += stage.stream.take_events()


def ids(stage: SceneRun) -> set[int]:
    return set(stage.stream.objects.table.objects)


def test_a_found_object_that_jumps_onto_another_is_retired_at_once():
    stage = run("auto", (40, 200), (40, 45))
    assert ids(stage) == {1}
    assert set(stage.masks()) == {1}, "that frame is published without it"
    assert [event.detail for event in stage.events if event.kind == "object_retired"] == ["it jumped onto object 1"]


def test_a_found_object_that_reappears_on_another_is_retired():
    assert ids(run("prompter", (40, 200), (40, None), (40, None), (40, 40))) == {1}


def test_a_found_object_that_reappears_as_specks_is_retired_once_it_grows():
    """As a model sees another object where it expects one that has left: first in a few pixels."""
    first = ((40, 200), (40, specks(42)), (44, specks(46)), (48, specks(50)))
    assert ids(run("auto", *first)) == {1, 2}
    stage = run("auto", *first, (52, 52))
    assert ids(stage) == {1}
    assert set(stage.masks()) == {1}
    assert ids(run("auto", *first, (200, 52))) == {1, 2}, "the other one has left"
    later = ((60, 150), (75, 140), (90, 130), (105, 125), (118, 120))
    assert ids(run("auto", *first, *later)) == {1, 2}, "it has jumped away, and comes back step by step"


def test_a_found_object_that_grows_from_a_corner_of_another_is_retired():
    """As one that leaves the picture at its border, and has its last pixels on another object."""
    leaving = np.zeros_like(square(0))
    leaving[120:180, 0:9] = True
    grows = [(40, leaving | corner(40, 2)), *((40, corner(40, side)) for side in (2, 8, 14, 20, 24))]
    assert ids(run("auto", (40, 0), *grows)) == {1, 2}
    stage = run("auto", (40, 0), *grows, (40, corner(40, 28)))
    assert ids(stage) == {1}
    assert set(stage.masks()) == {1}


def test_an_object_of_a_user_is_never_retired():
    assert ids(run("user", (40, 200), (40, 45))) == {1, 2}
    stage = run("auto", (40, 200), (40, specks(42)))
    stage.stream.objects.label(2, "mug")
    show(stage, 3, 40, 42)
    assert ids(stage) == {1, 2}, "it is the user's since it has a name"


def test_one_of_two_that_jump_onto_each_other_stays():
    assert len(ids(run("auto", (40, 200), (40, specks(55)), (64, 64)))) == 1


def test_found_objects_that_move_there_or_reappear_elsewhere_stay():
    assert ids(run("auto", (40, 100), (40, 85), (40, 65), (40, 50))) == {1, 2}, "it came step by step"
    assert ids(run("auto", (40, 200), (40, None), (40, 260))) == {1, 2}
    assert ids(run("auto", (40, 200), (200, 40))) == {1, 2}, "both have jumped: neither is where it was"
