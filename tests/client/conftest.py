"""Golden messages, and a publisher's socket that can send anything."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

import pytest
import zmq

GOLDEN = Path(__file__).parents[1] / "protocol" / "golden"


def unpack(data):
    parts = []
    while data:
        end = 4 + int.from_bytes(data[:4], "big")
        parts.append(data[4:end])
        data = data[end:]
    return parts


class Messages:
    """Messages made from the golden ones, with fields changed."""

    def __call__(self, name, **changes):
        parts = unpack((GOLDEN / f"{name}.bin").read_bytes())
        header = json.loads(parts[1]) | changes
        kind = parts[0].split(b"/")[2]
        stream = header.get("stream", "_daemon")
        return [b"v1/%s/%s/" % (stream.encode(), kind), json.dumps(header).encode(), *parts[2:]]

    def masks(self, frame, seq=None, **changes):
        return self("masks_coco_rle", frame=frame, seq=frame if seq is None else seq, **changes)


class Outlet:
    """An XPUB socket on a path."""

    def __init__(self, folder):
        self.endpoint = f"ipc://{folder}/pub"
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.XPUB)
        self._socket.linger = 0
        self._socket.sndhwm = 0
        self._socket.setsockopt(zmq.XPUB_VERBOSER, 1)
        self._socket.bind(self.endpoint)

    def send(self, *messages):
        for parts in messages:
            self._socket.send_multipart(parts)

    def wait(self, *expected, timeout_s=20.0):
        """Take subscriptions (``b"\\x01topic"``) until all that are expected have come."""
        missing = set(expected)
        deadline = time.monotonic() + timeout_s
        while missing:
            assert self._socket.poll(max(0, int(1000 * (deadline - time.monotonic())))), f"{missing} did not come"
            missing.discard(self._socket.recv())

    def taken(self):
        """Subscriptions that have arrived."""
        got = []
        with contextlib.suppress(zmq.Again):
            while True:
                got.append(self._socket.recv(zmq.NOBLOCK))
        return got

    def close(self):
        self._socket.close()
        self._context.term()


@pytest.fixture(scope="session")
def golden():
    return Messages()


@pytest.fixture
def outlet(tmp_path):
    with contextlib.closing(Outlet(tmp_path)) as outlet:
        yield outlet
