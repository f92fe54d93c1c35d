from __future__ import annotations

import json
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from streamseg.models.registry import find
from training.real_clips import OUTLINES, RealClip, load_real_clips
from training.real_validation import KINDS, Mean, follow, load_tracker, prompt_for

WIDTH, HEIGHT, FRAMES = 160, 120, 8
RADIUS_PX = 24
GONE = 6


def _center(number: int) -> tuple[int, int]:
    return 40 + 8 * number, 60


def _write_clip(path: Path) -> None:
    """A red disc that moves to the right over gray noise, and is gone from frame 6 on."""
    ground = np.random.default_rng(0).integers(60, 100, (HEIGHT, WIDTH, 1), np.uint8).repeat(3, 2)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "bgr0"
        for number in range(FRAMES):
            picture = ground.copy()
            if number < GONE:
                cv2.circle(picture, _center(number), RADIUS_PX, (220, 30, 30), -1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def _outline(number: int) -> list[int]:
    points = cv2.ellipse2Poly(_center(number), (RADIUS_PX, RADIUS_PX), 0, 0, 360, 10)
    return [int(value) for value in points.reshape(-1)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> RealClip:
    """The clip with its outlines, loaded."""
    folder = tmp_path_factory.mktemp("real")
    _write_clip(folder / "disc.mkv")
    disc: dict[str, list[list[int]]] = {"7": [], "1": [_outline(1)], "5": [_outline(5)]}
    ring = {"0": [[10, 10, 60, 10, 60, 60, 10, 60], [30, 30, 40, 30, 40, 40, 30, 40]]}
    objects = [{"name": "disc", "outlines": disc}, {"name": "ring", "outlines": ring}]
    clips = {"absent.mkv": {"size": [1, 1], "objects": []}, "disc.mkv": {"size": [WIDTH, HEIGHT], "objects": objects}}
    (folder / "outlines.json").write_text(json.dumps({"clips": clips}))
    (loaded,) = load_real_clips([folder / "nowhere", folder], folder / "outlines.json")
    return loaded


def test_outlines_become_masks_in_order_of_frames(clip: RealClip) -> None:
    disc, ring = clip.objects
    assert list(disc.truth) == [1, 5, 7]
    assert (disc.first, disc.last) == (1, 7)
    x, y = _center(5)
    assert disc.truth[5][y, x]
    assert not disc.truth[5][y, x - RADIUS_PX - 2], "a disc of the radius that was drawn"
    assert not disc.truth[7].any(), "gone"
    assert ring.truth[0][20, 20]
    assert not ring.truth[0][35, 35], "a polygon inside another is a hole"


def test_frames_are_those_that_were_asked_for(clip: RealClip) -> None:
    pictures = list(clip.frames(2, 4))
    assert len(pictures) == 3
    for number, picture in enumerate(pictures, 2):
        x, y = _center(number)
        assert tuple(picture[y, x + RADIUS_PX - 2]) == (220, 30, 30)
        assert picture[y, x + RADIUS_PX + 3].max() < 110


def test_a_clip_that_does_not_fit_its_outlines_is_refused(clip: RealClip) -> None:
    with pytest.raises(ValueError, match="ends at frame 7, but frame 9"):
        list(clip.frames(0, 9))
    with pytest.raises(ValueError, match="160 x 120, its outlines are of"):
        list(RealClip(clip.path, (WIDTH, HEIGHT + 1), clip.objects).frames(0, 1))


def test_the_tracker_is_judged_on_outlined_frames(clip: RealClip) -> None:
    weights = find("nano").packaged
    assert weights is not None
    tracker = load_tracker(weights, "nano", threads=1)
    disc = RealClip(clip.path, clip.size, clip.objects[:1])
    for kind in KINDS:
        (quality,) = follow(tracker, disc, kind)
        assert quality.name == "disc: disc"
        assert quality.first_iou > 0.8
        assert quality.iou > 0.8, "one frame: in the last one it is gone"


def test_a_click_is_deepest_inside(clip: RealClip) -> None:
    (point,) = prompt_for(3, clip.objects[0].truth[1], "click").points
    assert (abs(point.x - _center(1)[0]), abs(point.y - _center(1)[1])) <= (1, 1)


def test_the_interval_is_of_the_mean_over_objects() -> None:
    mean = Mean.of([0.2, 0.4, 0.6, 0.8] * 25)
    assert mean.value == pytest.approx(0.5)
    # 1.96 standard errors of 100 values with a deviation of 0.2236.
    assert (mean.low, mean.high) == pytest.approx((0.456, 0.544), abs=0.003)


def test_the_outlines_that_ship_are_complete() -> None:
    clips = json.loads(OUTLINES.read_text())["clips"]
    assert all(clip["source"] and clip["license"] in ("CC BY 4.0", "MIT") for clip in clips.values())
    for name, clip in clips.items():
        for item in clip["objects"]:
            frames = [int(number) for number in item["outlines"]]
            assert frames == sorted(frames), (name, item["name"])
            assert len(frames) >= 3, "the prompted frame and two later ones"
            polygons = list(item["outlines"].values())
            assert polygons[0], "visible where it is marked"
            assert any(polygons[1:]), "and later"
            points = np.concatenate([np.reshape(polygon, (-1, 2)) for frame in polygons for polygon in frame])
            assert points.min() >= 0
            assert (points.max(0) < clip["size"]).all()
