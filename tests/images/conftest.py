from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sam2.modeling.sam2_base import SAM2Base

from streamseg.images.model import ImageModel, load_model
from streamseg.sources.scene.source import Scene
from tests.images.reference import random_small_model
from tests.one_thread import one_thread as one_thread


@pytest.fixture(scope="session")
def nano() -> ImageModel:
    return load_model("nano", device="cpu", image_size=128)


@pytest.fixture(scope="session")
def small() -> SAM2Base:
    return random_small_model()


@pytest.fixture(scope="session")
def picture() -> NDArray[np.uint8]:
    return Scene("scene:default?size=320x200&objects=6").render(30)
