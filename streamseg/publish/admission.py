"""Admits subscribers: each connection waits in its handshake until the publisher has time for it.

libzmq's subscribers reconnect a tenth of a second after they were disconnected, and repeat all their topics. Thirty
flooding clients can keep libzmq busy storing and freeing topics within a single call. A connection that waits in its
handshake costs nothing, and its client does not retry meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Final

import zmq

from streamseg.security.curve_gate import CurveGate
from streamseg.security.zap import Handshake, HandshakeSocket

_DOMAIN: Final = b"subscribers"
_MAX_PER_TURN: Final = 16
_INTERVAL_S: Final = 0.02
_BURST_S: Final = 0.06
"""Four connections of a peer begin at once, the next ones at intervals: a flood is detected by then."""
_PENALTY_S: Final = 10.0
_PENALTY_INTERVAL_S: Final = 0.1
"""Slow rather than never: honest subscribers of the same peer wait in the same queue."""
_MAX_PEERS: Final = 1024
_MAX_WAITING: Final = 1500
"""Per peer. libzmq ends a handshake after 30 s, and at most this many get their turn in that time."""
_LONG_MS: Final = 60_000


class PeerTurns:
    """Decides when the next connection of each peer may begin. Thread-safe.

    For ten seconds after a connection of a peer was closed for a flood, its next ones begin slowly.
    """

    def __init__(self) -> None:
        self._next_at: dict[str, float] = {}
        self._punished_until: dict[str, float] = {}
        self._lock = threading.Lock()

    def punish(self, peer: str) -> None:
        """Start, or restart, a peer's ten seconds."""
        with self._lock:
            self._punished_until.pop(peer, None)  # the oldest stay in front
            if len(self._punished_until) >= _MAX_PEERS:
                del self._punished_until[next(iter(self._punished_until))]
            self._punished_until[peer] = time.monotonic() + _PENALTY_S

    def may_begin(self, peer: str) -> bool:
        """Return whether a connection of a peer may begin now."""
        now = time.monotonic()
        with self._lock:
            punished = self._punished_until.get(peer, 0.0) > now
            return now >= self._next_at.get(peer, 0.0) - (0.0 if punished else _BURST_S)

    def begin(self, peer: str) -> None:
        """Count a connection of a peer."""
        now = time.monotonic()
        with self._lock:
            punished = self._punished_until.get(peer, 0.0) > now
            interval_s = _PENALTY_INTERVAL_S if punished else _INTERVAL_S
            self._next_at[peer] = max(now, self._next_at.get(peer, 0.0)) + interval_s
            if len(self._next_at) > _MAX_PEERS:
                self._next_at = {one: at for one, at in self._next_at.items() if at > now}


class Admission:
    """The handshakes of a publisher's subscribers. Used by one thread.

    Args:
        context: Context of the socket.
        turns: Decides who has to wait.

    Attributes:
        handshakes: Readable while handshakes have arrived.
        gate: Decides who may connect to endpoints that need a key; None: no endpoint does.
        dropped: Handshakes left unanswered because too many of the same peer were waiting.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], turns: PeerTurns) -> None:
        self.handshakes = HandshakeSocket(context)
        self.gate: CurveGate | None = None
        self.dropped = 0
        self._turns = turns
        self._waiting: dict[str, deque[Handshake]] = {}

    def watch(self, outlet: zmq.Socket[bytes]) -> None:
        """Make all later binds of a socket ask for admission."""
        outlet.setsockopt(zmq.ZAP_DOMAIN, _DOMAIN)

    def admit(self) -> None:
        """Admit the connections whose turn it is: peers in rotation, oldest connections first."""
        while (handshake := self.handshakes.receive()) is not None:
            waiting = self._waiting.setdefault(handshake.peer, deque())
            if len(waiting) < _MAX_WAITING:
                waiting.append(handshake)
            else:
                self.dropped += 1
        left = _MAX_PER_TURN
        for peer in tuple(self._waiting):
            if left == 0:
                break
            waiting = self._waiting.pop(peer)
            left -= self._admit_of(peer, waiting, left)
            if waiting:
                self._waiting[peer] = waiting

    def _admit_of(self, peer: str, waiting: deque[Handshake], most: int) -> int:
        """Admit connections of a peer; return how many. Those closed meanwhile take no turn."""
        admitted = 0
        while waiting and admitted < most and self._turns.may_begin(peer):
            if self._answer(waiting.popleft()):
                self._turns.begin(peer)
                admitted += 1
        return admitted

    def wait_ms(self) -> int:
        """Return the longest time to wait before the next :meth:`admit`."""
        return int(1000 * _INTERVAL_S) if self._waiting else _LONG_MS

    def close(self) -> None:
        """Stop admitting connections."""
        self.handshakes.close()

    def _answer(self, handshake: Handshake) -> bool:
        """Admit or refuse a connection; return whether it was still open."""
        if handshake.domain == _DOMAIN:
            return self.handshakes.admit(handshake)
        return self.gate is not None and self.gate.decide(handshake)
