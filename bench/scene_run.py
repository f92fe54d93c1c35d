"""Runs ``find`` on a generated scene with a real tracker, in this process, each look to its end between two frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from streamseg.config.schema import FindConfig, StreamConfig
from streamseg.frame import Frame, FrameFormat, FrameStamps
from streamseg.ipc.messages import StreamEvent
from streamseg.sources.scene.source import Scene
from streamseg.tracker.types import Tracker
from streamseg.worker.track_frames import track_frames
from streamseg.worker.tracked_stream import TrackedStream

FPS = 30


def scene_frame(scene: Scene, n: int, *, fps: float = FPS, epoch: int = 0) -> Frame:
    """Return frame ``n`` as the worker gets it."""
    size = scene.spec.width, scene.spec.height
    at_ns = 1_700_000_000_000_000_000 + int(n * 1e9 / fps)
    stamps = FrameStamps(at_ns, "file", at_ns, at_ns, n, (1, int(fps)))
    return Frame(n, epoch, FrameFormat(*size, "rgb24"), (scene.render(n).reshape(size[1], -1),), stamps)


@dataclass
class SceneRun:
    """One stream on a scene.

    Attributes:
        scene: Its pictures.
        tracker: The stream is opened on it.
        find: How objects are found.
        config: Other settings of the stream.
        max_objects: Objects at once, at most.
        name: Id of the stream.
        events: Those of the stream so far.
        stream: The stream.
    """

    scene: Scene
    tracker: Tracker
    find: FindConfig
    config: Mapping[str, Any] = field(default_factory=dict)
    max_objects: int = 8
    name: str = "cam"
    events: list[StreamEvent] = field(default_factory=list)

    def __post_init__(self) -> None:
        config = StreamConfig(source="scene:visit", find=self.find, **self.config)
        self.stream = TrackedStream(self.name, config, self.tracker, max_objects=self.max_objects)

    def feed(self, n: int) -> None:
        """Track a frame, then look as long as there is something to look at."""
        self.track(n)
        self.look()

    def track(self, n: int) -> None:
        """Track a frame. A look that is under way gets no turn."""
        self.track_frame(scene_frame(self.scene, n))

    def track_frame(self, frame: Frame) -> None:
        """Track a frame of :func:`scene_frame`."""
        list(track_frames(self.tracker, {self.name: self.stream}, {self.name: frame}))

    def look(self) -> None:
        """Finish the look that is under way."""
        while self.stream.finder.has_work:
            self.stream.finder.work()
        self.events += self.stream.take_events()

    def kinds(self) -> Counter[str]:
        """Count the events of each kind."""
        return Counter(event.kind for event in self.events)

    def masks(self) -> dict[int, np.ndarray]:
        """Return the masks of the visible objects on the newest frame."""
        latest = self.stream.latest
        return {} if latest is None else {key: one.full_mask for key, one in latest.results.items() if one.area}

    def ids(self) -> set[int]:
        """Return the ids of all objects, visible or not."""
        return set(self.stream.objects.table.objects)
