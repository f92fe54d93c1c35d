from __future__ import annotations

from types import SimpleNamespace

from streamseg.worker.find.looks import LookSchedule


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Finder:
    """A look of pieces that take the same time."""

    def __init__(self, clock: Clock, stream: str = "cam", piece_s: float = 0.004, pieces: int = 1000) -> None:
        self.stream, self.name, self.share, self.runs = stream, stream, 0.1, []
        self._clock, self._piece_s, self._pieces, self._look = clock, piece_s, pieces, pieces

    def begin_again(self) -> None:
        """Begin a look if none is under way."""
        self._pieces = self._pieces or self._look

    @property
    def is_under_way(self) -> bool:
        return 0 < self._pieces < self._look

    @property
    def has_work(self) -> bool:
        return self._pieces > 0

    def work(self) -> None:
        self._pieces -= 1
        self._clock.now += self._piece_s

    def note_run(self, seconds: float) -> None:
        self.runs.append(seconds)


def play(schedule: LookSchedule, clock: Clock, finders: list[Finder], seconds: float, frame_s: float) -> float:
    """Track frames without a pause, as on a saturated device; return the share of time that looks took."""
    until = clock.now + seconds
    while clock.now < until:
        clock.now += frame_s
        schedule.note_frame(frame_s)
        schedule.run(finders)  # type: ignore[arg-type]
        for finder in finders:
            finder.begin_again()
    return sum(sum(finder.runs) for finder in finders) / seconds


def test_looks_take_their_share_of_a_saturated_device_and_no_run_takes_as_long_as_a_frame():
    clock = Clock()
    schedule, finder = LookSchedule(clock), Finder(clock)
    share = play(schedule, clock, [finder], 20.0, 0.025)
    assert 0.07 < share < 0.1, "the slower frames after looks count as well"
    assert max(finder.runs) < 0.025


def test_credit_is_kept_for_two_seconds():
    clock = Clock()
    schedule, finder = LookSchedule(clock), Finder(clock)
    clock.now = 100.0
    play(schedule, clock, [finder], 1.0, 0.025)
    assert 0.2 < sum(finder.runs) < 0.3  # of the 0.2 s of before, and 0.1 s


def test_streams_take_turns():
    clock = Clock()
    schedule, finders = LookSchedule(clock), [Finder(clock, name, pieces=7) for name in ("a", "b", "c")]
    play(schedule, clock, finders, 20.0, 0.025)
    assert max(sum(one.runs) for one in finders) < 1.3 * min(sum(one.runs) for one in finders)


def test_one_look_is_under_way_at_a_time():
    clock = Clock()
    schedule, finders = LookSchedule(clock), [Finder(clock, name, pieces=7) for name in ("a", "b", "c")]
    ended = 0
    for _ in range(2000):
        clock.now += 0.025
        schedule.note_frame(0.025)
        if schedule.run(finders) is not None:  # type: ignore[arg-type]
            assert sum(finder.is_under_way for finder in finders) <= 1
        ended += sum(not finder.has_work for finder in finders)
        for finder in finders:
            finder.begin_again()
    assert ended > 30


def test_a_look_that_has_to_wait_holds_up_no_other():
    clock = Clock()
    schedule, finders = LookSchedule(clock), [Finder(clock, name, pieces=100) for name in ("a", "b")]
    clock.now += 1.0
    assert schedule.run(finders) == "a"  # type: ignore[arg-type]
    clock.now += 1.0
    assert schedule.run(finders[1:]) == "b"  # type: ignore[arg-type]


def test_an_idle_finder_is_not_waited_for():
    clock = Clock()
    schedule = LookSchedule(clock)
    idle = SimpleNamespace(has_work=False, share=0.1, stream="cam", name="cam")
    assert schedule.wait_s([idle]) is None  # type: ignore[list-item]
    assert schedule.run([idle]) is None  # type: ignore[list-item]
    busy = Finder(clock)
    schedule.run([busy])  # type: ignore[list-item]
    clock.now += 1.0
    assert schedule.wait_s([busy]) == 0.0  # type: ignore[list-item]
