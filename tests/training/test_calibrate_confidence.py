from __future__ import annotations

import numpy as np
import pytest

from streamseg.models.tuning import Confidence
from training.calibrate_confidence import calibrate, calibrated, log_odds
from training.fit_confidence import confidences, judge, sigmoid


def test_scale_and_offset_of_probabilities_that_are_too_sure_are_found() -> None:
    rng = np.random.default_rng(0)
    odds = rng.normal(2, 2, 20_000)
    good = rng.random(20_000) < sigmoid(0.6 * odds - 1)
    assert calibrate(odds, good) == pytest.approx([0.6, -1], abs=0.06)


def test_one_kind_of_masks_gives_finite_numbers() -> None:
    assert np.isfinite(calibrate(np.array([1.0, 2.0, 3.0]), np.ones(3, bool))).all()


def test_the_regression_gives_the_calibrated_log_odds() -> None:
    before = Confidence(signals=("iou", "presence"), weights=(2.0, -1.0), bias=0.5, fitted_on="clips")
    after = calibrated(before, 0.6, -1.0, "real clips")
    signals = np.array([[1.0, 2.0], [3.0, 0.5]])
    odds = [log_odds(value) for value in confidences(before, signals)]
    assert confidences(after, signals) == pytest.approx(sigmoid(0.6 * np.array(odds) - 1.0))
    assert after.fitted_on == "clips; real clips"


def test_certainty_has_finite_log_odds() -> None:
    assert -20 < log_odds(0.0) < log_odds(0.5) == 0 < log_odds(1.0) < 20


def test_probabilities_are_judged_by_their_order_and_their_means() -> None:
    # Of four pairs of a good and a bad mask three are in order, and one is a tie, which counts half.
    probability, good = np.array([0.95, 0.25, 0.25, 0.05]), np.array([True, True, False, False])
    assert judge(probability, good) == "AUROC 0.875, calibration error 0.150"
