"""Previews keep frames waiting for less than a tenth of the time."""

from __future__ import annotations

import pytest

from streamseg.ipc.commands import Command
from streamseg.worker.preview_queue import PreviewQueue


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def preview(number: int, stream: str = "cam", args: bytes = b'{"points": [[5, 5]]}') -> Command:
    return Command(number, "add_prompt", stream, args)


@pytest.mark.parametrize("viewers", [1, 8])
def test_previews_that_keep_frames_waiting_take_less_than_a_tenth_of_the_time(viewers):
    clock, cost_s, taken_s, number = Clock(), 0.02, 0.0, 0
    queue = PreviewQueue(clock)
    while clock.now < 130.0:
        for _ in range(viewers):
            number += 1
            queue.add(preview(number))
        while queue.take():
            clock.now += cost_s
            taken_s += cost_s
            queue.note_run(cost_s)
        while queue.take_late() is not None:
            pass
        clock.now += 0.05  # a frame
    assert taken_s / 30.0 == pytest.approx(0.08, abs=0.01)


def test_previews_in_idle_time_run_at_once():
    queue = PreviewQueue(Clock())
    for number in range(50):
        queue.add(preview(number))
        assert queue.take()
        queue.note_run(0.0)


def numbers(commands: list[Command]) -> list[int]:
    return [command.number for command in commands]


def test_waiting_clicks_run_together_oldest_first_once_there_is_credit():
    clock = Clock()
    queue = PreviewQueue(clock)
    assert queue.wait_s() is None
    queue.add(preview(1))
    assert numbers(queue.take()) == [1]
    queue.note_run(0.1)
    for number in range(2, 13):
        queue.add(preview(number))
    assert queue.take() == []
    wait_s = queue.wait_s()
    assert wait_s is not None
    clock.now += wait_s + 1e-6
    assert numbers(queue.take()) == list(range(2, 10))
    assert numbers(queue.take()) == [10, 11, 12]
    assert queue.take() == []


@pytest.mark.parametrize(
    "args", [b'{"box": [1, 1, 9, 9]}', b'{"points": [[5, 5], [6, 6]]}', b'{"points": [[5, 5]], "object_id": 3}']
)
def test_previews_without_a_batch_run_alone(args):
    queue = PreviewQueue(Clock())
    queue.add(preview(1))
    queue.add(preview(2, "other"))
    queue.add(preview(3, args=args))
    queue.add(preview(4))
    queue.add(preview(5, "other"))
    assert [numbers(queue.take()) for _ in range(4)] == [[1, 4], [2, 5], [3], []]


def test_waiting_previews_are_bounded_in_number_and_time():
    clock = Clock()
    queue = PreviewQueue(clock)
    refused = [queue.add(preview(number)) for number in range(33)]
    assert [outcome.number for outcome in refused if outcome is not None] == [0]
    assert queue.take_late() is None
    clock.now += 2.1
    late = []
    while (outcome := queue.take_late()) is not None:
        assert outcome.error is not None
        assert outcome.error.code == "BUSY"
        assert outcome.error.retryable
        late.append(outcome.number)
    assert late == list(range(1, 33))
