from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from sam2.modeling.sam2_base import SAM2Base
from sam2.sam2_video_predictor import SAM2VideoPredictor

from streamseg.tracker.predictor import CameraPredictor
from streamseg.tracker.sam2.build import build_model, build_reference_model
from streamseg.tracker.sam2.ranged_attention import VarlenAttention
from tests.made_once import SharedFolders
from tests.one_thread import one_thread as one_thread
from tests.tracker.sam2.flash_stand_in import flash_on_cpu
from tests.tracker.tracker_scenes import Change, Events, Run, clip, excite, frames_of, play_official, show

SMALL_SAM2 = Path(__file__).with_name("small_sam2.yaml")
SIZE = 64

OfficialRun = Callable[[Events], Run]


@pytest.fixture(scope="session")
def built_small() -> SAM2Base:
    model = build_model(SMALL_SAM2, image_size=SIZE)
    excite(model)
    return model


@pytest.fixture
def small(built_small: SAM2Base) -> SAM2Base:
    """A small model that sees its objects, whatever the test before it left."""
    show(built_small, frame=0)
    return built_small


@pytest.fixture(scope="session")
def official_small() -> SAM2VideoPredictor:
    model = build_reference_model(SMALL_SAM2, image_size=SIZE)
    excite(model)
    return model


def once(folders: SharedFolders, name: str, play: Callable[[], Run]) -> Run:
    """Return a run that only the first of the test processes computes."""
    run: Run = torch.load(
        folders.filled(name, lambda folder: torch.save(play(), folder / "run")) / "run", weights_only=False
    )
    return run


@pytest.fixture(scope="session")
def official_run(shared_folders: SharedFolders, official_small: SAM2VideoPredictor) -> OfficialRun:
    """Plays a scenario with the official predictor."""

    def run(events: Events) -> Run:
        images = clip(frames_of(events), official_small.image_size)
        name = f"official {hashlib.blake2b(repr(events).encode(), digest_size=8).hexdigest()}"
        return once(shared_folders, name, lambda: play_official(official_small, images, events))

    return run


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
