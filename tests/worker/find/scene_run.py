"""Runs ``find`` on a generated scene with a real tracker, each look to its end between two frames."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from bench.find_score import FindScore
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
    """One stream on a scene."""

    scene: Scene
    tracker: Tracker
    find: FindConfig
    config: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        config = StreamConfig(source="scene:visit", find=self.find, **self.config)
        self.stream = TrackedStream("cam", config, self.tracker, max_objects=8)
        every = int(self.find.every_s * FPS)
        self.score = FindScore(within=2 * every, retired_within=int(config.lost_after_s * FPS) + 2)
        self.events: list[StreamEvent] = []

    def feed(self, n: int, *, score: bool = True) -> None:
        """Track a frame, then look as long as there is something to look at."""
        self.track(n)
        self.look()
        if score:
            latest = self.stream.latest
            masks = {} if latest is None else {key: one.full_mask for key, one in latest.results.items() if one.area}
            self.score.add(n, self.scene.truth(n), masks, set(self.stream.objects.table.objects))

    def kinds(self) -> Counter[str]:
        return Counter(event.kind for event in self.events)

    def masks(self) -> dict[int, np.ndarray]:
        latest = self.stream.latest
        return {} if latest is None else {key: one.full_mask for key, one in latest.results.items() if one.area}

    def track(self, n: int) -> None:
        """Track a frame. A look that is under way gets no turn."""
        list(track_frames(self.tracker, {"cam": self.stream}, {"cam": scene_frame(self.scene, n)}))

    def look(self) -> None:
        """Finish the look that is under way."""
        while self.stream.finder.has_work:
            self.stream.finder.work()
        self.events += self.stream.take_events()
