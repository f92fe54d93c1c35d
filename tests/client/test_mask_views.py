"""A frame's masks in the forms that other programs take."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from pycocotools import mask as coco

from streamseg.client import MaskFrame
from streamseg.client.assembly import assemble
from streamseg.errors import ConfigError
from streamseg.protocol.mask_codec import encode_rle
from streamseg.protocol.palette import color_of


@pytest.fixture
def frame(golden) -> MaskFrame:
    """Objects 1 (14 pixels, named cup) and 2 (27 pixels), and 3, which is not visible."""
    message = assemble(golden("masks_coco_rle"))
    assert isinstance(message, MaskFrame)
    return message


def overlapping(frame: MaskFrame, *masks: np.ndarray) -> MaskFrame:
    """The frame with these masks, ids from 1."""
    width, height = frame.size
    objects = tuple(
        msgspec.structs.replace(
            frame.objects[0], id=number, roi=(0, 0, width, height), data=encode_rle(mask), area=int(mask.sum())
        )
        for number, mask in enumerate(masks, 1)
    )
    return replace(frame, objects=objects)


def test_label_map_holds_each_mask(frame: MaskFrame) -> None:
    labels = frame.label_map()
    assert (labels.shape, labels.dtype) == ((10, 16), np.uint16)
    for obj in frame.objects:
        np.testing.assert_array_equal(labels == obj.id, obj.mask)


def test_the_smallest_mask_wins_an_overlap_and_of_equals_the_younger(frame: MaskFrame) -> None:
    table, cup, twin = np.ones((10, 16), bool), np.zeros((10, 16), bool), np.zeros((10, 16), bool)
    cup[2:5, 3:6] = True
    twin[2:5, 4:7] = True
    for masks in ((table, cup), (cup, table)):
        both = overlapping(frame, *masks)
        assert (both.label_map() == 1 + (masks[0] is table)).sum() == 9
    labels = overlapping(frame, table, cup, twin).label_map()
    np.testing.assert_array_equal(labels == 3, twin)
    np.testing.assert_array_equal(labels == 2, cup & ~twin)


def test_ids_that_do_not_fit_are_refused(frame: MaskFrame) -> None:
    large = replace(frame, objects=(msgspec.structs.replace(frame.objects[0], id=70_000),))
    with pytest.raises(ConfigError, match=r"object 70000 does not fit into uint16: use np\.int32"):
        large.label_map(np.uint16)
    assert large.label_map(np.int32).max() == 70_000
    assert (large.label_map().max(), large.label_map().dtype) == (70_000, np.uint32)
    with pytest.raises(ConfigError, match="float32 is not an integer type"):
        frame.label_map(np.float32)


def test_to_supervision_gives_masks_boxes_and_classes(frame: MaskFrame) -> None:
    if importlib.util.find_spec("supervision") is None:
        pytest.skip("needs the package supervision")
    found = frame.to_supervision()
    assert found.tracker_id.tolist() == [1, 2]
    assert found.mask.sum(axis=(1, 2)).tolist() == [14, 27]
    assert found.xyxy.tolist() == [[3, 2, 8, 6], [7, 7, 16, 10]]
    assert found.data["class_name"].tolist() == ["cup", "chat é"]
    assert found.class_id.tolist() == [0, 0]
    assert frame.to_supervision(["plate", "cup"]).class_id.tolist() == [1]
    assert len(replace(frame, objects=()).to_supervision()) == 0


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools with numpy 2
def test_to_coco_gives_masks_and_boxes(frame: MaskFrame) -> None:
    annotations = json.loads(json.dumps(frame.to_coco(["cup", "chat é"])))
    assert [(item["track_id"], item["category_id"], item["image_id"]) for item in annotations] == [
        (1, 1, frame.frame),
        (2, 2, frame.frame),
    ]
    for item, obj in zip(annotations, frame.objects, strict=False):
        np.testing.assert_array_equal(coco.decode(item["segmentation"]), obj.mask)
        assert item["bbox"] == list(obj.bbox)


def test_overlay_tints_objects_and_outlines_them(frame: MaskFrame) -> None:
    picture = np.full((10, 16, 3), 100, np.uint8)
    drawn = frame.overlay(picture, opacity=0.5)
    labels = frame.label_map()
    assert (picture == 100).all()
    np.testing.assert_array_equal((drawn != 100).any(axis=2), labels > 0)
    inside = drawn[8, 11]  # of object 2, away from its border
    np.testing.assert_array_equal(inside, [(100 + value + 1) // 2 for value in color_of(2)])
    assert tuple(drawn[7, 7]) == color_of(2)  # its corner
    with pytest.raises(ConfigError, match=r"\[5, 5, 3\] is not the frame's shape, \[10, 16, 3\]"):
        frame.overlay(np.zeros((5, 5, 3), np.uint8))


@pytest.mark.parametrize(("obj_id", "number"), [(1, 1), (65_535, 65_535), (70_000, 4465)])
def test_log_rerun_writes_masks(frame: MaskFrame, tmp_path: Path, obj_id: int, number: int) -> None:
    rerun = pytest.importorskip("rerun", reason="needs the package rerun-sdk")
    from rerun.chunk import RrdReader

    plain = frame.label_map()
    first = msgspec.structs.replace(frame.objects[0], id=obj_id)
    frame = replace(frame, objects=(first, *frame.objects[1:]))
    recording = rerun.RecordingStream("streamseg-test")
    recording.save(tmp_path / "test.rrd")
    frame.log_rerun(recording=recording)
    recording.flush()
    del recording
    batches = {str(chunk.entity_path): chunk.to_record_batch() for chunk in RrdReader(tmp_path / "test.rrd").stream()}
    masks = batches["/cam1/masks"]
    (buffer,) = (name for name in masks.schema.names if "SegmentationImage:buffer" in name)
    labels = np.frombuffer(bytes(masks.column(buffer).to_pylist()[0][0]), np.uint16).reshape(10, 16)
    np.testing.assert_array_equal(labels, np.where(plain == 1, number, plain))
    assert masks.column("frame").to_pylist() == [frame.frame]
    assert masks.column("captured").cast("int64").to_pylist() == [frame.t_wall_ns]
    context = str(batches["/cam1"].column("AnnotationContext:context").to_pylist())
    assert "cup" in context
