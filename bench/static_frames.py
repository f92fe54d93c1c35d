"""What ``repeat_static`` saves and what it costs: the same frames with and without it, side by side.

    export OMP_WAIT_POLICY=PASSIVE GOMP_SPINCOUNT=3000             # as the worker sets them
    python bench/static_frames.py                                  # generated scenes that stop and go on
    python bench/static_frames.py --davis FOLDER --clip bottles.mp4 0 287,109,344,312 --json r.json --markdown r.md

Two trackers get each frame from memory, one after the other, as in a worker. Where we add the noise, a third tracker
gets the same pictures with other noise, without the option. Masks are compared with each other on every frame but the
first, and with the truth where there is one. ``--davis`` is a folder laid out as DAVIS, of which the first object is
tracked. ``--clip`` is a video, its first frame and a box on it.

Times are CPU time of all threads, which depends less on other work than wall time does; wall time is in the JSON.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import get_args

import av
import cv2
import numpy as np
from hardware import machine, write_results
from quality import read_annotation, read_picture
from quality_metrics import BoolMask, boundary_accuracy, region_similarity

from streamseg.config.schema import ModelConfig, StreamConfig
from streamseg.frame import Frame, FrameFormat, FrameStamps, PixelFormat, Plane
from streamseg.ipc.saved_prompts import SavedPrompt
from streamseg.protocol.arguments import Rle
from streamseg.protocol.mask_codec import encode_rle
from streamseg.sources.scene.source import Scene
from streamseg.tracker.create import create_tracker
from streamseg.worker.static_frames import StaticFrames
from streamseg.worker.track_frames import track_frames
from streamseg.worker.tracked_stream import TrackedStream

STREAM = "s"
SIZE = (640, 360)
FPS = 30
NOISE = 3.0
"""Sigma of the noise on generated pictures, in levels of each pixel and channel."""

MOVING, STANDING = 60, 120
"""Frames of a scene in motion, and at rest."""

HELD = 300
"""Frames for which a single picture is held."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One frame: ``uint8 [H, W, 3]`` RGB, and object -> true mask, where known."""

    rgb: Plane
    truths: dict[int, BoolMask]


@dataclass(frozen=True, slots=True)
class Video:
    """The input of both arms.

    Attributes:
        name: Its name in the table.
        frames: Starts it from the first frame.
        prompts: For the first frame; if empty, that frame's truth is used.
        other_noise: Starts the same video with other noise; None if the noise is the camera's.
    """

    name: str
    frames: Callable[[], Iterator[Shown]]
    prompts: dict[int, SavedPrompt]
    other_noise: Callable[[], Iterator[Shown]] | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """One video with and without the option: means over objects and all frames except the first.

    Attributes:
        video: Its name.
        frames: Number of frames, without the first.
        repeated: Share of frames that were not tracked.
        off_ms: CPU time per frame without the option, from its planes to the message for the publisher.
        on_ms: CPU time with the option.
        off_wall_ms: Wall time without the option.
        on_wall_ms: Wall time with the option.
        agreement: IoU of the masks with and without the option.
        least: Lowest of these IoUs.
        off_j: J without the option; None without a truth.
        off_f: F without the option.
        on_j: J with the option.
        on_f: F with the option.
        noise: IoU of two runs without the option that differ only in their noise. None if the noise is the
            camera's.
    """

    video: str
    frames: int
    repeated: float
    off_ms: float
    on_ms: float
    off_wall_ms: float
    on_wall_ms: float
    agreement: float
    least: float
    off_j: float | None
    off_f: float | None
    on_j: float | None
    on_f: float | None
    noise: float | None


class Arm:
    """A tracker with one stream, driven as in a worker."""

    def __init__(self, model: ModelConfig, *, repeat_static: bool) -> None:
        self._tracker = create_tracker(model)
        self._tracker.warm_up(lambda what, share: None)
        self._config = StreamConfig(source="scene:simple", repeat_static=repeat_static)
        self._stream: TrackedStream | None = None

    def start(self, frame: Frame, prompts: dict[int, SavedPrompt]) -> None:
        """Start over and prompt the first frame."""
        if self._stream is not None:
            self._stream.close()
        self._stream = TrackedStream(STREAM, self._config, self._tracker)
        self.take(frame)
        for obj_id, prompt in prompts.items():
            self._stream.objects.add_prompt(obj_id, "", prompt, None)

    def take(self, frame: Frame) -> tuple[float, float]:
        """Process a frame as the worker does; return CPU time and wall time in ms."""
        stream = self._stream
        assert stream is not None
        began = time.process_time(), time.perf_counter()
        for result in track_frames(self._tracker, {STREAM: stream}, {STREAM: frame}):
            result.message(dropped=0, slot=-1)
        return 1000 * (time.process_time() - began[0]), 1000 * (time.perf_counter() - began[1])

    @property
    def repeated(self) -> int:
        """Number of frames that were not tracked."""
        assert self._stream is not None
        return self._stream.repeated

    def masks(self) -> dict[int, BoolMask]:
        """Masks of the newest frame."""
        assert self._stream is not None
        assert self._stream.latest is not None
        return {obj_id: result.full_mask for obj_id, result in self._stream.latest.results.items()}


