"""Pending commands have a timeout and a bounded number, and a repeated request is recognized."""

from __future__ import annotations

import pytest

from streamseg.control.parse import ParsedRequest, parse
from streamseg.control.pending import MAX_OF_ONE_CONNECTION, MAX_PENDING, PendingTable
from streamseg.control.reply_cache import ReplyCache
from streamseg.errors import ControlError


def asked(op: str = "pause", request: str = "r") -> ParsedRequest:
    return parse([b"", b'{"v":1,"id":"%s","op":"%s","stream":"cam"}' % (request.encode(), op.encode())])


def test_a_command_times_out_once_and_its_late_outcome_is_still_awaited():
    table = PendingTable(10.0)
    table.add(1, ("me", "r"), asked(), "worker", b"a", now=100.0)
    assert table.next_deadline() == 110.0
    assert table.time_out(109.0) == []
    ((pending, receivers),) = table.time_out(110.0)
    assert receivers == [b"a"]
    assert table.time_out(111.0) == []
    table.join(pending, b"b", now=120.0)
    assert [receivers for _, receivers in table.time_out(130.0)] == [[b"b"]]
    assert table.time_out(189.0) == []
    assert table.find(("me", "r")) is pending
    assert table.time_out(190.0) == []  # forgotten
    assert table.find(("me", "r")) is None
    assert table.pop(1) is None
    assert table.next_deadline() is None


def test_a_repeated_request_is_answered_to_its_latest_senders():
    table = PendingTable(10.0)
    table.add(1, ("me", "r"), asked(), "worker", b"a", now=0.0)
    pending = table.find(("me", "r"))
    for receiver in (b"a", b"b", b"c", b"d", b"e"):
        table.join(pending, receiver, now=1.0)
    assert pending.receivers == [b"b", b"c", b"d", b"e"]
    assert pending.deadline == 10.0
    assert table.pop(1) is pending


def test_requests_of_a_dead_target_are_returned():
    table = PendingTable(10.0)
    table.add(1, ("me", "1"), asked(), "worker", b"a", now=0.0)
    table.add(2, ("me", "2"), asked(), "supervisor", b"a", now=0.0)
    assert [pending.number for pending in table.pop_target("worker")] == [1]
    assert len(table) == 1


def test_the_table_is_bounded_in_total_and_per_connection():
    table = PendingTable(10.0)
    for number in range(MAX_OF_ONE_CONNECTION):
        table.add(number, ("me", str(number)), asked(), "worker", b"a", now=0.0)
    with pytest.raises(ControlError, match="of your requests are waiting") as caught:
        table.add(1000, ("me", "x"), asked(), "worker", b"a", now=0.0)
    assert (caught.value.code, caught.value.retryable) == ("BUSY", True)
    for number in range(len(table), MAX_PENDING):
        table.add(number, ("me", str(number)), asked(), "worker", b"%d" % number, now=0.0)
    with pytest.raises(ControlError, match="256 requests are waiting"):
        table.add(1000, ("me", "x"), asked(), "worker", b"z", now=0.0)


def test_answers_are_kept_for_the_same_request_only():
    answers = ReplyCache()
    answers.keep(("me", "r"), asked(), b"done")
    assert answers.find(("me", "r"), asked()) == b"done"
    assert answers.find(("you", "r"), asked()) is None
    with pytest.raises(ControlError, match="was used for another request"):
        answers.find(("me", "r"), asked("resume"))


def test_answers_are_bounded_by_number_and_by_bytes():
    answers = ReplyCache(max_replies=3, max_bytes=100)
    for number in range(5):
        answers.keep(("me", str(number)), asked(), b"x")
        answers.find(("me", "2"), asked())
    assert [number for number in range(5) if answers.find(("me", str(number)), asked())] == [2, 3, 4]
    answers.keep(("me", "large"), asked(), b"x" * 99)
    assert answers.find(("me", "4"), asked()) == b"x"
    assert answers.find(("me", "3"), asked()) is None
    answers.keep(("me", "too large"), asked(), b"x" * 101)
    assert not answers._replies
    assert answers._bytes == 0
