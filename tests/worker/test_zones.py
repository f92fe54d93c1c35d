from __future__ import annotations

import numpy as np
import pytest

from streamseg.config.schema import LineConfig, ZoneConfig
from streamseg.protocol.published import RegionCounts
from streamseg.tracker.types import ObjectResult
from streamseg.worker.zones import LineCrossed, RegionMonitor, ZoneEntered, ZoneLeft

SIZE = (200, 100)
LEFT_HALF = ZoneConfig(polygon=((0, 0), (99, 0), (99, 99), (0, 99)))
UP = LineConfig(start=(100, 90), end=(100, 10))  # seen from its start, the right half of the picture is on its right
SECOND = 1_000_000_000


def square(x: int, y: int, side: int = 10, obj_id: int = 1) -> ObjectResult:
    """An object of ``side`` pixels whose upper left corner is at x, y."""
    mask = np.ones((side, side), np.bool_)
    middle = (side - 1) / 2
    return ObjectResult(obj_id, SIZE, (x, y, side, side), mask, side * side, (x + middle, y + middle), 0.9, 5.0)


def inside(monitor: RegionMonitor) -> dict[str, int]:
    counts = monitor.counts()
    assert counts is not None
    return counts.inside


def move(monitor: RegionMonitor, xs: list[int], y: int = 40, obj_id: int = 1) -> list[object]:
    """Every event while an object is at each x for a second."""
    return [event for t, x in enumerate(xs) for event in monitor.update(square(x, y, obj_id=obj_id), t * SECOND)]


def test_an_object_enters_and_leaves_with_its_dwell_time() -> None:
    monitor = RegionMonitor({"left": LEFT_HALF}, {})
    assert move(monitor, [150, 80, 60, 150]) == [ZoneEntered("left", 1), ZoneLeft("left", 1, 2.0, "moved")]
    assert monitor.counts() == RegionCounts(inside={"left": 0}, entered={"left": 1}, left={"left": 1})


def test_a_mask_that_trembles_on_the_border_makes_one_event() -> None:
    monitor = RegionMonitor({"left": LEFT_HALF}, {})
    assert move(monitor, [120, 95, 96, 95, 97, 94, 96]) == [ZoneEntered("left", 1)]


@pytest.mark.parametrize(("share", "enters_at"), [(0.1, 99), (0.5, 95), (1.0, 90)])
def test_the_share_says_how_much_of_a_mask_counts_as_inside(share: float, enters_at: int) -> None:
    zone = ZoneConfig(polygon=LEFT_HALF.polygon, share=share)
    for x in range(110, 80, -1):
        monitor = RegionMonitor({"left": zone}, {})
        assert bool(monitor.update(square(x, 40), 0)) == (x <= enters_at)


def test_lost_removed_and_reset_objects_leave() -> None:
    monitor = RegionMonitor({"left": LEFT_HALF}, {})
    for obj_id in (1, 2, 3):
        monitor.update(square(10, 40, obj_id=obj_id), 0)
    assert inside(monitor) == {"left": 3}
    assert monitor.forget(1, 4 * SECOND, "lost") == [ZoneLeft("left", 1, 4.0, "lost")]
    assert monitor.forget(2, 5 * SECOND, "removed") == [ZoneLeft("left", 2, 5.0, "removed")]
    assert monitor.clear(6 * SECOND) == [ZoneLeft("left", 3, 6.0, "reset")]
    assert monitor.clear(7 * SECOND) == []
    assert monitor.forget(9, 0, "removed") == []


def test_time_that_runs_backwards_is_not_a_dwell() -> None:
    monitor = RegionMonitor({"left": LEFT_HALF}, {})
    monitor.update(square(10, 40), 50 * SECOND)
    assert monitor.update(square(180, 40), 0) == [ZoneLeft("left", 1, 0.0, "moved")]


def test_a_line_is_crossed_in_both_directions() -> None:
    monitor = RegionMonitor({}, {"gate": UP})
    assert move(monitor, [40, 80, 110, 150]) == [LineCrossed("gate", 1, "forward")]
    assert move(monitor, [110, 60]) == [LineCrossed("gate", 1, "backward")]
    assert monitor.counts() == RegionCounts(forward={"gate": 1}, backward={"gate": 1})


def test_a_jump_at_a_new_epoch_crosses_no_line() -> None:
    monitor = RegionMonitor({"left": LEFT_HALF}, {"gate": UP})
    assert move(monitor, [40]) == [ZoneEntered("left", 1)]
    monitor.cut()
    assert move(monitor, [150]) == [ZoneLeft("left", 1, 0.0, "moved")]
    assert move(monitor, [60]) == [ZoneEntered("left", 1), LineCrossed("gate", 1, "backward")]  # of the new epoch


