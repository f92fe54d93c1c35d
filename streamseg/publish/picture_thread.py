"""A thread that encodes pictures, so that no mask waits behind a JPEG (5 to 7 ms at 1080p)."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from streamseg.frame import Frame
from streamseg.ipc.messages import TrackedFrame
from streamseg.ring.frame_ring import HeldFrame

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Picture:
    """The picture of a frame.

    Attributes:
        frame: The frame.
        jpeg: The picture; None if it could not be encoded.
        rates_hz: Limited rates that get it.
    """

    frame: TrackedFrame
    jpeg: bytes | None
    rates_hz: tuple[float, ...]


class PictureThread:
    """Encodes pictures one at a time, the newest of each stream. OpenCV releases the GIL meanwhile.

    At most one picture of a stream waits, and a newer one replaces it. There is one exception: a waiting picture that
    is due at a limited rate is not replaced by one that is not, since its masks were already sent and its subscribers
    get few pictures. The thread releases every ring slot it is given, even when encoding fails.

    Args:
        encode: Converts a frame to JPEG.
    """

    def __init__(self, encode: Callable[[Frame], bytes]) -> None:
        self._encode = encode
        self._waiting: dict[str, tuple[TrackedFrame, HeldFrame, tuple[float, ...]]] = {}
        self._finished: deque[Picture] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._has_failed = False
        self._done_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._run, name="pictures", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        """Descriptor that is readable while :meth:`take_finished` has pictures."""
        return self._done_fd

    def submit(self, frame: TrackedFrame, held: HeldFrame, rates_hz: tuple[float, ...] = ()) -> bool:
        """Queue a frame for encoding. Never blocks.

        Args:
            frame: The frame.
            held: Its slot of the ring.
            rates_hz: Limited rates that get its picture.

        Returns:
            False if a frame of this stream was dropped: one that was still waiting, or this one.
        """
        with self._changed:
            waiting = self._waiting.get(frame.stream)
            if waiting is not None and waiting[2] and not rates_hz:
                dropped: HeldFrame | None = held
            else:
                dropped = waiting[1] if waiting is not None else None
                self._waiting[frame.stream] = (frame, held, rates_hz)  # the stream keeps its place in the queue
                self._changed.notify()
        if dropped is not None:
            dropped.release()
        return dropped is None

    def take_finished(self) -> list[Picture]:
        """Return the pictures finished since the last call."""
        try:
            os.eventfd_read(self._done_fd)
        except BlockingIOError:
            return []
        return [self._finished.popleft() for _ in range(len(self._finished))]

    def close(self) -> None:
        """Stop the thread and release the frames that wait.

        Blocks: for the picture that is being encoded, up to 0.2 s.
        """
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout=0.2)
        for _, held, _ in self._waiting.values():
            held.release()
        self._waiting.clear()
        if not self._thread.is_alive():
            os.close(self._done_fd)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closing:
                    self._changed.wait(timeout=60.0)
                if self._closing:
                    return
                frame, held, rates_hz = self._waiting.pop(next(iter(self._waiting)))
            with held:
                jpeg = self._try_encode(held.frame)
            self._finished.append(Picture(frame, jpeg, rates_hz))
            os.eventfd_write(self._done_fd, 1)

    def _try_encode(self, frame: Frame) -> bytes | None:
        try:
            return self._encode(frame)
        except Exception:
            if not self._has_failed:
                log.exception("a picture cannot be encoded; later failures are only counted")
            self._has_failed = True
            return None
