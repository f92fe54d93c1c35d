from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from streamseg.errors import ModelError
from streamseg.models.tuning import Confidence
from streamseg.tracker.confidence import SIGNALS, ConfidenceMeter
from streamseg.tracker.predictor import TrackOutput
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


def _picture() -> Tensor:
    """Features ``[tokens, C]`` of 4 x 4 cells: one look on the left, another on the right, a third between."""
    cells = torch.zeros(4, 4, 3)
    cells[:, 0:2, 0], cells[:, 2:4, 1] = 1, 1
    return cells.reshape(16, 3)


def _named(row: Tensor) -> dict[str, float]:
    return dict(zip(SIGNALS, row.tolist(), strict=True))


def _meter(**weights: float) -> ConfidenceMeter:
    return ConfidenceMeter(Confidence(signals=tuple(weights), weights=tuple(weights.values()), bias=0.0), CPU)


def test_a_mask_that_jumps_to_another_thing_is_neither_continuous_nor_like_itself() -> None:
    meter = _meter(iou=1.0)
    stays = _named(meter.signals("cam", _output(LEFT), _picture())[0])
    assert stays["continuity"] == pytest.approx(1)
    assert stays["likeness"] == pytest.approx(1)
    jumped = _named(meter.signals("cam", _output(RIGHT), _picture())[0])
    assert jumped["continuity"] == 0
    assert jumped["likeness"] < 0
    assert 0 < jumped["mean_continuity"] < 1
    back = _named(meter.signals("cam", _output(LEFT), _picture())[0])
    assert back["continuity"] == 0
    assert back["likeness"] == pytest.approx(1)


def test_masks_that_share_pixels_overlap() -> None:
    both = _meter(iou=1.0).signals("cam", _output(LEFT, slice(2, 12), RIGHT), _picture())
    assert both[:, SIGNALS.index("overlap")].tolist() == pytest.approx([1, 0.8, 0.6])


def test_an_object_without_a_mask_has_no_confidence_and_keeps_its_past() -> None:
    meter = _meter(continuity=2.0)
    meter.measure("cam", _output(LEFT), _picture())
    assert meter.measure("cam", _output(None), _picture()).tolist() == [0]
    assert meter.measure("cam", _output(LEFT, score=-3.0), _picture()).tolist() == [0]
    again = _named(meter.signals("cam", _output(LEFT), _picture())[0])
    assert again["continuity"] == pytest.approx(1)
    assert again["mean_continuity"] == pytest.approx(1)


def test_a_prompt_drops_the_past() -> None:
    meter = _meter(continuity=2.0)
    meter.measure("cam", _output(LEFT), _picture())
    meter.forget("cam", 1)
    assert _named(meter.signals("cam", _output(RIGHT), _picture())[0])["continuity"] == pytest.approx(1)
    meter.close("cam")
    assert _named(meter.signals("cam", _output(LEFT), _picture())[0])["continuity"] == pytest.approx(1)


def test_confidence_is_the_fitted_regression() -> None:
    meter = _meter(iou=2.0, stability=-1.0)
    (confidence,) = meter.measure("cam", _output(LEFT, iou=0.7), _picture()).tolist()
    assert confidence == pytest.approx(1 / (1 + np.exp(-(2 * np.log(0.7 / 0.3) - 1))))
    (prompted,) = meter.measure_prompted(_output(LEFT, iou=0.7)).tolist()
    assert prompted == pytest.approx(confidence)


def test_a_model_without_a_fit_has_no_confidence() -> None:
    meter = ConfidenceMeter(None, CPU)
    assert meter.measure("cam", _output(LEFT), _picture()) is None
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
