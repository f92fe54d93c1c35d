from __future__ import annotations

from pathlib import Path

import pytest

from streamseg.errors import ModelError
from streamseg.models.tuning import Confidence, MemoryThresholds, Tuning, load_tuning, save_tuning, tuning_file


def test_a_model_without_a_file_has_the_defaults(tmp_path: Path) -> None:
    assert load_tuning(str(tmp_path / "own.yaml")) == Tuning()
    assert load_tuning("configs/sam2.1/sam2.1_hiera_t.yaml") == Tuning()
    assert Tuning().memory == "sam2"
    assert Tuning().confidence is None


def test_saved_tuning_is_loaded(tmp_path: Path) -> None:
    config = str(tmp_path / "own.yaml")
    confidence = Confidence(signals=("score",), weights=(2.0,), bias=-1.0, fitted_on="10 clips")
    tuning = Tuning(memory="gated", thresholds=MemoryThresholds(window=12), confidence=confidence)
    assert save_tuning(config, tuning) == tmp_path / "own.tuning.json"
    assert load_tuning(config) == tuning


def test_a_config_of_the_sam2_package_has_no_place_for_it() -> None:
    with pytest.raises(ModelError, match="use a config of your own"):
        save_tuning("configs/sam2.1/sam2.1_hiera_t.yaml", Tuning())


@pytest.mark.parametrize("text", ['{"version": 2}', "{", '{"surprise": 1}'])
def test_a_damaged_file_names_itself(tmp_path: Path, text: str) -> None:
    config = str(tmp_path / "own.yaml")
    tuning_file(config).write_text(text)
    with pytest.raises(ModelError, match=r"own\.tuning\.json"):
        load_tuning(config)
