"""A request that is repeated through a new control process is answered, but not executed again."""

from __future__ import annotations

from streamseg.ipc.commands import Command, Outcome
from streamseg.ipc.completed_requests import CompletedRequests
from streamseg.protocol.control import ErrorBody


def command(number: int, request: str) -> Command:
    return Command(number, "pause", "cam", b"{}", request)


def test_the_outcome_is_found_again_under_the_new_number():
    done = CompletedRequests()
    assert done.find(command(1, "me r1")) is None
    done.keep(command(1, "me r1"), Outcome(1, b'{"a":1}'))
    assert done.find(command(7, "me r1")) == Outcome(7, b'{"a":1}')
    assert done.find(command(8, "me r2")) is None


def test_results_of_repeatable_requests_are_not_kept():
    done = CompletedRequests()
    done.keep(command(1, ""), Outcome(1, b"{}"))
    assert done.find(command(2, "")) is None
    done.keep(command(1, "me r1"), Outcome(1, error=ErrorBody(code="NO_FRAME_YET", message="wait", retryable=True)))
    assert done.find(command(2, "me r1")) is None
    done.keep(command(1, "me r1"), Outcome(1, error=ErrorBody(code="BAD_PROMPT", message="no")))
    assert done.find(command(2, "me r1")) is not None


def test_the_table_is_bounded():
    done = CompletedRequests()
    for number in range(100):
        done.keep(command(number, str(number)), Outcome(number, b"{}"))
    assert [number for number in range(100) if done.find(command(0, str(number)))] == list(range(36, 100))
