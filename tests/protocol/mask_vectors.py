"""Test vectors of ``coco_rle`` for decoders in any language: ``python -m tests.protocol.mask_vectors`` writes them.

A vector is ``name``, ``width``, ``height``, ``counts`` and what a decoder has to find: ``area`` (pixels of the object)
and ``index_sum`` (the sum of 1 + their indices, row by row); or neither if the decoder has to refuse it.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from pycocotools import mask as coco

FILE = Path(__file__).with_name("mask_vectors.json")


def masks() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    disc = np.hypot(*(np.mgrid[:108, :192] - np.array([50, 90])[:, None, None])) < 40
    corners = np.zeros((1080, 1920), bool)
    corners[0, 0] = corners[-1, -1] = True
    return {
        "one background pixel": np.zeros((1, 1), bool),
        "one object pixel": np.ones((1, 1), bool),
        "empty": np.zeros((9, 16), bool),
        "full": np.ones((9, 16), bool),
        "one row": np.arange(40)[None] % 3 == 0,
        "one column": np.arange(40)[:, None] % 3 == 1,
        "checkerboard": np.indices((8, 10)).sum(axis=0) % 2 == 0,
        "ring": disc & ~np.roll(disc, 7, axis=1),
        "noise": rng.random((37, 53)) < 0.4,
        "far corners of a large frame": corners,
    }


BROKEN = {
    "runs too short": (4, 4, "5"),
    "runs too long": (4, 4, "o0o0o0"),
    "ends within a number": (4, 4, "P"),
    "negative run": (4, 4, "5L9"),
    "not of the alphabet": (4, 4, "@ 1"),
    "nothing": (4, 4, ""),
    "endless number": (4, 4, "o" * 40),
}


def vectors() -> list[dict[str, object]]:
    """Return all vectors."""
    found: list[dict[str, object]] = []
    for name, mask in masks().items():
        counts = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
        height, width = mask.shape
        found.append({"name": name, "width": width, "height": height, "counts": counts, **summary(mask)})
    for name, (width, height, counts) in BROKEN.items():
        found.append({"name": name, "width": width, "height": height, "counts": counts})
    return found


def summary(mask: np.ndarray) -> dict[str, int]:
    """Return what a decoder has to find."""
    return {"area": int(mask.sum()), "index_sum": int((np.flatnonzero(mask) + 1).sum())}


def text() -> str:
    lines = ",\n".join(json.dumps(vector) for vector in vectors())
    return f"[\n{lines}\n]\n"


if __name__ == "__main__":
    FILE.write_text(text())
