"""The pictures that clips are made of: photographs with outlined objects, and cut-outs with transparency.

Every source is under a permissive licence (``docs/nano.md`` lists them); DAVIS is never among them.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]

_SPRITE_SIDE_PX = 224
_MIN_CUTOUT_SIDE_PX = 24
_HELD_OUT_EVERY = 12
# Larger outlines are tables and grounds, on which other objects lie.
_MAX_NATURAL_SHARE = 0.4


@dataclass(slots=True)
class Photo:
    """A photograph and the objects outlined in it.

    Attributes:
        rgb: ``uint8 [H, W, 3]``.
        masks: One for each object, ``uint8 [H, W]``, 0 or 255.
    """

    rgb: Picture
    masks: list[Picture] = field(default_factory=list)


@dataclass(slots=True)
class Material:
    """What clips are made of.

    Attributes:
        photos: Backgrounds, and objects in their natural place. Empty: backgrounds are generated.
        cutouts: ``uint8 [h, w, 4]``, RGB and alpha: objects cut out of photographs.
        renders: The same, rendered.
    """

    photos: list[Photo] = field(default_factory=list)
    cutouts: list[Picture] = field(default_factory=list)
    renders: list[Picture] = field(default_factory=list)


def load_material(coco: Path | None, renders: Path | None, *, held_out: bool = False) -> Material:
    """Read the material from its folders; a source that is None stays empty.

    Every twelfth photograph (with its cut-outs) and render is held out for validation.

    Args:
        coco: Folder of ``images/`` and ``instances.json``.
        renders: Folder of pictures with an alpha channel.
        held_out: Return what is held out, in place of the rest.
    """
    material = Material()
    if coco is not None:
        _read_coco(coco, material, held_out)
    if renders is not None:
        for index, path in enumerate(sorted(renders.iterdir())):
            if (index % _HELD_OUT_EVERY == 0) == held_out:
                picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
                if picture is not None and picture.ndim == 3 and picture.shape[2] == 4:
                    material.renders.append(_sprite(cv2.cvtColor(picture, cv2.COLOR_BGRA2RGBA)))
    return material


def _read_coco(folder: Path, material: Material, held_out: bool) -> None:
    table = json.loads((folder / "instances.json").read_text())
    outlines: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for annotation in table["annotations"]:
        if not annotation["iscrowd"]:
            outlines[annotation["image_id"]].append(annotation)
    for index, image in enumerate(sorted(table["images"], key=lambda image: image["id"])):
        if (index % _HELD_OUT_EVERY == 0) != held_out:
            continue
        bgr = cv2.imread(str(folder / "images" / image["file_name"]), cv2.IMREAD_COLOR)
        if bgr is None:
            raise FileNotFoundError(f"{folder}: {image['file_name']} is missing or no picture")
        photo = Photo(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
        for annotation in outlines[image["id"]]:
            mask = _polygon_mask(annotation["segmentation"], photo.rgb.shape[:2])
            _, _, width, height = annotation["bbox"]
            if min(width, height) < _MIN_CUTOUT_SIDE_PX:
                continue
            if mask.mean() < _MAX_NATURAL_SHARE * 255:
                photo.masks.append(mask)
            material.cutouts.append(_sprite(np.dstack([photo.rgb, mask])))
        material.photos.append(photo)


def _polygon_mask(polygons: list[list[float]], shape: tuple[int, ...]) -> Picture:
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [np.round(np.reshape(points, (-1, 2))).astype(np.int32) for points in polygons], 255)
    return mask


def _sprite(rgba: Picture) -> Picture:
    """Crop to what is visible, shrink to a handy size, and keep a transparent pixel all round."""
    left, top, width, height = cv2.boundingRect(rgba[..., 3])
    crop = rgba[top : top + height, left : left + width]
    scale = _SPRITE_SIDE_PX / max(width, height)
    if scale < 1:
        size = (max(2, round(width * scale)), max(2, round(height * scale)))
        crop = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(np.pad(crop, ((1, 1), (1, 1), (0, 0))))
