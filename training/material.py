"""The source pictures of clips: photographs, cut-outs with transparency, and objects seen from all sides.

All sources have permissive licenses (``docs/nano.md`` lists them); DAVIS is never among them.
"""

from __future__ import annotations

import argparse
import json
import zlib
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
_MIN_VIEWS = 4
_HELD_OUT_EVERY = 12
# Larger outlines are tables and floors with other objects on them.
_MAX_NATURAL_SHARE = 0.4
# Code points that change an emoji's skin or style, but not the object.
_EMOJI_VARIANTS = frozenset({"fe0f", "1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"})


@dataclass(slots=True)
class Photo:
    """A photograph and the objects outlined in it.

    Attributes:
        rgb: ``uint8 [H, W, 3]``.
        masks: One for each outlined object, ``uint8 [H, W]``, 0 or 255. The rest may hold objects, too.
    """

    rgb: Picture
    masks: list[Picture] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Folders:
    """Folders of the material; None omits a part.

    Attributes:
        coco: Folder of ``images/`` and COCO's ``instances.json``.
        renders: Folder of pictures with an alpha channel, one object each, named by their code points.
        more: Folder of ``photos/``, ``instances.json``, ``backgrounds/`` and ``cutouts/{render,cloth}/``.
    """

    coco: Path | None = None
    renders: Path | None = None
    more: Path | None = None

    @staticmethod
    def add_options(parser: argparse.ArgumentParser) -> None:
        """Add options for them to a command line."""
        parser.add_argument("--coco", type=Path, help="folder of photographs with instances.json")
        parser.add_argument("--renders", type=Path, help="folder of pictures with an alpha channel")
        parser.add_argument("--more", type=Path, help="folder of photos/, instances.json, backgrounds/ and cutouts/")

    @classmethod
    def chosen(cls, options: argparse.Namespace) -> Folders:
        """Return the folders given on the command line."""
        return cls(options.coco, options.renders, options.more)


@dataclass(slots=True)
class Material:
    """The material of clips. A list may be empty; without photographs and backgrounds, backgrounds are generated.

    Attributes:
        photos: Photographs with outlined objects: backgrounds, and objects in their natural place.
        backgrounds: ``uint8 [H, W, 3]``: photographs without outlines.
        cutouts: ``uint8 [h, w, 4]``, RGB and alpha: objects cut out of photographs.
        garments: The same: clothes.
        renders: The same, rendered.
        turns: Per object its views along an orbit, ``uint8 [h, w, 4]``, all of one size.
    """

    photos: list[Photo] = field(default_factory=list)
    backgrounds: list[Picture] = field(default_factory=list)
    cutouts: list[Picture] = field(default_factory=list)
    garments: list[Picture] = field(default_factory=list)
    renders: list[Picture] = field(default_factory=list)
    turns: list[list[Picture]] = field(default_factory=list)


def load_material(folders: Folders, *, held_out: bool = False) -> Material:
    """Read the material from its folders.

    A twelfth of the photographs (with their cut-outs), renders, objects and garments is held out for validation. All
    views of an object, and all variants of an emoji, are on the same side of the split.

    Args:
        folders: Its folders.
        held_out: Return the held-out part instead of the rest.
    """
    material = Material()
    if folders.coco is not None:
        _read_photos(folders.coco / "images", folders.coco / "instances.json", material, held_out)
    if folders.renders is not None:
        _read_renders(folders.renders, material, held_out)
    if folders.more is not None:
        _read_photos(folders.more / "photos", folders.more / "instances.json", material, held_out)
        _read_backgrounds(folders.more / "backgrounds", material, held_out)
        for path in sorted((folders.more / "cutouts" / "cloth").iterdir()):
            if _is_held_out(path.stem) == held_out:
                material.garments.append(_sprite(_read_rgba(path)))
        for folder in sorted((folders.more / "cutouts" / "render").iterdir()):
            if _is_held_out(folder.name) == held_out:
                views = _shared_size([_read_rgba(path) for path in sorted(folder.iterdir())])
                if len(views) >= _MIN_VIEWS:
                    material.turns.append(views)
    return material


