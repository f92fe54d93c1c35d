from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from streamseg.errors import ModelError
from streamseg.models.tuning import Confidence
from streamseg.tracker.confidence import SIGNALS, ConfidenceMeter
from streamseg.tracker.predictor import TrackOutput
from streamseg.tracker.sam2.appearance import BINS, COLORS
from training.fit_confidence import confidences, fit

CPU = torch.device("cpu")
SIDE = 16
LEFT, RIGHT = slice(2, 7), slice(9, 14)


def _output(*columns: slice | None, iou: float = 0.9, score: float = 4.0) -> TrackOutput:
    logits = torch.full((len(columns), SIDE, SIDE), -6.0)
    for row, span in enumerate(columns):
        if span is not None:
            logits[row, 4:12, span] = 6.0
    count = len(columns)
    return TrackOutput(tuple(range(1, count + 1)), logits, torch.full((count,), iou), torch.full((count,), score))


def _picture(left: int = 300, right: int = 900) -> Tensor:
    """Colors of a picture whose two halves have one color each."""
    colors = torch.full((2 * SIDE, 2 * SIDE), left, dtype=torch.int16)
    colors[:, SIDE:] = right
    return colors


def _no_picture() -> Tensor:
    raise AssertionError("nothing needs the picture")


def _named(row: Tensor) -> dict[str, float]:
    return dict(zip(SIGNALS, row.tolist(), strict=True))


def _meter(**weights: float) -> ConfidenceMeter:
    return ConfidenceMeter(Confidence(signals=tuple(weights), weights=tuple(weights.values()), bias=0.0), CPU)


def test_a_mask_on_another_thing_has_other_colors() -> None:
    meter = _meter(iou=1.0)
    assert _named(meter.signals("cam", _output(LEFT), _picture())[0])["color"] == pytest.approx(1)
    assert _named(meter.signals("cam", _output(RIGHT), _picture())[0])["color"] == 0
    half = _named(meter.signals("cam", _output(slice(2, 14)), _picture())[0])
    assert half["color"] == pytest.approx(0.5)
    assert _named(meter.signals("cam", _output(LEFT), _picture())[0])["color"] == pytest.approx(1)


def test_a_little_light_changes_the_color_a_little() -> None:
    step = COLORS // BINS[0]
    for luma in range(1, BINS[0] - 2):
        meter = _meter(iou=1.0)
        meter.signals("cam", _output(LEFT), _picture(left=luma * step + 40))
        lighter = _named(meter.signals("cam", _output(LEFT), _picture(left=(luma + 1) * step + 40))[0])
        assert lighter["color"] == pytest.approx(0.5)
        assert _named(meter.signals("cam", _output(LEFT), _picture(left=luma * step + 60))[0])["color"] == 0


def test_each_object_keeps_its_own_past() -> None:
    meter = _meter(iou=1.0)
    first = _output(LEFT, RIGHT)
    meter.signals("cam", first._replace(iou_prediction=torch.tensor([0.5, 0.9])), _picture())
    swapped = _output(LEFT, LEFT, RIGHT)._replace(obj_ids=(2, 3, 1))
    two, three, one = map(_named, meter.signals("cam", swapped, _picture()))
    assert [two["color"], three["color"], one["color"]] == pytest.approx([0, 1, 0])
    assert [two["first_quality"], one["first_quality"]] == pytest.approx([0.9, 0.5])
    assert one["mean_quality"] == pytest.approx(0.54)


def test_overlap_is_averaged() -> None:
    meter = _meter(iou=1.0)
    meter.signals("cam", _output(LEFT, RIGHT), _picture())
    covered = _named(meter.signals("cam", _output(LEFT, LEFT), _picture())[0])
    assert (covered["overlap"], covered["mean_overlap"]) == (pytest.approx(1), pytest.approx(0.1))


def test_a_mask_that_grows_or_shrinks_differs_from_the_first_one() -> None:
    meter = _meter(iou=1.0)
    assert _named(meter.signals("cam", _output(slice(4, 8)), _picture())[0])["area"] == 0
    grown = _named(meter.signals("cam", _output(slice(2, 10)), _picture())[0])
    shrunk = _named(meter.signals("cam", _output(slice(4, 6)), _picture())[0])
    assert grown["area"] == pytest.approx(np.log(2))
    assert shrunk["area"] == pytest.approx(np.log(2))
    meter.signals("tiny", _output(slice(4, 5)), _picture())
    assert _named(meter.signals("tiny", _output(slice(0, 16)), _picture())[0])["area"] == pytest.approx(np.log(8))


