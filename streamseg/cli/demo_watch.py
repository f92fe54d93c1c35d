"""The demo's subscriber: measures and draws published masks, and compares them with the scene's true masks."""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from streamseg.cli.draw_pair import draw_pair
from streamseg.cli.video_writer import LastPictures, PictureWriter, open_writer
from streamseg.client import FramePair, MaskFrame, ObjectMask, PairedSubscriber
from streamseg.errors import StreamsegError, SubscribeTimeoutError
from streamseg.sources.scene.source import Scene

if TYPE_CHECKING:
    from numpy.typing import NDArray

VIDEO_S: Final = 60.0
"""Length of the video of an endless demo."""
_TURN_S: Final = 0.25
_SILENCE_S: Final = 30.0
_WINDOW: Final = 30
_KEPT: Final = 10_000  # latencies: a few minutes of video


@dataclass
class Followed:
    """One object of the demo: sums over all frames, and the newest values.

    Attributes:
        label: Its name.
        frames: Frames on which it was published.
        confidence: Sum of its confidence on frames where it is visible; None if there is none.
        uncertain: Frames on which its state was uncertain.
        unseen: Frames on which it was occluded or lost.
        compared: Frames on which the true mask is known.
        iou: Sum of the IoU with the true mask.
        elsewhere: Frames on which its mask lay mostly on another object.
        recent_iou: IoU of the newest frames.
        now: Its confidence and state on the newest frame.
    """

    label: str = ""
    frames: int = 0
    confidence: float | None = None
    uncertain: int = 0
    unseen: int = 0
    compared: int = 0
    iou: float = 0.0
    elsewhere: int = 0
    recent_iou: deque[float] = field(default_factory=lambda: deque(maxlen=_WINDOW))
    now: str = ""

    def add(self, obj: ObjectMask) -> None:
        """Count the object's published state on a frame."""
        self.label, self.frames = obj.label, self.frames + 1
        self.uncertain += obj.state == "uncertain"
        unseen = obj.state in ("occluded", "lost")
        self.unseen += unseen
        if obj.confidence is not None and not unseen:
            self.confidence = (self.confidence or 0.0) + obj.confidence
        quality = obj.score if obj.confidence is None else obj.confidence
        match obj.state:
            case "tracked":
                self.now = f"{quality:.2f}"
            case "uncertain":
                self.now = f"{quality:.2f} uncertain"
            case _:  # no mask: the number would be meaningless
                self.now = obj.state

    def compare(self, iou: float, *, elsewhere: bool) -> None:
        """Count a comparison with the true mask."""
        self.compared, self.iou, self.elsewhere = self.compared + 1, self.iou + iou, self.elsewhere + elsewhere
        self.recent_iou.append(iou)


@dataclass
class Measured:
    """Measurements so far. They do not grow with time.

    Attributes:
        frames: Number of pictures with masks.
        seconds: Time from the first to the last one.
        latencies_ms: Latency of the newest frames, from capture to this process.
        objects: Object id -> its measurements.
        played_s: Duration of the video played in that time; equal to ``seconds`` without time stamps.
        size: Size of the last frame.
        dropped: Frames that were not tracked, as counted by the daemon.
    """

    frames: int = 0
    seconds: float = 0.0
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT))
    objects: dict[int, Followed] = field(default_factory=dict)
    played_s: float = 0.0
    size: tuple[int, int] = (0, 0)
    dropped: int = 0

    @property
    def behind_s(self) -> float:
        """How far the video fell behind its own rate, in seconds."""
        return self.seconds - self.played_s

    @property
    def rate(self) -> float:
        """Frames per second."""
        return (self.frames - 1) / self.seconds if self.seconds > 0 else 0.0

    def now(self) -> str:
        """Return the most recent measurements as one line."""
        text = f"frame {self.frames:>4}  {self.rate:5.1f} frames/s"
        if recent := list(self.latencies_ms)[-_WINDOW:]:
            text += f"  {statistics.median(recent):5.0f} ms old"
        if recent_ious := [iou for each in self.objects.values() for iou in each.recent_iou]:
            text += f"  IoU {statistics.mean(recent_ious):.2f}"
        if self.objects:
            text += "  " + ", ".join(f"{each.label or obj_id} {each.now}" for obj_id, each in self.objects.items())
        return text


