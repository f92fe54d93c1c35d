"""What the demo says about its objects and its pace."""

import pytest

from streamseg.cli.demo import _late
from streamseg.cli.demo_watch import Followed, Measured
from streamseg.client import ObjectMask


def obj(state, confidence=0.46):
    return ObjectMask(
        id=1,
        label="koi",
        state=state,
        score=0.9,
        presence=0.1,
        confidence=confidence,
        bbox=(0, 0, 0, 0),
        area=0,
        centroid=(0.0, 0.0),
        roi=(0, 0, 0, 0),
        size=(4, 4),
        encoding="none",
        data=b"",
    )


@pytest.mark.parametrize(
    ("state", "shown"),
    [("tracked", "0.46"), ("uncertain", "0.46 uncertain"), ("occluded", "occluded"), ("lost", "lost")],
)
def test_an_object_that_is_not_visible_has_no_confidence(state, shown):
    followed = Followed()
    followed.add(obj("tracked", 0.8))
    followed.add(obj(state))
    assert followed.now == shown
    seen = followed.frames - followed.unseen
    assert followed.confidence == pytest.approx(0.8 + (0.46 if seen == 2 else 0))


@pytest.mark.parametrize(
    ("measured", "pace", "words"),
    [
        (Measured(frames=100, seconds=10, played_s=10), "camera", None),
        (Measured(frames=100, dropped=3, seconds=10, played_s=10), "camera", None),
        (Measured(frames=40, dropped=60, seconds=10, played_s=10), "camera", "60 % of its frames were dropped"),
        (Measured(frames=100, seconds=10, played_s=4), "live", "it fell 6 s behind; with --pace camera it drops"),
        (Measured(frames=100, seconds=10, played_s=10.5), "live", None),
        (Measured(frames=100, seconds=10, played_s=40), "fast", None),
    ],
)
def test_a_model_that_cannot_keep_pace_is_named(measured, pace, words):
    late = _late(measured, pace)
    assert late is None if words is None else words in late
