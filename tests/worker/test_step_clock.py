"""The slowest recent step."""

from __future__ import annotations

from streamseg.worker.step_clock import WINDOW_S, StepClock


class Rig:
    def __init__(self) -> None:
        self.now = 100.0
        self.steps = StepClock(lambda: self.now)

    def step(self, seconds: float) -> None:
        self.steps.begin()
        self.now += seconds
        self.steps.lap()


def test_the_slowest_step_is_forgotten_after_one_to_two_minutes() -> None:
    rig = Rig()
    rig.step(2.0)
    rig.step(0.5)
    assert rig.steps.slowest_s == 2.0
    rig.now += WINDOW_S
    rig.step(0.5)
    assert rig.steps.slowest_s == 2.0
    rig.now += WINDOW_S
    rig.step(0.25)
    assert rig.steps.slowest_s == 0.5


def test_waiting_is_not_a_step_and_parts_of_a_step_count_alone() -> None:
    rig = Rig()
    rig.now += 50
    rig.steps.begin()
    rig.now += 1.0
    rig.steps.lap()
    rig.now += 3.0
    rig.steps.lap()
    assert rig.steps.slowest_s == 3.0


def test_only_the_last_step_of_the_warm_up_counts_and_it_stays() -> None:
    rig = Rig()
    for seconds in (90.0, 0.75):  # compiling, tracking
        rig.now += seconds
        rig.steps.lap()
    rig.steps.warmed_up()
    for _ in range(5):
        rig.now += WINDOW_S
        rig.step(0.1)
    assert rig.steps.slowest_s == 0.75