def as_frame(number: int, rgb: Plane, pixel_format: PixelFormat = "yuv420p") -> Frame:
    """Return a picture of even size as a camera of 30 frames/s would deliver it."""
    height, width = rgb.shape[:2]
    planes: tuple[Plane, ...]
    if pixel_format in ("yuv420p", "nv12"):
        i420 = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420), np.uint8)
        chroma = i420[height:].reshape(2, height // 2, width // 2)
        pairs = np.ascontiguousarray(chroma.transpose(1, 2, 0)).reshape(height // 2, width)
        planes = (i420[:height], chroma[0], chroma[1]) if pixel_format == "yuv420p" else (i420[:height], pairs)
    elif pixel_format == "gray8":
        planes = (np.ascontiguousarray(rgb[..., 1]),)
    else:
        planes = (np.ascontiguousarray(rgb).reshape(height, 3 * width),)
    stamps = FrameStamps(0, "file", 0, 0, number, (1, FPS))
    return Frame(number, 0, FrameFormat(width, height, pixel_format), planes, stamps)


def as_mark(mask: BoolMask) -> SavedPrompt:
    """Return a mask as a prompt."""
    return SavedPrompt(mask=Rle(mask.shape, encode_rle(mask).decode()))


def scene(address: str, standing: int, seed: int) -> Iterator[Shown]:
    """Yield a scene that moves, rests, moves and rests, with sensor noise on every frame."""
    played = Scene(f"{address}{'&' if '?' in address else '?'}fps={FPS}&size={SIZE[0]}x{SIZE[1]}")
    moving = MOVING if standing else MOVING + STANDING
    rng = np.random.default_rng(seed)
    place = 0
    for _ in range(2):
        for step in chain([1] * moving, [0] * standing):
            place += step
            picture = played.render(place) + rng.normal(0, NOISE, (SIZE[1], SIZE[0], 3))
            yield Shown(np.clip(picture, 0, 255).round().astype(np.uint8), played.truth(place))


def held(rgb: Plane, frames: int, seed: int) -> Iterator[Shown]:
    """Yield one picture with changing noise."""
    rng = np.random.default_rng(seed)
    for _ in range(frames):
        yield Shown(np.clip(rgb + rng.normal(0, NOISE, rgb.shape), 0, 255).round().astype(np.uint8), {})


def clip(path: Path, first: int, most: int = 1) -> Iterator[Shown]:
    """Yield ``most`` frames of a video, beginning with frame ``first``."""
    with av.open(str(path)) as video:
        for picture in islice(video.decode(video=0), first, first + most):
            yield Shown(picture.to_ndarray(format="rgb24"), {})


def davis(folder: Path, sequence: str) -> Iterator[Shown]:
    """Yield a sequence with its first object."""
    for path in sorted((folder / "JPEGImages" / sequence).glob("*.jpg")):
        yield Shown(
            read_picture(path), {1: read_annotation(folder / "Annotations" / sequence / f"{path.stem}.png") > 0}
        )


def score(video: Video, off: Arm, on: Arm, noisy: Arm) -> Score:
    """Run the arms over a video; ``noisy`` gets the version with other noise, if there is one."""
    frames = video.frames()
    others = None if video.other_noise is None else video.other_noise()
    first = next(frames)
    prompts = video.prompts or {obj_id: as_mark(mask) for obj_id, mask in first.truths.items() if mask.any()}
    for arm in (off, on):
        arm.start(as_frame(0, first.rgb), prompts)
    if others is not None:
        noisy.start(as_frame(0, next(others).rgb), prompts)
    noise: list[float] = []
    times: tuple[list[tuple[float, float]], list[tuple[float, float]]] = ([], [])
    agreement: list[float] = []
    js: tuple[list[float], list[float]] = ([], [])
    fs: tuple[list[float], list[float]] = ([], [])
    for number, one in enumerate(frames, 1):
        frame = as_frame(number, one.rgb)
        for arm, its_times in zip((off, on), times, strict=True):
            its_times.append(arm.take(frame))
        masks = off.masks(), on.masks()
        agreement += [region_similarity(masks[0][obj_id], masks[1][obj_id]) for obj_id in masks[0]]
        if others is not None:
            noisy.take(as_frame(number, next(others).rgb))
            noise += [region_similarity(masks[0][obj_id], mask) for obj_id, mask in noisy.masks().items()]
        for obj_id in prompts:
            if obj_id in one.truths:
                for its_masks, j, f in zip(masks, js, fs, strict=True):
                    j.append(region_similarity(its_masks[obj_id], one.truths[obj_id]))
                    f.append(boundary_accuracy(its_masks[obj_id], one.truths[obj_id]))

    def mean(values: list[float]) -> float | None:
        return statistics.fmean(values) if values else None

    count = len(times[0])
    found = Score(
        video.name,
        count,
        on.repeated / count,
        *(statistics.fmean(spent[clock] for spent in its_times) for clock in (0, 1) for its_times in times),
        statistics.fmean(agreement),
        min(agreement),
        mean(js[0]),
        mean(fs[0]),
        mean(js[1]),
        mean(fs[1]),
        mean(noise),
    )
    print(row(found), flush=True)
    return found


def detector_ms(pixel_format: PixelFormat, size: tuple[int, int] = (1920, 1080), times: int = 200) -> float:
    """Return the median time of the comparison alone, on one thread."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        rgb = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
        frame = as_frame(0, rgb, pixel_format)
        compared, spent = StaticFrames(), []
        compared.tracked(frame, 0)
        for _ in range(times):
            began = time.perf_counter()
            compared.unchanged(frame, 0)
            spent.append(1000 * (time.perf_counter() - began))
    finally:
        cv2.setNumThreads(threads)
    return statistics.median(spent)


HEAD = (
    "| video | frames | repeated | CPU ms per frame, off | on | ratio | IoU off/on, mean | lowest "
    "| off/off, other noise | J&F off | on |\n|---|---|---|---|---|---|---|---|---|---|---|"
)


def row(one: Score) -> str:
    """A row of the table."""

    def j_and_f(j: float | None, f: float | None) -> str:
        return "" if j is None or f is None else f"{50 * (j + f):.1f}"

    cells = (
        one.video,
        str(one.frames),
        f"{100 * one.repeated:.0f} %",
        f"{one.off_ms:.1f}",
        f"{one.on_ms:.1f}",
        f"{one.off_ms / one.on_ms:.1f}",
        f"{one.agreement:.3f}",
        f"{one.least:.3f}",
        "" if one.noise is None else f"{one.noise:.3f}",
        j_and_f(one.off_j, one.off_f),
        j_and_f(one.on_j, one.on_f),
    )
    return f"| {' | '.join(cells)} |"


def videos(args: argparse.Namespace) -> Iterator[Video]:
    """Yield all videos of the command line with their prompts."""
    for address in ("scene:simple?objects=1", "scene:default"):
        for name, standing in (("stops", STANDING), ("never stops", 0)):
            play = partial(scene, address, standing)
            yield Video(f"{address}, {name}", partial(play, 0), {}, partial(play, 1))
    for file, first, box in args.clip:
        prompts = {1: SavedPrompt(box=tuple(float(edge) for edge in box.split(",")), coords="pixels")}
        path, start = Path(file), int(first)
        hold = partial(held, next(clip(path, start)).rgb, HELD)
        yield Video(f"{path.name}, its frame {first} held", partial(hold, 0), prompts, partial(hold, 1))
        yield Video(path.name, partial(clip, path, start, args.clip_frames), prompts)
    if args.davis:
        for sequence in sorted(path.name for path in (args.davis / "JPEGImages").iterdir() if path.is_dir()):
            yield Video(sequence, partial(davis, args.davis, sequence), {})


def main() -> None:
    """Parse the command line, run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--davis", type=Path, help="folder with JPEGImages and Annotations")
    parser.add_argument("--clip", nargs=3, action="append", default=[], metavar=("FILE", "FIRST", "X0,Y0,X1,Y1"))
    parser.add_argument("--clip-frames", type=int, default=300, help="most frames of a clip")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--threads", type=int, help="CPU threads of torch")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path, help="write the tables here")
    args = parser.parse_args()
    about = machine()
    detector = {name: detector_ms(name) for name in get_args(PixelFormat)}
    model = ModelConfig(name=args.model, threads=args.threads)
    off, on, noisy = (Arm(model, repeat_static=repeat_static) for repeat_static in (False, True, False))
    print(HEAD)
    scores = [score(video, off, on, noisy) for video in videos(args)]
    compared = ", ".join(f"{name} {ms:.2f}" for name, ms in detector.items())
    text = "\n".join((HEAD, *map(row, scores), "", f"Comparing a 1920x1080 frame, ms on one core: {compared}."))
    print(f"\n{text}")
    write_results(
        text, {"scores": [asdict(one) for one in scores], "detector_ms": detector, "model": args.model}, args, about
    )


if __name__ == "__main__":
    main()
