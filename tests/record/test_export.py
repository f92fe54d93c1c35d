"""A recording in the forms of other tools, read back by them where a package can."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools.coco import COCO

from streamseg.config.schema import RecordConfig
from streamseg.errors import ConfigError, RecordError
from streamseg.protocol.mask_codec import encode_rle
from streamseg.protocol.published import Masks
from streamseg.record.export.run import FORMS, export_recording
from streamseg.record.recorder import Recorder, RecordLimits
from tests.protocol import golden_messages

WIDTH, HEIGHT, FRAMES = 80, 60, 6
ImageDecoder = Callable[[Path], np.ndarray]


def mask(frame: int, obj_id: int) -> np.ndarray:
    """A disc that moves, and a smaller square on top of it."""
    yy, xx = np.mgrid[:HEIGHT, :WIDTH]
    if obj_id == 1:
        return (yy - 30) ** 2 + (xx - 25 - 3 * frame) ** 2 < 18**2
    return (abs(yy - 30) < 6) & (abs(xx - 25 - 3 * frame) < 6)


def header(parts: list[bytes], **changes: object) -> bytes:
    return json.dumps(json.loads(parts[1]) | changes).encode()


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames 0 to 5 with two objects; frame 5 has no picture."""
    folder = tmp_path_factory.mktemp("recording")
    golden, image = golden_messages.read("masks_coco_rle"), golden_messages.read("image")
    jpeg = cv2.imencode(".jpg", np.full((HEIGHT, WIDTH, 3), 90, np.uint8))[1].tobytes()
    template = msgspec.json.decode(golden[1], type=Masks)
    with Recorder(folder, replace(RecordLimits.of(RecordConfig()), keep_free_bytes=0)) as recorder:
        for frame in range(FRAMES):
            objects = [
                msgspec.to_builtins(template.objects[0])
                | {"id": obj_id, "label": label, "roi": [0, 0, WIDTH, HEIGHT], "part": 1 + obj_id,
                   "area": int(mask(frame, obj_id).sum()), "bbox": [0, 0, WIDTH, HEIGHT]}
                for obj_id, label in ((1, "plate"), (2, ""))
            ]  # fmt: skip
            size = {"size": [WIDTH, HEIGHT], "frame": frame, "seq": frame}
            masks = [encode_rle(mask(frame, obj_id)) for obj_id in (1, 2)]
            recorder.write([golden[0], header(golden, objects=objects, **size), *masks], frame)
            if frame < FRAMES - 1:
                recorder.write([image[0], header(image, **size), jpeg], frame)
    return folder


def video(out: Path, *folders: str) -> Path:
    (found,) = out.joinpath(*folders).iterdir()
    return found


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools with numpy 2
def test_coco_reads_back_as_the_masks(recording: Path, tmp_path: Path) -> None:
    assert export_recording(recording, tmp_path / "out", "coco") == FRAMES - 1
    coco = COCO(str(tmp_path / "out" / "annotations.json"))
    assert sorted(item["name"] for item in coco.loadCats(coco.getCatIds())) == ["object", "plate"]
    for image in coco.loadImgs(coco.getImgIds()):
        assert (tmp_path / "out" / "images" / image["file_name"]).exists()
        for annotation in coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]])):
            expected = mask(image["frame_id"], annotation["track_id"])
            np.testing.assert_array_equal(coco.annToMask(annotation), expected)


def test_davis_reads_back_as_the_masks(recording: Path, tmp_path: Path) -> None:
    export_recording(recording, tmp_path / "out", "davis")
    folder = video(tmp_path / "out", "Annotations")
    assert [path.name for path in sorted(folder.iterdir())] == [f"{number:05}.png" for number in range(FRAMES - 1)]
    for number, path in enumerate(sorted(folder.iterdir())):
        with Image.open(path) as picture:
            assert picture.mode == "P"
            indices = np.array(picture)
        np.testing.assert_array_equal(indices == 2, mask(number, 2))
        np.testing.assert_array_equal(indices == 1, mask(number, 1) & ~mask(number, 2))
    assert len(list(video(tmp_path / "out", "JPEGImages").iterdir())) == FRAMES - 1


def filled(polygons: list[np.ndarray]) -> np.ndarray:
    picture = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.fillPoly(picture, [polygon.round().astype(np.int32) for polygon in polygons], 1)
    return picture.astype(bool)


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    assert (found & expected).sum() / (found | expected).sum() > 0.97


def test_yolo_reads_back_as_the_masks(recording: Path, tmp_path: Path) -> None:
    export_recording(recording, tmp_path / "out", "yolo")
    data = yaml.safe_load((tmp_path / "out" / "data.yaml").read_text())
    assert data["names"] == {0: "plate", 1: "object"}
    assert "path" not in data  # paths start at the file
    assert (tmp_path / "out" / data["train"]).is_dir()
    labels = sorted((tmp_path / "out" / "labels" / "train").iterdir())
    images = sorted((tmp_path / "out" / "images" / "train").iterdir())
    assert [path.stem for path in labels] == [path.stem for path in images]
    for number, path in enumerate(labels):
        for line in path.read_text().splitlines():
            kind, *values = line.split()
            corners = np.array(values, float).reshape(-1, 2) * (WIDTH, HEIGHT) - 0.5
            assert_close(filled([corners]), mask(number, 1 + int(kind)))


def test_labelme_reads_back_as_the_masks(recording: Path, tmp_path: Path) -> None:
    export_recording(recording, tmp_path / "out", "labelme", every=2)
    files = sorted(video(tmp_path / "out").glob("*.json"))
    assert [path.stem for path in files] == ["00000000", "00000002", "00000004"]
    for path in files:
        content = json.loads(path.read_text())
        assert (path.parent / content["imagePath"]).exists()
        for shape in content["shapes"]:
            assert_close(filled([np.array(shape["points"])]), mask(int(path.stem), shape["group_id"]))


@pytest.mark.parametrize("form", FORMS)
def test_an_unknown_stream_writes_nothing(recording: Path, tmp_path: Path, form: str) -> None:
    with pytest.raises(RecordError, match="no masks of stream 'cam9'"):
        export_recording(recording, tmp_path / "out", form, stream="cam9")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("session", ["/../../../escaped", "..", "", "a\n", "a/b", "a" * 65, "a\0"])
def test_a_session_that_is_not_a_name_writes_nothing(tmp_path: Path, form: str, session: str) -> None:
    golden = golden_messages.read("masks_coco_rle")
    with Recorder(tmp_path / "recording", replace(RecordLimits.of(RecordConfig()), keep_free_bytes=0)) as recorder:
        recorder.write([golden[0], header(golden, session=session), *golden[2:]], 1)
    before = set(tmp_path.rglob("*"))
    with pytest.raises(RecordError, match=r"session .* is not one of a daemon"):
        export_recording(tmp_path / "recording", tmp_path / "a" / "out", form)
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("form", FORMS)
def test_a_folder_that_cannot_be_written_is_named(recording: Path, tmp_path: Path, form: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match="file/out: Not a directory"):
        export_recording(recording, tmp_path / "file" / "out", form)


def test_wrong_arguments_are_refused(recording: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'voc' is unknown: choose from coco, yolo, davis, labelme"):
        export_recording(recording, tmp_path / "out", "voc")
    (tmp_path / "something").touch()
    with pytest.raises(ConfigError, match="is not empty"):
        export_recording(recording, tmp_path, "coco")
    with pytest.raises(RecordError, match="there is no recording"):
        export_recording(tmp_path / "nothing", tmp_path / "out", "coco")
