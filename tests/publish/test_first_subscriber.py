from __future__ import annotations

from streamseg.publish.first_subscriber import FirstSubscriber

SECOND = 1_000_000_000


def test_one_that_subscribes_to_all_streams_is_there_at_once_and_only_once() -> None:
    first = FirstSubscriber()
    assert not first.arrives([], 0)
    assert not first.arrives([False, False], 0)
    assert not first.arrives([True, False], 5)
    assert first.arrives([True, True], 6)
    assert not first.arrives([True, True], 7)


def test_one_that_wants_some_of_the_streams_is_waited_for_a_second() -> None:
    first = FirstSubscriber()
    assert not first.arrives([True, False], 5)
    assert not first.arrives([True, False], 4 + SECOND)
    assert first.arrives([True, False], 5 + SECOND)
