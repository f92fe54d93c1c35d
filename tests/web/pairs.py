"""A picture with masks as a subscriber would have it."""

from __future__ import annotations

import time
from typing import Any

import cv2
import numpy as np

from streamseg.client import FramePair, ImageFrame, MaskFrame, ObjectMask
from streamseg.protocol.mask_codec import BoolMask, encode_bits

SIZE = (64, 48)


def pair(masks: dict[int, BoolMask], *, encoding: str = "coco_rle", frame: int = 7) -> FramePair:
    now = time.monotonic_ns()
    fields: dict[str, Any] = {
        "stream": "cam",
        "session": "0" * 8,
        "publisher": "1" * 8,
        "epoch": 0,
        "seq": frame,
        "frame": frame,
        "t_wall_ns": time.time_ns(),
        "t_source": "arrival",
        "t_captured_ns": now,
        "t_decoded_ns": now,
        "t_tracked_ns": now,
        "t_published_ns": now,
        "same_clock": True,
        "age_ms": 0.0,
        "pts": frame,
        "time_base": (1, 30),
        "size": SIZE,
        "model": "colour",
        "dropped": 0,
    }
    jpeg = cv2.imencode(".jpg", np.full((SIZE[1], SIZE[0], 3), 120, np.uint8))[1].tobytes()
    objects = tuple(_object(obj_id, mask, encoding) for obj_id, mask in masks.items())
    return FramePair(ImageFrame(**fields, jpeg=jpeg), MaskFrame(**fields, objects=objects))


def _object(obj_id: int, mask: BoolMask, encoding: str) -> ObjectMask:
    seen = bool(mask.any())
    return ObjectMask(
        id=obj_id,
        label=f"thing {obj_id}",
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
