"""Pictures are encoded on a thread of their own, so that no mask waits behind a JPEG (5 to 7 ms at 1080p)."""

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
    """What became of a frame's picture.

    Attributes:
        frame: The frame it belongs to.
        jpeg: None if it could not be encoded.
    """

    frame: TrackedFrame
    jpeg: bytes | None


class PictureThread:
    """Encodes pictures, one at a time, the newest of each stream; OpenCV lets go of the GIL meanwhile.

    A stream has at most one picture waiting: a newer one takes its place. Whatever happens, a slot of the ring that
    came in is released here.

    Args:
        encode: Turns a frame into JPEG.
    """

    def __init__(self, encode: Callable[[Frame], bytes]) -> None:
        self._encode = encode
        self._waiting: dict[str, tuple[TrackedFrame, HeldFrame]] = {}
        self._finished: deque[Picture] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._has_failed = False
        self._done_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._run, name="pictures", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        """Descriptor that is readable while :meth:`take_finished` has something."""
        return self._done_fd

    def submit(self, frame: TrackedFrame, held: HeldFrame) -> bool:
        """Have a picture encoded. Never waits.

        Returns:
            False if a picture of this stream that was still waiting had to go for it.
        """
        with self._changed:
            superseded = self._waiting.get(frame.stream)
            self._waiting[frame.stream] = (frame, held)  # keeps its turn among the streams
            self._changed.notify()
        if superseded is not None:
            superseded[1].release()
        return superseded is None

    def take_finished(self) -> list[Picture]:
        """Return what was finished since the last call."""
        try:
            os.eventfd_read(self._done_fd)
        except BlockingIOError:
            return []
        return [self._finished.popleft() for _ in range(len(self._finished))]

    def close(self) -> None:
        """End the thread and release what waits.

        Blocks: for the picture that is being encoded, up to 0.2 s.
        """
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout=0.2)
        for _, held in self._waiting.values():
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
                frame, held = self._waiting.pop(next(iter(self._waiting)))
            with held:
                jpeg = self._try_encode(held.frame)
            self._finished.append(Picture(frame, jpeg))
            os.eventfd_write(self._done_fd, 1)

    def _try_encode(self, frame: Frame) -> bytes | None:
        try:
            return self._encode(frame)
        except Exception:
            if not self._has_failed:  # the next ones are counted
                log.exception("a picture could not be encoded: further ones are only counted")
            self._has_failed = True
            return None
