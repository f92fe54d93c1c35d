from __future__ import annotations

from collections.abc import Iterator

import pytest

from streamseg.errors import FrameExpiredError
from streamseg.worker.find.pieces import Pieces


def steps(count: int, error: Exception | None = None) -> Iterator[None]:
    for _ in range(count):
        yield
    if error is not None:
        raise error


def test_work_ends_once_and_its_time_is_that_of_all_runs() -> None:
    ended: list[bool] = []
    pieces = Pieces("a look", lambda: ended.append(True))
    pieces.end()
    assert not ended, "there was nothing to end"
    pieces.begin(steps(2))
    for seconds in (0.2, 0.3, 0.1):
        assert pieces.under_way
        pieces.run()
        pieces.note_run(seconds)
    assert not pieces.under_way
    assert ended == [True]
    assert (pieces.spent_s, pieces.longest_s) == (pytest.approx(0.6), 0.3)
    pieces.begin(steps(1))
    assert (pieces.spent_s, pieces.longest_s) == (0, 0.3)


def test_errors_end_the_work_and_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    pieces = Pieces("a look", lambda: None)
    for error in (FrameExpiredError("gone"), ValueError("a bug")):
        pieces.begin(steps(0, error))
        pieces.run()
        assert not pieces.under_way
    assert (pieces.expired, pieces.failed) == (1, 1)
    assert [record.message for record in caplog.records] == ["a look failed, 1 so far"]
