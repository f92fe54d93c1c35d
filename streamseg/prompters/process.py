"""The prompter process, one per prompter of a stream: takes frames that the worker shares, and returns proposals.

It is a separate process so that foreign code that is slow, hangs, crashes or fills the memory costs no frames. It has a
low priority (`nice`), the kernel kills it first when memory is short, it holds a slot of the ring only to copy the
picture, and the supervisor replaces it when a call takes longer than `timeout_s`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import zmq

from streamseg.common.logs import setup_logging
from streamseg.common.redact import redact
from streamseg.common.repeated_logs import is_logged
from streamseg.frame import Frame
from streamseg.ipc.prompters import CheckedProposal, Look, PrompterSocket, Proposals, Ready
from streamseg.ipc.supervisor_link import ChildLink
from streamseg.ipc.supervisor_messages import Report
from streamseg.prompters.check import checked
from streamseg.prompters.load import create_prompter
from streamseg.prompters.proposal import Picture, Prompter, Tracked
from streamseg.prompters.spec import PrompterSpec
from streamseg.ring.frame_ring import FrameRing
from streamseg.tracker.rgb import RgbConverter

log = logging.getLogger(__name__)

_PROGRESS_S: Final = 1.0
_NICE: Final = 10
_OOM_SCORE: Final = "800"
_MAX_ERROR: Final = 300


def main(spec: PrompterSpec, ring: FrameRing, connection: Connection) -> None:
    """Look for objects until the supervisor asks to stop. Entry point of the child process.

    Raises:
        ConfigError: the prompter cannot be created with these settings; a restart would not help.
    """
    link = ChildLink(connection)
    link.attach()
    setup_logging(spec.log, f"prompter:{spec.stream}:{spec.name}")
    _step_back(spec.config.threads)
    prompter = create_prompter(spec.config)
    socket = PrompterSocket(spec.endpoint, spec.stream, spec.name)
    link.send(Report("ready"))
    try:
        _Looks(spec, ring, prompter, link, socket).run()
    finally:
        socket.close()


def _step_back(threads: int) -> None:
    """Give other processes precedence for CPU and memory. Call it before any import that starts threads."""
    os.nice(_NICE)
    with contextlib.suppress(OSError):  # /proc is not writable on every machine
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import cv2

    cv2.setNumThreads(threads)


class _Looks:
    """The prompter's loop."""

    def __init__(
        self, spec: PrompterSpec, ring: FrameRing, prompter: Prompter, link: ChildLink, socket: PrompterSocket
    ) -> None:
        self._spec = spec
        self._prompter = prompter
        self._link = link
        self._socket = socket
        self._to_rgb = RgbConverter()
        self._reader = ring.reader(spec.role)
        self._reader.accept(1)
        self._failed = self._invalid = 0
        self._error, self._call_s = "", 0.0
        self._next_token()

    def run(self) -> None:
        """Look at frames until the supervisor asks to stop."""
        poller = zmq.Poller()
        poller.register(self._link.fileno(), zmq.POLLIN)
        poller.register(self._socket.socket, zmq.POLLIN)
        while not self._link.stop_requested():
            self._link.send(Report("progress"))
            self._socket.send(
                Ready(
                    self._token,
                    self._spec.role,
                    failed=self._failed,
                    invalid=self._invalid,
                    error=self._error,
                    call_ms=round(1000 * self._call_s, 2),
                )
            )
            poller.poll(int(1000 * _PROGRESS_S))
            if (look := self._socket.take()) is not None:
                self._look(look)
                self._next_token()

    def _next_token(self) -> None:
        self._token = secrets.randbits(62)

    def _look(self, look: Look) -> None:
        held = self._reader.adopt(look.slot, look.frame_id)
        if held is None:
            return  # offered to a predecessor
        with held:
            picture = self._copy(held.frame)
        size = picture.shape[1], picture.shape[0]
        tracked = [
            Tracked(obj.obj_id, obj.label, obj.state, obj.origin, obj.roi, size, obj.bits) for obj in look.objects
        ]
        self._socket.send(Proposals(look.frame_id, self._call(picture, tracked)))

    def _copy(self, frame: Frame) -> Picture:
        rgb: Picture = self._to_rgb(frame).copy()
        return rgb

    def _call(self, picture: Picture, tracked: Sequence[Tracked]) -> list[CheckedProposal]:
        began = time.monotonic()
        size = picture.shape[1], picture.shape[0]
        try:
            returned = self._prompter.prompts(picture, tracked)
            self._call_s = time.monotonic() - began
            proposals, refused, why = checked(returned, size, self._spec.config.min_score)
        except Exception as error:
            self._failed += 1
            self._error = redact(f"{type(error).__name__}: {error}")[:_MAX_ERROR]
            if is_logged(self._failed):
                log.exception("the prompter failed on a picture, %d so far", self._failed)
            return []
        if refused and (self._invalid + refused).bit_length() > self._invalid.bit_length():
            log.warning("%d proposals were refused, %d so far: %s", refused, self._invalid + refused, why)
        self._invalid += refused
        self._error = why[:_MAX_ERROR]
        return proposals