def test_an_object_that_hovers_over_a_line_does_not_cross_it() -> None:
    monitor = RegionMonitor({}, {"gate": UP})
    assert move(monitor, [60, 95, 96, 95, 96, 95, 60]) == []


def test_a_line_ends_at_its_ends() -> None:
    monitor = RegionMonitor({}, {"gate": LineConfig(start=(100, 90), end=(100, 60))})
    assert move(monitor, [40, 150], y=10) == []
    assert move(monitor, [40], y=70) == []
    assert move(monitor, [150], y=70) == [LineCrossed("gate", 1, "forward")]


def test_each_object_crosses_a_line_by_itself() -> None:
    monitor = RegionMonitor({}, {"gate": UP})
    assert move(monitor, [40], obj_id=1) == move(monitor, [150], obj_id=2) == []
    assert move(monitor, [150], obj_id=1) == [LineCrossed("gate", 1, "forward")]
    assert move(monitor, [40], obj_id=2) == [LineCrossed("gate", 2, "backward")]


def test_normalized_coordinates_are_those_of_any_size() -> None:
    zone = ZoneConfig(polygon=((0, 0), (0.495, 0), (0.495, 0.99), (0, 0.99)), coords="normalized")
    line = LineConfig(start=(0.5, 0.9), end=(0.5, 0.1), coords="normalized")
    monitor = RegionMonitor({"left": zone}, {"gate": line})
    events = move(monitor, [40, 150])
    assert events == [ZoneEntered("left", 1), ZoneLeft("left", 1, 1.0, "moved"), LineCrossed("gate", 1, "forward")]


def test_changed_settings_keep_what_did_not_change() -> None:
    monitor = RegionMonitor({"left": LEFT_HALF, "gone": LEFT_HALF}, {"gate": UP})
    monitor.update(square(40, 40), 0)
    left = monitor.change({"left": LEFT_HALF, "new": LEFT_HALF}, {"gate": UP}, 3 * SECOND)
    assert left == [ZoneLeft("gone", 1, 3.0, "removed")], "objects leave a zone that is removed"
    assert inside(monitor) == {"left": 1, "new": 0}
    assert move(monitor, [40]) == [ZoneEntered("new", 1)]


def test_a_zone_that_is_moved_is_left_and_entered_again() -> None:
    monitor = RegionMonitor({"left": LEFT_HALF}, {})
    for obj_id in (2, 1):
        monitor.update(square(40, 40, obj_id=obj_id), 0)
    moved = ZoneConfig(polygon=((0, 0), (90, 0), (90, 100), (0, 100)))
    left = monitor.change({"left": moved}, {}, SECOND)
    assert left == [ZoneLeft("left", 1, 1.0, "removed"), ZoneLeft("left", 2, 1.0, "removed")]
    assert move(monitor, [40]) == [ZoneEntered("left", 1)]
    counts = monitor.counts()
    assert counts is not None
    assert (counts.entered, counts.left, counts.inside) == ({"left": 3}, {"left": 2}, {"left": 1})


def test_a_frame_of_another_size_keeps_objects_inside() -> None:
    zone = ZoneConfig(polygon=((0, 0), (0.5, 0), (0.5, 1), (0, 1)), coords="normalized")
    monitor = RegionMonitor({"left": zone}, {})
    monitor.update(square(10, 40), 0)
    half = ObjectResult(1, (100, 50), (5, 20, 5, 5), np.ones((5, 5), np.bool_), 25, (7.0, 22.0), 0.9, 5.0)
    assert monitor.update(half, SECOND) == []
    assert inside(monitor) == {"left": 1}


def test_a_stream_without_zones_and_lines_has_no_counts() -> None:
    monitor = RegionMonitor({}, {})
    assert move(monitor, [10, 150]) == []
    assert monitor.counts() is None


def test_changed_settings_keep_the_side_of_a_line_that_did_not_change() -> None:
    monitor = RegionMonitor({}, {"gate": UP})
    move(monitor, [40])
    monitor.change({"left": LEFT_HALF}, {"gate": UP}, SECOND)
    assert move(monitor, [150]) == [LineCrossed("gate", 1, "forward")]


def test_a_zone_outside_the_frame_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    far = ZoneConfig(polygon=((900, 0), (990, 0), (990, 90)))
    monitor = RegionMonitor({"left": LEFT_HALF, "far": far}, {})
    move(monitor, [40, 50])
    (record,) = caplog.records
    assert "zone far is outside the frame, which is 200x100 pixels" in record.getMessage()
