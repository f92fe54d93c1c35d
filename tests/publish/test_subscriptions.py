"""The table that decides what is encoded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamseg.publish.subscriptions import Subscriptions


def test_a_topic_is_wanted_from_its_subscription_to_its_cancellation():
    table = Subscriptions(["cam1", "cam10"])
    assert not table.wants("cam1", "masks")
    assert table.handle(b"\x01v1/cam1/masks/") == {("cam1", "masks")}
    assert table.wants("cam1", "masks")
    assert not table.wants("cam10", "masks")
    assert table.kinds("cam1") == ["masks"]
    assert table.handle(b"\x00v1/cam1/masks/") == set()
    assert not table.wants("cam1", "masks")


def test_a_second_subscription_is_passed_on_and_one_cancellation_ends_all():
    """In verbose mode XPUB passes on each subscription, but only the last cancellation."""
    table = Subscriptions(["cam1"])
    assert table.handle(b"\x01v1/cam1/status/") == table.handle(b"\x01v1/cam1/status/") == {("cam1", "status")}
    table.handle(b"\x00v1/cam1/status/")
    assert not table.wants("cam1", "status")


def test_prefixes_cover_what_begins_with_them():
    table = Subscriptions(["cam1", "cam10", "door"])
    assert table.handle(b"\x01v1/cam1") == {(s, k) for s in ("cam1", "cam10") for k in KINDS}
    table.handle(b"\x01v1/cam1/masks/")
    table.handle(b"\x00v1/cam1")
    assert table.kinds("cam1") == ["masks"]
    assert table.kinds("cam10") == []
    table.handle(b"\x01")
    assert table.kinds("door") == list(KINDS)
    assert table.wants("_daemon", "status")
    assert not table.wants("_daemon", "masks")


KINDS = ("masks", "objects", "image", "events", "status")


@given(st.lists(st.binary(max_size=40) | st.binary(max_size=30).map(b"\x01v1/cam".__add__), max_size=60))
def test_hostile_messages_do_not_grow_the_table(messages):
    table = Subscriptions(["cam1"])
    table.handle(b"\x01v1/cam1/masks/")
    for message in messages:
        table.handle(message)
    possible = {name[:end] for name in table._topics for end in range(len(name) + 1)}
    assert table._prefixes <= possible
    assert isinstance(table.wants("cam1", "masks"), bool)


def test_a_stream_may_be_watched_before_it_exists_and_again_after_its_removal():
    table = Subscriptions(["cam1"])
    assert table.handle(b"\x01v1/cam2/masks/") == set()
    assert table.handle(b"\x01v1/cam3/") == set()
    table.add_stream("cam2")
    table.add_stream("cam3")
    assert table.kinds("cam2") == ["masks"]
    assert table.kinds("cam3") == list(KINDS)
    table.remove_stream("cam2")
    assert table.kinds("cam2") == []
    table.handle(b"\x00v1/cam3/")
    assert table.kinds("cam3") == []
    table.add_stream("cam2")
    assert table.kinds("cam2") == ["masks"]


def test_the_table_does_not_grow_with_what_matches_nothing():
    table = Subscriptions(["cam1"])
    for number in range(10_000):
        assert table.handle(b"\x01v1/cam1/masks/%d" % number) == set()
    for number in range(10_000):
        assert table.handle(b"\x01v1/cam%d/masks/" % number) == set() or number == 1
    assert table._prefixes == {b"v1/cam1/masks/"}
    assert len(table._early) == 256
    table.handle(b"\x00v1/cam1/masks/")
    assert not table._prefixes
    assert not table.wants("cam1", "masks")


def test_subscriptions_at_limited_rates_are_separate():
    table = Subscriptions(["cam1", "cam10"])
    assert table.handle(b"\x01r5/v1/cam1/masks/") == {("cam1", "masks")}
    assert table.handle(b"\x01r0.5/v1/cam1/image/") == {("cam1", "image")}
    assert not table.wants("cam1", "masks")
    assert {rate: set(kinds) for rate, kinds in table.rates("cam1").items()} == {5.0: {"masks"}, 0.5: {"image"}}
    assert table.rates("cam10") == {}
    assert table.wants_pictures("cam1")
    assert table.kinds("cam1") == ["masks", "image"]
    table.handle(b"\x00r0.5/v1/cam1/image/")
    assert not table.wants_pictures("cam1")
    assert set(table.rates("cam1")) == {5.0}


def test_a_subscription_to_everything_asks_for_no_limited_rate():
    table = Subscriptions(["cam1"])
    for prefix in (b"", b"v1", b"r", b"r5/v1/", b"r5/v1/cam1/", b"r7/v1/cam1/masks/", b"r5/v1/cam1/status/"):
        table.handle(b"\x01" + prefix)
    assert table.rates("cam1") == {}


def test_a_limited_rate_of_a_stream_that_comes_and_goes():
    table = Subscriptions([])
    assert table.handle(b"\x01r5/v1/cam1/masks/") == set()
    table.add_stream("cam1")
    assert set(table.rates("cam1")) == {5.0}
    table.remove_stream("cam1")
    assert table.rates("cam1") == {}
    table.add_stream("cam1")
    assert set(table.rates("cam1")) == {5.0}
