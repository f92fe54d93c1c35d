"""The subscriber without sockets: gaps, order, modes, discovery, backlog."""

from __future__ import annotations

import time

import pytest

from streamseg.client.adaptive_rate import AdaptiveRate
from streamseg.client.assembly import assemble
from streamseg.client.core import MAX_BEHIND_NS, SubscriberCore
from streamseg.client.inbox import AllInbox, LatestInbox, PairInbox
from streamseg.errors import ConfigError, ProtocolError
from streamseg.protocol.clock import clock_name

NOW = {"clock": clock_name()}


def core(inbox, streams=("cam1",), kinds=("masks",)):
    return SubscriberCore("ipc:///x", streams, kinds, inbox)


def drain(core):
    taken = []
    while (result := core.take()) is not None:
        taken.append(result)
    return taken


def fresh(golden, frame, seq=None, **changes):
    return golden.masks(frame, seq, t_published_ns=str(time.monotonic_ns()), **NOW, **changes)


# --- losses ---------------------------------------------------------------------------------------------------------


def test_gaps_and_skipped_frames_are_distinguished(golden):
    subject = core(AllInbox())
    for frame, seq in [(10, 5), (11, 6), (14, 7), (20, 9), (21, 10)]:
        subject.feed(fresh(golden, frame, seq))
    got = [(m.frame, m.gap, m.skipped, m.superseded) for m in drain(subject)]
    # 10 first: nothing known. 14: two frames without a message. 20: message 8 was lost, four more frames skipped.
    assert got == [(10, 0, 0, 0), (11, 0, 0, 0), (14, 0, 2, 0), (20, 1, 4, 0), (21, 0, 0, 0)]


def test_a_publishers_restart_is_not_counted_as_losses(golden):
    subject = core(AllInbox())
    subject.feed(fresh(golden, 1000, 900))
    subject.feed(fresh(golden, 1004, 0, publisher="another"))
    subject.feed(fresh(golden, 1005, 1, publisher="another"))
    assert [(m.frame, m.seq, m.gap, m.skipped) for m in drain(subject)] == [
        (1000, 900, 0, 0),
        (1004, 0, 0, 3),
        (1005, 1, 0, 0),
    ]


def test_a_restart_of_the_daemon_resets_everything(golden):
    subject = core(AllInbox())
    subject.feed(fresh(golden, 1000, 900))
    subject.feed(fresh(golden, 2, 1, session="another", publisher="another"))
    assert [(m.frame, m.gap, m.skipped, m.session) for m in drain(subject)][1] == (2, 0, 0, "another")


@pytest.mark.parametrize("inbox", [AllInbox, LatestInbox])
def test_older_frames_are_stale(golden, inbox):
    subject = core(inbox())
    subject.feed(fresh(golden, 7, 7))
    assert [m.frame for m in drain(subject)] == [7]
    subject.feed(fresh(golden, 7, 7))  # again
    subject.feed(fresh(golden, 6, 6))  # older
    subject.feed(fresh(golden, 6, 0, publisher="another"))  # older, from another process of the same session
    assert drain(subject) == []
    assert subject.stats.stale == 3
    subject.feed(fresh(golden, 7, 1, publisher="another"))  # a correction of the same frame
    assert [m.frame for m in drain(subject)] == [7]


# --- modes ----------------------------------------------------------------------------------------------------------


def test_latest_delivers_the_newest_and_counts_what_it_overtook(golden):
    subject = core(LatestInbox())
    for frame, seq in [(1, 0), (2, 1), (5, 2), (6, 5)]:
        subject.feed(fresh(golden, frame, seq))
    (newest,) = drain(subject)
    assert (newest.frame, newest.superseded, newest.gap, newest.skipped) == (6, 3, 2, 2)
    subject.feed(fresh(golden, 7, 6))
    assert [(m.frame, m.superseded, m.gap) for m in drain(subject)] == [(7, 0, 0)]


