"""The worker's side of the prompters: shares frames with those that wait for one, and receives their proposals.

Never waits: a prompter that has not answered gets no other frame, and holds at most one slot.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import zmq

from streamseg.ipc.prompters import Look, PrompterHub, Proposals, Ready
from streamseg.ring.frame_ring import HeldFrame
from streamseg.ring.layout import PROMPTER_ROLES
from streamseg.worker.frame_turn import FrameResult
from streamseg.worker.tracked_stream import TrackedStream

_MAX_PER_TURN: Final = 16
"""Messages per turn of the worker's loop, since frames wait meanwhile."""


class PrompterExchange:
    """Exchanges frames and proposals. Used by the worker's thread.

    Args:
        endpoint: Where to listen for prompters.
    """

    def __init__(self, endpoint: str) -> None:
        self._hub = PrompterHub(endpoint)

    @property
    def socket(self) -> zmq.Socket[bytes]:
        """For polling: readable when a prompter has sent something."""
        return self._hub.socket

    def take(self, streams: Mapping[str, TrackedStream]) -> None:
        """Pass on the messages that have arrived. Never blocks."""
        for stream, name, message in self._hub.take(_MAX_PER_TURN):
            finder = streams[stream].prompters.get(name) if stream in streams else None
            match message:
                case _ if finder is None:
                    continue  # removed from the settings a moment ago
                case Ready(role=role) if role in PROMPTER_ROLES:
                    finder.on_ready(message)
                case Proposals():
                    finder.on_proposals(message)

    def offer(self, tracked: TrackedStream, result: FrameResult, held: HeldFrame) -> None:
        """Share a frame that was just tracked with the prompters that wait for one. Never blocks."""
        if result.repeats is not None or result.paused or result.failed:
            return
        for name, finder in tracked.prompters.items():
            role = finder.wants(result.frame)
            if role is None or not held.share_with(role):
                continue
            look = Look(result.frame.frame_id, held.slot, result.objects)
            if self._hub.send(tracked.name, name, look):
                finder.on_given(result.frame)
            else:
                held.withdraw(role)

    def close(self) -> None:
        """Close the socket."""
        self._hub.close()
