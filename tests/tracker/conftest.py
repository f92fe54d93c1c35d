from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sam2.modeling.sam2_base import SAM2Base
from sam2.sam2_video_predictor import SAM2VideoPredictor

from streamseg.tracker.predictor import CameraPredictor
from streamseg.tracker.sam2.build import build_model, build_reference_model
from streamseg.tracker.sam2.ranged_attention import VarlenAttention
from tests.one_thread import one_thread as one_thread
from tests.tracker.sam2.flash_stand_in import flash_on_cpu
from tests.tracker.tracker_scenes import Change, excite

SMALL_SAM2 = Path(__file__).with_name("small_sam2.yaml")
SIZE = 128


@pytest.fixture(scope="session")
def small() -> SAM2Base:
    model = build_model(SMALL_SAM2, image_size=SIZE)
    excite(model)
    return model


@pytest.fixture(scope="session")
def official_small() -> SAM2VideoPredictor:
    model = build_reference_model(SMALL_SAM2, image_size=SIZE)
    excite(model)
    return model


@pytest.fixture(params=["masked", "ranged"])
def partly_filled(request: pytest.FixtureRequest) -> Iterator[Change]:
    """Has a predictor attend to memory that is partly filled with a mask, or by ranges as on a CUDA device."""
    if request.param == "masked":
        yield lambda predictor: predictor
        return
    with flash_on_cpu() as calls:

        def ranged(predictor: CameraPredictor) -> CameraPredictor:
            predictor.step.attention.attend_ranges = VarlenAttention(splits=6)
            return predictor

        yield ranged
        assert calls