def _is_held_out(name: str) -> bool:
    return zlib.crc32(name.encode()) % _HELD_OUT_EVERY == 0


def _read_photos(images: Path, instances: Path, material: Material, held_out: bool) -> None:
    table = json.loads(instances.read_text())
    outlines: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for annotation in table["annotations"]:
        if not annotation["iscrowd"]:
            outlines[annotation["image_id"]].append(annotation)
    # By position: earlier weights were trained with exactly this split.
    for index, image in enumerate(sorted(table["images"], key=lambda image: image["id"])):
        if (index % _HELD_OUT_EVERY == 0) != held_out:
            continue
        photo = Photo(_read_rgb(images / image["file_name"]))
        for annotation in outlines[image["id"]]:
            mask = _polygon_mask(annotation["segmentation"], photo.rgb.shape[:2])
            _, _, width, height = annotation["bbox"]
            if min(width, height) < _MIN_CUTOUT_SIDE_PX:
                continue
            if mask.mean() < _MAX_NATURAL_SHARE * 255:
                photo.masks.append(mask)
            material.cutouts.append(_sprite(np.dstack([photo.rgb, mask])))
        material.photos.append(photo)


def _read_renders(folder: Path, material: Material, held_out: bool) -> None:
    paths = sorted(folder.iterdir())
    reserved = {_emoji(path.stem) for path in paths[::_HELD_OUT_EVERY]}
    for index, path in enumerate(paths):
        kept = index % _HELD_OUT_EVERY == 0 if held_out else _emoji(path.stem) not in reserved
        if kept:
            picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            if picture is not None and picture.ndim == 3 and picture.shape[2] == 4:
                material.renders.append(_sprite(cv2.cvtColor(picture, cv2.COLOR_BGRA2RGBA)))


def _emoji(stem: str) -> tuple[str, ...]:
    return tuple(part for part in stem.split("-") if part not in _EMOJI_VARIANTS)


def _read_backgrounds(folder: Path, material: Material, held_out: bool) -> None:
    """Read backgrounds. A garment's photograph is on the same side of the split as its cut-out, by its name."""
    for path in sorted(folder.glob("*.jpg")):
        if _is_held_out(path.stem.removeprefix("cloth_")) == held_out:
            material.backgrounds.append(_read_rgb(path))


def _read_rgb(path: Path) -> Picture:
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise FileNotFoundError(f"{path} is missing or no picture")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def _read_rgba(path: Path) -> Picture:
    bgra = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if bgra is None or bgra.ndim != 3 or bgra.shape[2] != 4:
        raise FileNotFoundError(f"{path} is missing or has no alpha channel")
    return cv2.cvtColor(bgra, cv2.COLOR_BGRA2RGBA)


def _polygon_mask(polygons: list[list[float]], shape: tuple[int, ...]) -> Picture:
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [np.round(np.reshape(points, (-1, 2))).astype(np.int32) for points in polygons], 255)
    return mask


def _sprite(rgba: Picture) -> Picture:
    """Crop to the visible part, shrink it, and keep a transparent border of one pixel."""
    left, top, width, height = cv2.boundingRect(rgba[..., 3])
    return _handy(rgba[top : top + height, left : left + width])


def _handy(rgba: Picture) -> Picture:
    height, width = rgba.shape[:2]
    scale = _SPRITE_SIDE_PX / max(width, height)
    if scale < 1:
        size = (max(2, round(width * scale)), max(2, round(height * scale)))
        rgba = cv2.resize(rgba, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(np.pad(rgba, ((1, 1), (1, 1), (0, 0))))


def _shared_size(views: list[Picture]) -> list[Picture]:
    """Keep views with the canvas size of the first one, so that the object keeps its scale and center."""
    return [_handy(view) for view in views if view.shape == views[0].shape]
