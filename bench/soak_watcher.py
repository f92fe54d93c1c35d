"""What a fault run shows: every mask compared with the truth of its own frame, and every event."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamseg.client import EventMessage, FramePair, PairedSubscriber, Subscriber
from streamseg.errors import SubscribeTimeoutError
from streamseg.sources.scene.source import Scene, read_frame_code

SAME: Final = 0.5
"""IoU from which a mask is taken to lie on an object."""


@dataclass
class Seen:
    """What the masks showed in one part of the run.

    Attributes:
        frames: Stream -> frames judged.
        on_own: ``stream/object`` -> frames on which its mask lay on the object itself.
        hidden: ``stream/object`` -> frames without a mask.
        switches: ``stream/object on other`` -> frames.
    """

    frames: Counter[str] = field(default_factory=Counter)
    on_own: Counter[str] = field(default_factory=Counter)
    hidden: Counter[str] = field(default_factory=Counter)
    switches: Counter[str] = field(default_factory=Counter)

    def judge(self, pair: FramePair, truth: dict[int, NDArray[np.bool_]]) -> None:
        """Compare all masks of a frame with the truth."""
        self.frames[pair.stream] += 1
        for obj in pair.masks.objects:
            name = f"{pair.stream}/{obj.id}"
            if not obj.area:
                self.hidden[name] += 1
                continue
            for other, mask in truth.items():
                if iou(obj.mask, mask) > SAME:
                    if other == obj.id:
                        self.on_own[name] += 1
                    else:
                        self.switches[f"{name} on {other}"] += 1


class Watcher:
    """Judges every pair of picture and masks, and keeps every event, on two threads.

    Attributes:
        seen: The present part of the run.
        newest: Stream -> when its newest frame was judged, and the frame.
        events: All events, in the order in which they came.
    """

    def __init__(self, endpoint: str, rate: int) -> None:
        self.seen = Seen()
        self.newest: dict[str, tuple[float, FramePair, int]] = {}
        self.events: list[EventMessage] = []
        self._endpoint, self._rate = endpoint, rate
        self._scenes: dict[tuple[int, int], Scene] = {}
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._judge), threading.Thread(target=self._listen)]

    def __enter__(self) -> Watcher:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def scene(self, size: tuple[int, int]) -> Scene:
        """Return the cameras' scene at a size."""
        if size not in self._scenes:
            self._scenes[size] = Scene(f"scene:simple?size={size[0]}x{size[1]}&fps={self._rate}&code=1")
        return self._scenes[size]

    def _judge(self) -> None:
        with PairedSubscriber(self._endpoint) as pairs:
            while not self._stop.is_set():
                with contextlib.suppress(SubscribeTimeoutError):
                    pair = pairs.receive(timeout_s=0.5)
                    number = read_frame_code(pair.image.rgb)
                    if number is None or pair.image.rgb.shape[1::-1] != pair.masks.size:
                        continue
                    self.seen.judge(pair, self.scene(pair.masks.size).truth(number))
                    self.newest[pair.stream] = (time.monotonic(), pair, number)

    def _listen(self) -> None:
        with Subscriber(self._endpoint, kinds=("events",), mode="all") as events:
            while not self._stop.is_set():
                with contextlib.suppress(SubscribeTimeoutError):
                    self.events.append(events.receive(timeout_s=0.5))

    def lost_events(self) -> list[str]:
        """Return the gaps in the numbers of the events of each publisher."""
        following: dict[tuple[str, str], int] = {}
        lost = []
        for event in self.events:
            key = event.publisher, event.stream
            # A later publisher's first event has to be seen. The first one's may be older than this subscriber.
            known = 0 if following and event.publisher != self.events[0].publisher else event.seq
            if event.seq != (expected := following.get(key, known)):
                lost.append(f"{event.stream}: events {expected} to {event.seq - 1} before {event.event}")
            following[key] = event.seq + 1
        return lost


def iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Return the IoU of two masks; 0 if both are empty."""
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 0.0
