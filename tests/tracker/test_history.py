from __future__ import annotations

import pytest

from streamseg.errors import FrameExpiredError, PromptError
from streamseg.frame import Frame, FrameFormat, FrameStamps
from streamseg.tracker.history import FrameHistory, evenly

STAMPS = FrameStamps(0, "file", 0, 0, None, (1, 30))


def blank(frame_id: int, epoch: int = 0, width: int = 64) -> Frame:
    return Frame(frame_id, epoch, FrameFormat(width, 48, "gray8"), (), STAMPS)


def filled(frames: int, capacity: int = 5) -> FrameHistory[str]:
    """Every second frame was dropped before it came here."""
    history: FrameHistory[str] = FrameHistory("cam", capacity)
    for number in range(frames):
        history.add(blank(2 * number), number, f"picture {number}")
    return history


def test_only_the_newest_frames_are_held():
    history = filled(100)
    assert [past.frame_id for past in history.since(0)] == [190, 192, 194, 196, 198]
    assert [past.number for past in history.since(97)] == [97, 98, 99]
    assert [past.number for past in history.until(97)] == [97, 96, 95]
    found = history.find(1, 194)
    assert (found.number, found.size, found.picture) == (97, (64, 48), "picture 97")
    assert history.find(1, None).number == 99


def test_a_frame_that_is_gone_is_named_with_those_that_are_held():
    history = filled(100)
    for gone in (0, 188, 193):  # too old, too old by one, dropped before it was tracked
        with pytest.raises(FrameExpiredError, match=f"object 7: frame {gone} of stream 'cam'.* 190 to 198"):
            history.find(7, gone)


def test_a_held_frame_stays_for_new_objects_alone():
    history = filled(5)
    history.hold("one", 2)
    with pytest.raises(FrameExpiredError, match="dropped and never tracked"):
        history.hold("two", 5)
    for number in range(5, 100):
        history.add(blank(2 * number), number, f"picture {number}")
    assert history.find(1, 2, is_new=True).picture == "picture 1"
    with pytest.raises(FrameExpiredError, match="frame 2 of"):
        history.find(1, 2)
    with pytest.raises(FrameExpiredError):
        history.hold("one", 4)
    assert history.find(1, 2, is_new=True).number == 1, "a refused hold changes nothing"
    assert [past.number for past in history.since(0)] == [95, 96, 97, 98, 99], "nothing is tracked through it"
    assert [past.number for past in history.until(50)] == []
    history.hold("one", 198)
    with pytest.raises(FrameExpiredError):
        history.find(1, 2, is_new=True)


def test_two_holders_share_a_frame_and_each_has_one():
    history = filled(5)
    for holder in ("one", "two"):
        history.hold(holder, 0)
    for number in range(5, 20):
        history.add(blank(2 * number), number, f"picture {number}")
    assert history.held() == {0}
    history.hold("one", None)
    assert history.find(1, 0, is_new=True).number == 0
    history.hold("two", None)
    with pytest.raises(FrameExpiredError):
        history.find(1, 0, is_new=True)


def test_a_held_frame_that_is_repeated_means_its_repetitions_too():
    history = filled(1)
    history.hold("one", 0)
    history.repeat(7)
    for number in range(1, 20):
        history.add(blank(2 * number + 10), number, "later")
    assert history.find(1, 6, is_new=True).picture == "picture 0"


def test_a_frame_that_has_not_come_yet_is_refused():
    with pytest.raises(PromptError, match="frame 199 of stream 'cam' was not tracked yet: the newest is 198") as caught:
        filled(100).find(1, 199)
    assert not isinstance(caught.value, FrameExpiredError)
    with pytest.raises(PromptError, match="no frame yet"):
        filled(0).find(1, None)


@pytest.mark.parametrize("change", [{"epoch": 1}, {"width": 80}])
def test_a_discontinuity_expires_all_earlier_frames(change):
    history = filled(3)
    history.hold("one", 4)
    history.add(blank(6, **change), 3, "after the cut")
    with pytest.raises(FrameExpiredError, match="frames 6 to 6"):
        history.find(1, 4, is_new=True)
    assert history.find(1, 6).picture == "after the cut"


def test_a_frame_that_repeats_another_means_that_one():
    history = filled(3)
    history.repeat(5)
    history.repeat(8)  # 6 and 7 were dropped: between two pictures that are the same
    history.add(blank(10), 3, "another")
    assert [history.find(1, frame_id).frame_id for frame_id in (4, 5, 7, 8, 10)] == [4, 4, 4, 4, 10]
    with pytest.raises(FrameExpiredError, match=r"frame 9 of stream 'cam'.* 0 to 10"):  # dropped after another change
        history.find(1, 9)
    for frame_id in range(11, 110):
        history.repeat(frame_id)
    assert history.find(1, 109).picture == history.find(1, None).picture == "another"
    assert len(history.since(0)) == 4
    with pytest.raises(PromptError, match=r"frame 110 .* not tracked yet: the newest is 109"):
        history.find(1, 110)


def test_a_repeated_frame_goes_with_the_one_that_it_repeats():
    history = filled(1)
    history.repeat(1)
    for number in range(5):
        history.add(blank(2 + number), 1 + number, "later")
    with pytest.raises(FrameExpiredError, match=r"frame 1 of stream 'cam'.* 2 to 6"):
        history.find(1, 1)
    with pytest.raises(ValueError, match="cannot be a repetition"):
        filled(0).repeat(0)


def test_a_history_holds_the_newest_frame_at_least():
    with pytest.raises(ValueError, match="expected 1 or more"):
        FrameHistory("cam", 0)


@pytest.mark.parametrize(
    ("count", "most", "chosen"),
    [(9, 4, [2, 4, 6, 8]), (29, 4, [7, 14, 21, 28]), (3, 4, [0, 1, 2]), (5, 1, [4]), (0, 4, [])],
)
def test_frames_are_chosen_evenly_and_include_the_last(count, most, chosen):
    assert evenly(range(count), most) == chosen


def test_a_frame_in_a_gap_was_dropped():
    history = FrameHistory("cam", capacity=4)
    for number, frame_id in enumerate((0, 2, 7, 8)):
        history.add(blank(frame_id), number, None)
    for dropped, near in ((1, 0), (3, 2), (5, 7), (6, 7)):
        with pytest.raises(
            FrameExpiredError, match=f"frame {dropped} of stream 'cam' was dropped and never tracked.*{near}$"
        ):
            history.find(1, dropped)
    history.add(blank(9), 4, None)
    for gone in (0, 1):
        with pytest.raises(FrameExpiredError, match=f"frame {gone} of stream 'cam' is not held: frames 2 to 9 are"):
            history.find(1, gone)
