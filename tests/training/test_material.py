from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from training.material import Folders, Material, load_material


def _write(path: Path, value: int, channels: int = 4, size: int = 40) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.full((size, size, channels), value, np.uint8)
    if channels == 4:
        picture[..., 3] = 255
    cv2.imwrite(str(path), picture)


def _more(folder: Path) -> Path:
    for index in range(30):
        for view in range(5):
            _write(folder / "cutouts" / "render" / f"cup{index}" / f"{view:02}.png", index)
        _write(folder / "cutouts" / "cloth" / f"shirt_{index}.png", index)
        _write(folder / "backgrounds" / f"cloth_shirt_{index}.jpg", index, channels=3)
        _write(folder / "photos" / f"{index}.png", index, channels=3, size=100)
    square = [[10, 10, 60, 10, 60, 60, 10, 60]]
    instances = {
        "images": [{"id": index, "file_name": f"{index}.png"} for index in range(30)],
        "annotations": [
            {"image_id": index, "segmentation": square, "bbox": [10, 10, 50, 50], "iscrowd": 0} for index in range(30)
        ],
    }
    (folder / "instances.json").write_text(json.dumps(instances))
    return folder


def _values(material: Material) -> dict[str, set[int]]:
    return {
        "turns": {int(view[5, 5, 0]) for views in material.turns for view in views},
        "garments": {int(picture[5, 5, 0]) for picture in material.garments},
        "backgrounds": {int(picture[5, 5, 0]) for picture in material.backgrounds},
        "photos": {int(photo.rgb[5, 5, 0]) for photo in material.photos},
    }


def test_an_object_is_either_trained_on_or_held_out(tmp_path: Path) -> None:
    folders = Folders(more=_more(tmp_path))
    trained, held_out = (_values(load_material(folders, held_out=held)) for held in (False, True))
    for name, values in trained.items():
        assert values.isdisjoint(held_out[name]), name
        assert values | held_out[name] == set(range(30)), name
        assert held_out[name], name
    assert trained["garments"] == trained["backgrounds"], "a garment's photograph is on the side of its cut-out"


def test_variants_of_an_emoji_stay_together(tmp_path: Path) -> None:
    for stem in ("1f466", "1f466-1f3fb", "1f466-1f3fc", "1f467"):
        _write(tmp_path / f"{stem}.png", 100)
    folders = Folders(renders=tmp_path)
    assert len(load_material(folders, held_out=True).renders) == 1
    assert len(load_material(folders).renders) == 1, "the girl; the boy is held out with all his skins"
