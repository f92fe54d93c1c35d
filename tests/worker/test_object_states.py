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


def test_forgotten_object_starts_again():
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


def _states(confidences, *, below=0.5, visible=True):
    states = ObjectStates(lost_after_ns=9 * SECOND, uncertain_below=below, uncertain_after_ns=2 * SECOND)
    return [states.update(1, visible, second * SECOND, confidence) for second, confidence in enumerate(confidences)]


def test_an_object_is_uncertain_while_its_confidence_stays_low():
    got = _states([0.9, 0.2, 0.2, 0.2, 0.2, 0.8, 0.8, 0.8])
    assert got == [
        ("tracked", None),
        ("tracked", None),
        ("uncertain", "object_uncertain"),
        ("uncertain", None),
        ("uncertain", None),
        ("uncertain", None),
        ("tracked", "object_certain"),
        ("tracked", None),
    ]


def test_a_short_dip_changes_nothing():
    assert {state for state, _ in _states([0.9, 0.2, 0.9, 0.2, 0.9])} == {"tracked"}


def test_without_confidence_or_with_the_limit_0_nothing_is_uncertain():
    assert {state for state, _ in _states([None] * 6)} == {"tracked"}
    assert {state for state, _ in _states([0.1] * 6, below=0)} == {"tracked"}


def test_an_uncertain_object_that_is_hidden_appears_as_tracked():
    states = ObjectStates(lost_after_ns=9 * SECOND, uncertain_below=0.5, uncertain_after_ns=SECOND)
    seen = [(True, 0.1), (True, 0.1), (False, 0.0), (True, 0.1), (True, 0.1)]
    got = [states.update(1, visible, n * SECOND, confidence) for n, (visible, confidence) in enumerate(seen)]
    assert [state for state, _ in got] == ["tracked", "uncertain", "occluded", "tracked", "uncertain"]
    assert [event for _, event in got][1:] == [
        "object_uncertain",
        "object_occluded",
        "object_appeared",
        "object_uncertain",
    ]