def test_the_first_quality_stays_and_the_mean_follows() -> None:
    meter = _meter(iou=1.0)
    first = _named(meter.signals("cam", _output(LEFT, iou=0.5), _picture())[0])
    assert first["first_quality"] == first["mean_quality"] == pytest.approx(0.5)
    then = _named(meter.signals("cam", _output(LEFT, iou=0.9), _picture())[0])
    assert then["first_quality"] == pytest.approx(0.5)
    assert then["mean_quality"] == pytest.approx(0.54)


def test_an_object_begins_with_its_first_mask() -> None:
    meter = _meter(iou=1.0)
    meter.signals("cam", _output(None), _picture())
    began = _named(meter.signals("cam", _output(LEFT, iou=0.7), _picture())[0])
    assert (began["color"], began["area"]) == (pytest.approx(1), 0)
    assert began["first_quality"] == began["mean_quality"] == pytest.approx(0.7)


def test_masks_that_share_pixels_overlap() -> None:
    both = _meter(iou=1.0).signals("cam", _output(LEFT, slice(2, 12), RIGHT), _picture())
    assert both[:, SIGNALS.index("overlap")].tolist() == pytest.approx([1, 0.8, 0.6])


def test_an_object_without_a_mask_has_no_confidence_and_keeps_its_past() -> None:
    meter = _meter(color=2.0)
    meter.measure("cam", _output(LEFT), _picture)
    assert meter.measure("cam", _output(None), _picture).tolist() == [0]
    assert meter.measure("cam", _output(LEFT, score=-3.0), _picture).tolist() == [0]
    again = _named(meter.signals("cam", _output(RIGHT), _picture())[0])
    assert again["color"] == 0
    assert again["mean_quality"] == pytest.approx(0.9)


def test_a_prompt_drops_the_past() -> None:
    meter = _meter(color=2.0)
    meter.measure("cam", _output(LEFT), _picture)
    meter.forget("cam", 1)
    assert _named(meter.signals("cam", _output(RIGHT), _picture())[0])["color"] == pytest.approx(1)
    meter.close("cam")
    assert _named(meter.signals("cam", _output(LEFT), _picture())[0])["color"] == pytest.approx(1)


def test_the_past_moves_with_the_memory() -> None:
    meter, other = _meter(color=2.0), _meter(color=2.0)
    meter.signals("cam", _output(LEFT), _picture())
    memory = {"features": torch.zeros(1), **meter.export("cam", 1)}
    other.take("cam", 1, memory)
    assert memory.keys() == {"features"}
    assert _named(other.signals("cam", _output(RIGHT), _picture())[0])["color"] == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("colors", torch.zeros(7)),
        ("area", torch.ones(1)),
        ("means", torch.tensor([0.5, math.nan])),
        ("quality", torch.tensor(0.5, dtype=torch.float64)),
        ("look", torch.zeros(3)),
    ],
)
def test_a_past_that_is_damaged_or_of_another_version_is_dropped(name: str, value: Tensor) -> None:
    meter, other = _meter(color=2.0), _meter(color=2.0)
    meter.signals("cam", _output(LEFT), _picture())
    other.signals("cam", _output(LEFT), _picture())
    memory = {"features": torch.zeros(1), **meter.export("cam", 1), f"confidence {name}": value}
    other.take("cam", 1, memory)
    assert memory.keys() == {"features"}
    assert _named(other.signals("cam", _output(RIGHT), _picture())[0])["color"] == pytest.approx(1)


def test_confidence_is_the_fitted_regression() -> None:
    meter = _meter(iou=2.0, color=-1.0)
    (confidence,) = meter.measure("cam", _output(LEFT, iou=0.7), _picture).tolist()
    assert confidence == pytest.approx(1 / (1 + np.exp(-(2 * np.log(0.7 / 0.3) - 1))))
    (prompted,) = meter.measure_prompted(_output(LEFT, iou=0.7)).tolist()
    assert prompted == pytest.approx(confidence)


def test_a_model_without_a_fit_has_no_confidence() -> None:
    meter = ConfidenceMeter(None, CPU)
    assert meter.measure("cam", _output(LEFT), _no_picture) is None
    assert meter.measure_prompted(_output(LEFT)) is None


def test_unknown_signals_are_refused() -> None:
    with pytest.raises(ModelError, match="unknown signals: mood"):
        _meter(mood=1.0)


def test_the_fit_finds_the_probability_that_made_the_samples() -> None:
    rng = np.random.default_rng(3)
    signals = rng.normal(size=(20_000, len(SIGNALS)))
    truth = 1 / (1 + np.exp(-(2 * signals[:, 0] - signals[:, 5] + 0.5)))
    found = confidences(fit(signals, rng.random(20_000) < truth), signals)
    assert np.abs(found - truth).mean() < 0.03


def test_there_is_nothing_to_learn_from_masks_that_are_all_good() -> None:
    with pytest.raises(ValueError, match="follow more videos"):
        fit(np.zeros((4, len(SIGNALS))), np.ones(4, np.bool_))
