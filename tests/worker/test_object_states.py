"""States follow sightings and the stream's clock, and each change is one event."""

from streamseg.worker.object_states import ObjectStates

SECOND = 1_000_000_000


def test_object_is_occluded_then_lost_then_appears_again():
    states = ObjectStates(lost_after_ns=2 * SECOND)
    seen = [(0, True), (1, False), (2, False), (3, False), (4, True)]
    got = [states.update(7, visible, second * SECOND) for second, visible in seen]
    assert got == [
        ("tracked", None),
        ("occluded", "object_occluded"),
        ("lost", "object_lost"),
        ("lost", None),
        ("tracked", "object_appeared"),
    ]


def test_object_that_was_never_seen_is_occluded_first():
    states = ObjectStates(lost_after_ns=2 * SECOND)
    assert states.update(1, False, 5 * SECOND) == ("occluded", "object_occluded")


def test_forgotten_object_begins_anew():
    states = ObjectStates(lost_after_ns=SECOND)
    states.update(1, False, 0)
    states.update(2, False, 0)
    states.forget(1)
    assert states.update(1, True, 9 * SECOND) == ("tracked", None)
    assert states.update(2, False, 9 * SECOND) == ("lost", "object_lost")
    states.clear()
    assert states.update(2, True, 9 * SECOND) == ("tracked", None)


def test_a_clock_that_jumps_back_does_not_find_what_is_lost():
    states = ObjectStates(lost_after_ns=2 * SECOND)
    seen = [(100, True), (101, False), (102, False), (0, False), (1, False)]
    got = [states.update(7, visible, second * SECOND)[0] for second, visible in seen]
    assert got == ["tracked", "occluded", "lost", "lost", "lost"]
    states.clear()
    seen = [(100, True), (0, False), (1, False), (2, False)]
    got = [states.update(7, visible, second * SECOND)[0] for second, visible in seen]
    assert got == ["tracked", "occluded", "occluded", "lost"]
