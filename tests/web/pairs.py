"""Pictures with masks as a subscriber would receive them."""

from __future__ import annotations

import time
from typing import Any

import cv2
import numpy as np

from streamseg.client import FramePair, ImageFrame, MaskFrame, ObjectMask
from streamseg.protocol.mask_codec import BoolMask, encode_bits

SIZE = (64, 48)


FRAME_FIELDS: dict[str, Any] = {
    "stream": "cam",
    "session": "0" * 8,
    "publisher": "1" * 8,
    "epoch": 0,
    "t_source": "arrival",
    "same_clock": True,
    "age_ms": 0.0,
    "time_base": (1, 30),
    "size": SIZE,
    "model": "colour",
    "dropped": 0,
}


def pair(masks: dict[int, BoolMask], *, encoding: str = "coco_rle", frame: int = 7) -> FramePair:
    now = time.monotonic_ns()
    stages = ("captured", "decoded", "tracked", "published")
    fields: dict[str, Any] = {
        **FRAME_FIELDS,
        **{f"t_{stage}_ns": now for stage in stages},
        "seq": frame,
        "frame": frame,
        "pts": frame,
        "t_wall_ns": time.time_ns(),
    }
    jpeg = cv2.imencode(".jpg", np.full((SIZE[1], SIZE[0], 3), 120, np.uint8))[1].tobytes()
    objects = tuple(_object(obj_id, mask, encoding) for obj_id, mask in masks.items())
    return FramePair(ImageFrame(**fields, jpeg=jpeg), MaskFrame(**fields, objects=objects))


def _object(obj_id: int, mask: BoolMask, encoding: str) -> ObjectMask:
    seen = bool(mask.any())
    return ObjectMask(
        id=obj_id,
        label=f"object {obj_id}",
        state="tracked" if seen else "lost",
        score=0.9,
        presence=1.0,
        bbox=(0, 0, *SIZE) if seen else (0, 0, 0, 0),
        area=int(mask.sum()),
        centroid=(1.0, 2.0),
        roi=(0, 0, *SIZE) if seen else (0, 0, 0, 0),
        size=SIZE,
        encoding=encoding if seen else "none",
        data=encode_bits(np.packbits(mask, axis=1).tobytes(), SIZE, encoding) if seen else b"",  # type: ignore[arg-type]
    )
