"""The type ``onnx`` with a model file that the test writes, in the layouts of the YOLO family."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamseg.errors import ConfigError
from streamseg.prompters.onnx import _layout, _read, create
from streamseg.prompters.onnx_metadata import read_metadata
from tests.prompters.onnx_file import CELL, write_model

NAMES = "{0: 'red', 1: 'blue'}"


def picture() -> np.ndarray:
    """640x360 with a red and a blue patch of one cell each; the model sees half of the size."""
    drawn = np.full((360, 640, 3), 128, np.uint8)
    drawn[64:128, 64:128] = (255, 0, 0)
    drawn[192:256, 320:384] = (0, 0, 255)
    return drawn


@pytest.mark.parametrize("layout", ["classes", "box_and_classes"])
def test_detections_have_the_place_and_the_label_of_what_is_there(tmp_path: Path, layout: str) -> None:
    path = write_model(tmp_path / "tiny.onnx", layout=layout)
    prompter = create({"model": str(path), "classes": ["red", "blue"], "image_size": 320})
    found = {one.label: one for one in prompter.prompts(picture(), [])}
    assert found.keys() == {"red", "blue"}
    assert found["red"].box == pytest.approx((64, 64, 128, 128))
    assert found["blue"].box == pytest.approx((320, 192, 384, 256))
    assert all(0.9 < one.score <= 1 for one in found.values())
    only = create({"model": str(path), "classes": ["red", "blue"], "only": ["blue"], "image_size": 320})
    assert [one.label for one in only.prompts(picture(), [])] == ["blue"]


def test_classes_and_size_come_from_the_file(tmp_path: Path) -> None:
    path = write_model(tmp_path / "tiny.onnx", size=4 * CELL, names=NAMES)
    assert read_metadata(path) == {"names": NAMES, "imgsz": "[128, 128]"}
    assert {one.label for one in create({"model": str(path)}).prompts(picture(), [])} <= {"red", "blue"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "settings.classes: is missing: the file does not name its classes"),
        ({"classes": ["red", "green", "blue"]}, "3 classes do not fit the output of tiny.onnx, which is 6 x 100"),
        ({"classes": ["red", "blue"], "image_size": 640}, "settings.image_size"),
    ],
)
def test_problems_are_reported(tmp_path: Path, settings: dict[str, object], words: str) -> None:
    path = write_model(tmp_path / "tiny.onnx")
    with pytest.raises(ConfigError) as error:
        create({"model": str(path), "image_size": 320, **settings})
    assert words in str(error.value)


def test_names_that_do_not_fit_those_of_the_file_are_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path / "tiny.onnx", size=4 * CELL, names=NAMES)
    with pytest.raises(ConfigError, match=r"settings\.classes: has 1 names, but tiny\.onnx has 2 classes"):
        create({"model": str(path), "classes": ["red"]})


@pytest.mark.parametrize("data", [b"", b"text, not a model", b"\x00" * 99, b"\x08\x08"])
def test_a_file_that_is_not_a_model_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"settings\.model: .*broken\.onnx"):
        create({"model": str(path), "classes": ["red"]})


def test_layouts_are_distinguished_by_their_shape() -> None:
    assert _layout((84, 8400), 80, 640) == _layout((8400, 84), 80, 640) == "classes"
    assert _layout((116, 8400), 80, 640) == "classes"  # a segmentation model
    assert _layout((25200, 85), 80, 640) == "box_and_classes"
    assert _layout((300, 6), 80, 640) == "final"
    assert _layout((567, 6), 1, 96) == "box_and_classes"  # 3 boxes for each of 189 cells
    assert _layout((189, 6), 2, 96) == _layout((6, 189), 2, 96) == "classes"
    assert _layout((84, 8400), 3, 640) is None
    assert _layout((84, 8400), 79, 640) is None  # one name is missing: scores of boxes are not written like this
    rows = np.array([[1, 2, 30, 40, 0.9, 1], [0, 0, 5, 5, 0.1, 0]], np.float32)
    boxes, scores, numbers = _read(rows, "final", 2)
    assert boxes[0].tolist() == [1, 2, 30, 40]
    assert (scores.tolist(), numbers.tolist()) == (pytest.approx([0.9, 0.1]), [1, 0])