class Watcher(threading.Thread):
    """Receives pairs of picture and masks until there are enough.

    Args:
        endpoint: Where the daemon publishes.
        stream: Id of the stream.
        scene: The scene that the stream shows, for its true masks; None for a clip.
        out: Output file.
        frames: Stop after this many frames; None: after ``seconds``.
        seconds: Stop this long after the first frame; 0: only when it is stopped.
        progress: Called after each frame.
        done: Called at the end, for any reason.

    Attributes:
        measured: The measurements.
        error: The error that ended it early, if any.
    """

    def __init__(
        self,
        endpoint: str,
        stream: str,
        *,
        scene: Scene | None,
        out: Path,
        frames: int | None,
        seconds: float,
        progress: Callable[[Measured], None],
        done: Callable[[], None],
    ) -> None:
        super().__init__(name="demo subscriber", daemon=True)
        self._endpoint = endpoint
        self._stream = stream
        self._scene = scene
        self._out = out
        self._frames = frames
        self._seconds = seconds
        self._progress = progress
        self._done = done
        self._stopping = threading.Event()
        self._first_ns = 0
        self._first_played_s: float | None = None
        self.measured = Measured()
        self.error: StreamsegError | None = None

    def run(self) -> None:
        """Receive, measure and draw. The thread's body."""
        try:
            with (
                self._open_video() as file,
                PairedSubscriber(self._endpoint, streams=[self._stream]) as subscriber,
            ):
                while not self._enough() and (pair := self._next(subscriber)) is not None:
                    self._measure(pair)
                    file.add(draw_pair(pair), pair.masks.t_captured_ns / 1e9)
                    self._progress(self.measured)
        except StreamsegError as error:
            self.error = error
        except Exception as error:  # noqa: BLE001 - a thread's error would be lost, and the demo report success
            self.error = StreamsegError(f"the demo's subscriber failed: {type(error).__name__}: {error}")
        finally:
            self._done()

    def stop(self) -> None:
        """Ask the thread to stop. Callable from any thread."""
        self._stopping.set()

    def _open_video(self) -> PictureWriter:
        """Return the writer of the drawn pictures; an endless demo keeps only the last minute."""
        endless = self._frames is None and not self._seconds
        return LastPictures(self._out, VIDEO_S) if endless else open_writer(self._out)

    def _enough(self) -> bool:
        if self._frames is not None:
            return self.measured.frames >= self._frames
        return 0 < self._seconds <= self.measured.seconds

    def _next(self, subscriber: PairedSubscriber) -> FramePair | None:
        deadline = time.monotonic() + _SILENCE_S
        while not self._stopping.is_set():
            try:
                return subscriber.receive(_TURN_S)
            except SubscribeTimeoutError:
                if time.monotonic() > deadline:
                    raise
        return None

    def _measure(self, pair: FramePair) -> None:
        masks, measured = pair.masks, self.measured
        self._first_ns = self._first_ns or masks.t_captured_ns
        measured.frames += 1
        measured.seconds = (masks.t_captured_ns - self._first_ns) / 1e9
        played = self._played_s(masks)
        measured.played_s = measured.seconds if played is None else played
        measured.latencies_ms.append(masks.age_ms)
        measured.size, measured.dropped = masks.size, masks.dropped
        for obj in masks.objects:
            measured.objects.setdefault(obj.id, Followed()).add(obj)
        if self._scene is not None and masks.pts is not None:
            found = {obj.id: obj.mask for obj in masks.objects}
            truths = self._scene.truth(masks.pts)
            for obj_id, truth in truths.items():
                mask = found.get(obj_id, np.zeros_like(truth))
                others = sum(np.count_nonzero(mask & other) for key, other in truths.items() if key != obj_id)
                followed = measured.objects.setdefault(obj_id, Followed(self._scene.names[obj_id]))
                followed.compare(_iou(mask, truth), elsewhere=bool(2 * others > np.count_nonzero(mask)))

    def _played_s(self, masks: MaskFrame) -> float | None:
        """Time of a frame in the video since the first frame; None without time stamps."""
        if masks.pts is None:
            return None
        seconds = masks.pts * masks.time_base[0] / masks.time_base[1]
        self._first_played_s = seconds if self._first_played_s is None else self._first_played_s
        return seconds - self._first_played_s


def _iou(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    union = int(np.count_nonzero(found | truth))
    return np.count_nonzero(found & truth) / union if union else 1.0