def test_latest_is_fair_between_streams_and_keeps_every_event(golden):
    subject = core(LatestInbox(), streams=("cam1", "cam2"), kinds=("masks", "events"))
    subject.feed(fresh(golden, 1))
    subject.feed(fresh(golden, 1, stream="cam2"))
    for seq in range(3):
        subject.feed(fresh(golden, 2 + seq))
        subject.feed(golden("event_object", seq=seq))
    got = [(m.kind, m.stream, m.seq) for m in drain(subject)]
    assert got == [
        ("events", "cam1", 0),
        ("events", "cam1", 1),
        ("events", "cam1", 2),
        ("masks", "cam1", 4),
        ("masks", "cam2", 1),
    ]


def test_unread_events_are_bounded_and_counted(golden):
    subject = core(LatestInbox(), kinds=("events",))
    for seq in range(1500):
        subject.feed(golden("event_object", seq=seq))
    got = drain(subject)
    assert len(got) == 1000
    assert (got[0].seq, got[0].gap, got[-1].seq) == (500, 500, 1499)


def test_all_reads_one_message_at_a_time_from_the_socket(golden):
    subject = core(AllInbox())
    assert subject.wants_more()
    subject.feed(fresh(golden, 1))
    assert not subject.wants_more()
    drain(subject)
    assert subject.wants_more()


def image(golden, frame, **changes):
    return golden("image", frame=frame, seq=frame, **changes)


def test_pairs_are_of_the_same_frame_and_the_newest(golden):
    subject = core(PairInbox(), kinds=("masks", "image"))
    for frame in range(6):
        subject.feed(fresh(golden, frame))
    for frame in (1, 3):  # pictures are later, and some are dropped
        subject.feed(image(golden, frame))
    assert [(p.frame, p.image.frame, p.stream) for p in drain(subject)] == [(3, 3, "cam1")]
    subject.feed(image(golden, 8))  # a picture that came before its masks
    subject.feed(fresh(golden, 8))
    assert [p.frame for p in drain(subject)] == [8]
    subject.feed(image(golden, 9, session="another", publisher="another"))
    subject.feed(fresh(golden, 9))
    assert drain(subject) == []


def test_unpaired_frames_are_bounded(golden):
    inbox = PairInbox()
    subject = core(inbox, kinds=("masks", "image"))
    for frame in range(500):
        subject.feed(fresh(golden, frame))
        subject.feed(image(golden, frame + 1000))
    assert drain(subject) == []
    assert len(inbox._masks["cam1"]._waiting) <= 32
    assert len(inbox._images["cam1"]._waiting) <= 32


# --- what is not ours -----------------------------------------------------------------------------------------------


def test_longer_topics_and_malformed_messages_are_skipped(golden):
    subject = core(LatestInbox())
    subject.feed(fresh(golden, 1, stream="cam10"))
    subject.feed([])
    subject.feed([b"v1/cam1/masks/"])
    subject.feed([b"v1/cam1/masks/", b"{"])
    subject.feed([b"v1/cam1/masks/more", b"{}"])
    subject.feed([b"v1/_daemon/status/", b"{}"])
    assert drain(subject) == []
    assert (subject.stats.received, subject.stats.malformed) == (6, 3)
    subject.feed(fresh(golden, 2))
    assert [m.frame for m in drain(subject)] == [2]


# --- discovery ------------------------------------------------------------------------------------------------------


def test_all_streams_are_found_through_the_daemons_status(golden):
    subject = core(LatestInbox(), streams=None, kinds=("masks", "events"))
    assert subject.topics() == [b"v1/_daemon/events/", b"v1/_daemon/status/"]
    subject.feed(golden("daemon_status", streams=["cam1", "door", "Not An Id", "../x"]))
    assert subject.take_fresh_topics() == [b"v1/cam1/masks/", b"v1/cam1/events/", b"v1/door/masks/", b"v1/door/events/"]
    subject.feed(golden("daemon_status", seq=1, streams=["cam1", "door"]))
    assert subject.take_fresh_topics() == []
    assert drain(subject) == []  # the status itself was not subscribed to
    subject.feed(fresh(golden, 3, stream="door"))
    assert [m.stream for m in drain(subject)] == ["door"]
    assert len(subject.topics()) == 6


