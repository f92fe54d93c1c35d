from __future__ import annotations

from fractions import Fraction
from io import BytesIO
from typing import Final

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from streamseg.errors import PromptError
from streamseg.frame import Frame, FrameFormat, FrameStamps
from streamseg.tracker.simple.color import ColorTracker
from streamseg.tracker.types import ObjectResult, Point, Prompt

STAMPS = FrameStamps(0, "file", 0, 0, None, (1, 25))
COLORS: Final = {1: (220, 40, 30), 2: (30, 70, 220), 3: (40, 190, 60)}

Picture = NDArray[np.uint8]
Truth = dict[int, NDArray[np.bool_]]


def scene(n: int, size: tuple[int, int] = (640, 360)) -> tuple[Picture, Truth]:
    """Frame ``n``: three noisy discs over a mottled ground. Disc 1 is out of the picture in frames 20 to 29."""
    w, h = size
    rng = np.random.default_rng(n)
    ground = cv2.resize(np.random.default_rng(0).integers(90, 150, (6, 10), dtype=np.uint8), size)
    picture = np.repeat(ground[..., None], 3, axis=2)
    x1 = -0.5 * w if 20 <= n < 30 else (0.2 + 0.01 * n if n < 20 else 0.75 - 0.005 * (n - 30)) * w
    centers = {1: (x1, 0.3 * h), 2: ((0.8 - 0.012 * n) * w, 0.75 * h), 3: (0.9 * w, (0.2 + 0.008 * n) * h)}
    truth: Truth = {}
    rows, columns = np.ogrid[:h, :w]
    for obj_id, (x, y) in centers.items():
        truth[obj_id] = (columns - x) ** 2 + (rows - y) ** 2 <= (0.09 * h) ** 2
        picture[truth[obj_id]] = COLORS[obj_id]
    noisy = picture + rng.integers(-12, 13, picture.shape)
    return noisy.clip(0, 255).astype(np.uint8), truth


def rgb_frame(picture: Picture, frame_id: int = 0) -> Frame:
    h, w, _ = picture.shape
    return Frame(frame_id, 0, FrameFormat(w, h, "rgb24"), (picture.reshape(h, -1),), STAMPS)


def through_h264(pictures: list[Picture]) -> list[Frame]:
    """Encode at a camera's bit rate and decode again."""
    h, w, _ = pictures[0].shape
    file = BytesIO()
    with av.open(file, "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=Fraction(30))
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = w, h, "yuv420p", 1_000_000
        for picture in pictures:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode())
    file.seek(0)
    fmt = FrameFormat(w, h, "yuv420p")
    frames = []
    with av.open(file) as video:
        for decoded in video.decode(video=0):
            planes = tuple(
                np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:rows, :columns].copy()
                for plane, (rows, columns) in zip(decoded.planes, fmt.plane_shapes, strict=True)
            )
            frames.append(Frame(len(frames), 0, fmt, planes, STAMPS))
    return frames


def iou(result: ObjectResult, truth: NDArray[np.bool_]) -> float:
    mask = result.full_mask
    return float((mask & truth).sum() / (mask | truth).sum())


