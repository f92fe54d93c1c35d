from __future__ import annotations

import math
from collections import Counter

import pytest

from streamseg.worker.scheduler import FairScheduler


class Cameras:
    """Frames that wait, by stream: at most one, as a ring with the policy `newest` has."""

    def __init__(self, *ready: str) -> None:
        self.ready = set(ready)

    def take(self, stream: str) -> str | None:
        if stream not in self.ready:
            return None
        self.ready.remove(stream)
        return f"frame of {stream}"


def test_a_batch_is_bounded_and_the_rest_comes_next() -> None:
    scheduler, cameras, streams = FairScheduler(2), Cameras("a", "b", "c"), ("a", "b", "c")
    assert scheduler.next_batch(streams, cameras.take) == {"a": "frame of a", "b": "frame of b"}
    cameras.ready |= {"a", "b"}
    assert list(scheduler.next_batch(streams, cameras.take)) == ["c", "a"]
    assert list(scheduler.next_batch(streams, cameras.take)) == ["b"]
    assert scheduler.next_batch(streams, cameras.take) == {}


def test_a_stream_without_a_frame_keeps_its_place() -> None:
    scheduler, cameras, streams = FairScheduler(1), Cameras("b"), ("a", "b")
    assert list(scheduler.next_batch(streams, cameras.take)) == ["b"]
    cameras.ready = {"a", "b"}
    assert list(scheduler.next_batch(streams, cameras.take)) == ["a"]


@pytest.mark.parametrize(("count", "limit"), [(5, 1), (5, 2), (8, 8), (7, 3)])
def test_no_stream_waits_longer_than_it_takes_to_serve_all(count: int, limit: int) -> None:
    """All but one camera are always ready: the slow one is served as soon as its turn can come."""
    streams = [f"s{index}" for index in range(count)]
    scheduler, cameras, waited, served = FairScheduler(limit), Cameras(), 0, Counter[str]()
    for turn in range(200):
        cameras.ready |= set(streams[:-1])
        if turn % 11 == 0:
            cameras.ready.add(streams[-1])
        taken = scheduler.next_batch(streams, cameras.take)
        assert len(taken) <= limit
        served.update(taken.keys())
        waited = waited + 1 if streams[-1] in cameras.ready else 0
        assert waited < math.ceil(count / limit)
    fast = [served[stream] for stream in streams[:-1]]
    assert max(fast) - min(fast) <= 1 + 200 // 11


def test_streams_come_and_go() -> None:
    scheduler, cameras = FairScheduler(1), Cameras("a", "b", "c")
    assert list(scheduler.next_batch(("a", "b"), cameras.take)) == ["a"]
    assert list(scheduler.next_batch(("a", "c"), cameras.take)) == ["c"]
    cameras.ready = {"a", "c"}
    assert list(scheduler.next_batch(("a", "c"), cameras.take)) == ["a"]


def test_a_batch_has_at_least_one_stream() -> None:
    with pytest.raises(ValueError, match="at least one"):
        FairScheduler(0)