def test_discovery_is_bounded(golden):
    subject = core(LatestInbox(), streams=None)
    for batch in range(5):
        subject.feed(golden("daemon_status", streams=[f"s{batch}-{number}" for number in range(2000)]))
    assert len(subject.topics()) <= 1024 * 5 + 1


def test_other_streams_do_not_join_named_ones(golden):
    subject = core(LatestInbox(), streams=("cam1",))
    subject.feed(golden("daemon_status", streams=["cam1", "door"]))
    assert subject.take_fresh_topics() == [b"v1/cam1/masks/"]


def test_the_timeout_says_what_is_known(golden):
    subject = core(LatestInbox(), streams=("cam2",))
    assert "nothing was received: is streamseg running" in str(subject.timeout_error(2.5))
    subject.feed(golden("daemon_status", streams=["cam1", "door"]))
    text = str(subject.timeout_error(2.5))
    assert text.startswith("no masks of cam2 arrived from ipc:///x within 2.5 s: ")
    assert "no stream 'cam2'; streams: cam1, door" in text
    subject.feed(golden("daemon_status", seq=1, streams=["cam2"]))
    assert "the daemon is up" in str(subject.timeout_error(2.5))


@pytest.mark.parametrize(
    ("streams", "kinds", "message"),
    [
        (("Cam 1",), ("masks",), "streams: 'Cam 1'"),
        ((), ("masks",), "streams: give at least one"),
        (("cam1",), ("mask",), "kinds: 'mask' is unknown: choose from masks, objects"),
        (("cam1",), (), "kinds: give at least one"),
    ],
)
def test_invalid_streams_and_kinds_are_refused(streams, kinds, message):
    with pytest.raises(ConfigError, match=message):
        core(LatestInbox(), streams, kinds)


def test_a_single_name_is_not_taken_for_letters():
    assert core(LatestInbox(), streams="cam1", kinds="masks").topics() == [b"v1/cam1/masks/", b"v1/_daemon/status/"]


# --- backlog --------------------------------------------------------------------------------------------------------


def old(golden, frame, behind_ns, **changes):
    return golden.masks(frame, t_published_ns=str(time.monotonic_ns() - behind_ns), **(NOW | changes))


def test_a_backlog_is_dropped_and_counted_as_a_gap(golden, caplog):
    subject = core(AllInbox())
    subject.feed(old(golden, 1, 0))
    subject.feed(old(golden, 2, MAX_BEHIND_NS + 10**8))
    subject.feed(old(golden, 3, MAX_BEHIND_NS + 10**8))
    assert not subject.wants_more()
    assert [m.frame for m in drain(subject)] == [1]
    assert subject.take_shed()
    assert not subject.take_shed()
    assert subject.stats.backlogs_shed == 1
    assert "2.1 s behind" in caplog.text
    subject.feed(old(golden, 50, 0))
    assert [(m.frame, m.gap) for m in drain(subject)] == [(50, 48)]


def test_a_wrong_clock_does_not_drop_backlogs_forever(golden):
    subject = core(AllInbox())
    subject.feed(old(golden, 1, 10**13))
    assert subject.take_shed()
    for frame in range(2, 6):
        subject.feed(old(golden, frame, 10**13))
    assert not subject.take_shed()
    assert [m.frame for m in drain(subject)] == [2, 3, 4, 5]