def prompt_for(obj_id: int, truth: NDArray[np.bool_], kind: str) -> Prompt:
    rows, columns = np.nonzero(truth)
    if kind == "mask":
        return Prompt(obj_id, mask=truth)
    if kind == "box":
        return Prompt(obj_id, box=(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
    return Prompt(obj_id, points=(Point(float(columns.mean()), float(rows.mean())),))


def assert_follows(frames: list[Frame], truths: list[Truth], kind: str, least: float) -> None:
    tracker = ColorTracker()
    tracker.open_stream("cam")
    for n, (frame, truth) in enumerate(zip(frames, truths, strict=True)):
        results = tracker.track({"cam": frame})["cam"]
        if n == 0:
            results = [tracker.add_prompt("cam", prompt_for(obj_id, truth[obj_id], kind)).current for obj_id in truth]
        for result in results:
            if truth[result.obj_id].any():
                assert iou(result, truth[result.obj_id]) >= least, f"frame {n}, object {result.obj_id}"
                assert result.object_score_logits > 0
            else:
                assert (result.area, result.roi) == (0, (0, 0, 0, 0)), f"frame {n}: seen though it is gone"
                assert result.object_score_logits < 0


@pytest.mark.parametrize("size", [(320, 180), (640, 360), (1283, 721)])
def test_objects_are_followed_on_clean_frames_and_found_after_their_return(size):
    pictures, truths = zip(*(scene(n, size) for n in range(40)), strict=True)
    for kind in ("mask", "box", "point"):
        assert_follows([rgb_frame(picture) for picture in pictures], list(truths), kind, 0.9)


def test_objects_are_followed_through_h264():
    pictures, truths = zip(*(scene(n) for n in range(40)), strict=True)
    assert_follows(through_h264(list(pictures)), list(truths), "box", 0.85)


def test_a_mask_belongs_to_its_frame_and_no_other():
    pictures, truths = zip(*(scene(n) for n in range(12)), strict=True)
    tracker = ColorTracker()
    tracker.open_stream("cam")
    tracker.track({"cam": rgb_frame(pictures[0])})
    tracker.add_prompt("cam", prompt_for(2, truths[0][2], "box"))
    for n in range(1, 12):
        (result,) = tracker.track({"cam": rgb_frame(pictures[n])})["cam"]
        assert iou(result, truths[n][2]) > iou(result, truths[n - 1][2]) + 0.1


def test_a_new_prompt_changes_what_is_followed():
    picture, truth = scene(0)
    tracker = ColorTracker()
    tracker.open_stream("cam")
    tracker.track({"cam": rgb_frame(picture)})
    tracker.add_prompt("cam", prompt_for(1, truth[1], "box"))
    assert iou(tracker.add_prompt("cam", prompt_for(1, truth[3], "point")).current, truth[3]) > 0.9
    kept = tracker.add_prompt("cam", Prompt(1, points=(Point(5, 5, label=0),))).current
    assert iou(kept, truth[3]) > 0.9


def crossing(n: int) -> tuple[Picture, NDArray[np.bool_]]:
    """A disc that crosses the picture in 40 frames: in 300 ms at 30 frames/s it leaves the place where it was."""
    picture = np.full((180, 320, 3), 110, dtype=np.uint8)
    rows, columns = np.ogrid[:180, :320]
    truth = (columns - (20 + 7 * n)) ** 2 + (rows - 90) ** 2 <= 20**2
    picture[truth] = COLORS[1]
    return picture, truth


def test_a_click_hits_what_the_user_saw():
    """The click is made on frame 5 and comes 300 ms later, when frame 14 is the newest."""
    seen, late = 5, 14
    pictures, truths = zip(*(crossing(n) for n in range(20)), strict=True)
    click = prompt_for(1, truths[seen], "point")
    hit, missed = ColorTracker(), ColorTracker()
    for tracker in (hit, missed):
        tracker.open_stream("cam")
        for n in range(late + 1):
            tracker.track({"cam": rgb_frame(pictures[n], n)})
    result = hit.add_prompt("cam", click, frame_id=seen)
    assert result.frame_id == seen
    assert iou(result.prompted, truths[seen]) > 0.9
    assert iou(result.current, truths[late]) > 0.9
    assert iou(missed.add_prompt("cam", click).current, truths[late]) < 0.1
    for n in range(late + 1, 20):
        frame = rgb_frame(pictures[n], n)
        assert iou(hit.track({"cam": frame})["cam"][0], truths[n]) > 0.9
        assert iou(missed.track({"cam": frame})["cam"][0], truths[n]) < 0.1


def test_a_correction_of_an_old_frame_continues_from_there():
    """A point off the object changes nothing; the object is found on the old frame where it was then."""
    tracker = ColorTracker(catch_up_frames=2)
    tracker.open_stream("cam")
    for n in range(15):
        picture, truth = crossing(n)
        tracker.track({"cam": rgb_frame(picture, n)})
        if n == 0:
            tracker.add_prompt("cam", prompt_for(1, truth, "box"))
    for seen in (5, 8):
        result = tracker.add_prompt("cam", Prompt(1, points=(Point(5, 5, label=0),)), frame_id=seen)
        assert iou(result.prompted, crossing(seen)[1]) > 0.9
        assert iou(result.current, crossing(14)[1]) > 0.9


def test_a_size_change_is_followed():
    tracker = ColorTracker()
    tracker.open_stream("cam")
    picture, truth = scene(0)
    tracker.track({"cam": rgb_frame(picture)})
    tracker.add_prompt("cam", prompt_for(2, truth[2], "box"))
    for size in ((1283, 721), (320, 180)):
        picture, truth = scene(1, size)
        (result,) = tracker.track({"cam": rgb_frame(picture)})["cam"]
        assert result.size == size
        assert iou(result, truth[2]) > 0.9


def test_the_planes_are_not_needed_after_the_return():
    picture, truth = scene(0)
    tracker = ColorTracker()
    tracker.open_stream("cam")
    tracker.track({"cam": rgb_frame(picture)})
    picture[:] = 0
    assert iou(tracker.add_prompt("cam", prompt_for(1, truth[1], "box")).current, truth[1]) > 0.9


def test_of_two_alike_the_nearer_is_taken():
    truths = []
    tracker = ColorTracker()
    tracker.open_stream("cam")
    rows, columns = np.ogrid[:180, :320]
    for n in range(10):
        picture = np.full((180, 320, 3), 110, dtype=np.uint8)
        truths = [(columns - x) ** 2 + (rows - y) ** 2 <= 20**2 for x, y in ((60 + 4 * n, 40), (250 - 4 * n, 130))]
        for truth in truths:
            picture[truth] = COLORS[1]
        results = tracker.track({"cam": rgb_frame(picture)})["cam"]
        if n == 0:
            results = [
                tracker.add_prompt("cam", prompt_for(i, truth, "mask")).current for i, truth in enumerate(truths, 1)
            ]
        assert [iou(result, truth) for result, truth in zip(results, truths, strict=True)] == [1.0, 1.0]


def test_a_prompt_without_a_mask_is_refused_and_changes_nothing():
    picture = np.zeros((240, 320, 3), np.uint8)
    picture[:, 160:] = 255  # half black, half white: the median of both matches neither
    tracker = ColorTracker()
    tracker.open_stream("cam")
    tracker.track({"cam": rgb_frame(picture)})
    mask = np.zeros((240, 320), np.bool_)
    mask[100:140, 140:180] = True
    for act in (tracker.preview, tracker.add_prompt):
        with pytest.raises(PromptError, match="the prompt gave no mask on frame 0"):
            act("cam", Prompt(1, mask=mask))
    assert tracker.track({"cam": rgb_frame(picture, 1)}) == {"cam": []}