def test_lag_on_another_machine_is_measured_from_the_smallest(golden):
    elsewhere = {"clock": "00000000"}
    subject = core(AllInbox())
    for frame in range(3):
        subject.feed(old(golden, frame, 10**15, **elsewhere))  # that machine booted long after ours
    assert not subject.take_shed()
    subject.feed(old(golden, 3, 10**15 + 3 * 10**9, **elsewhere))
    assert subject.take_shed()


def test_latest_never_drops_a_backlog(golden):
    subject = core(LatestInbox())
    subject.feed(old(golden, 1, 10**10))
    assert [m.frame for m in drain(subject)] == [1]
    assert not subject.take_shed()


def test_a_recorder_never_drops_its_backlog(golden):
    subject = core(AllInbox(sheds_backlog=False))
    for frame in range(1, 4):
        subject.feed(old(golden, frame, 10**10))
    assert [m.frame for m in drain(subject)] == [1, 2, 3]
    assert not subject.take_shed()


# --- limited rates --------------------------------------------------------------------------------------------------


class SlowConsumer(AdaptiveRate):
    """Changes to a given rate when it is asked."""

    def __init__(self):
        super().__init__(1.0, 10.0)
        self.next = None

    def asked(self):
        changed, self.rate_hz, self.next = self.next is not None, self.next or self.rate_hz, None
        return changed


def rated(golden, rate, frame, seq):
    topic, *rest = fresh(golden, frame, seq)
    return [topic.replace(b"v1/", f"r{rate}/v1/".encode()), *rest]


def test_a_change_of_rate_counts_no_loss_and_repeats_no_frame(golden):
    rate = SlowConsumer()
    subject = SubscriberCore("ipc:///x", ["cam1"], ["masks", "events"], AllInbox(), rate)
    assert set(subject.topics()) == {b"r10/v1/cam1/masks/", b"v1/cam1/events/", b"v1/_daemon/status/"}
    subject.feed(rated(golden, 10, 100, 40))
    subject.feed(rated(golden, 10, 103, 41))
    rate.next = 2.0
    subject.asked()
    assert (subject.take_fresh_topics(), subject.take_old_topics()) == ([b"r2/v1/cam1/masks/"], [b"r10/v1/cam1/masks/"])
    subject.feed(rated(golden, 10, 106, 42))  # still on its way: no longer wanted
    subject.feed(rated(golden, 2, 103, 7))  # seen already at the other rate
    subject.feed(rated(golden, 2, 115, 8))
    subject.feed(rated(golden, 2, 145, 10))
    got = [(m.frame, m.rate_hz, m.gap, m.skipped) for m in drain(subject)]
    assert got == [(100, 10.0, 0, 0), (103, 10.0, 0, 2), (115, 2.0, 0, 11), (145, 2.0, 1, 28)]
    assert subject.stats.stale == 1


def test_a_daemon_without_rates_sends_every_frame(golden, caplog):
    subject = SubscriberCore("ipc:///x", None, ["masks"], AllInbox(), AdaptiveRate(None, 5.0))
    subject.feed(golden("daemon_status", streams=["cam1"]))
    assert "every frame is received" in caplog.text
    assert b"v1/cam1/masks/" in subject.take_fresh_topics()
    assert subject.rate_hz is None


def test_a_daemon_with_rates_is_asked_for_them(golden):
    subject = SubscriberCore("ipc:///x", None, ["masks"], AllInbox(), AdaptiveRate(None, 5.0))
    subject.feed(golden("daemon_status", streams=["cam1"], rates=[1.0, 5.0]))
    assert subject.take_fresh_topics() == [b"r5/v1/cam1/masks/"]


@pytest.mark.parametrize("topic", [b"r5/v1/cam1/status/", b"r5/v1/cam1/events/", b"r1.2.3/v1/cam1/masks/"])
def test_impossible_rated_topics_are_malformed(golden, topic):
    name = {b"status": "status", b"events": "event_object", b"masks": "masks_coco_rle"}[topic.split(b"/")[3]]
    with pytest.raises(ProtocolError):
        assemble([topic, *golden(name)[1:]])
