"""Receives events of libzmq's socket monitors. pyzmq's own function imports asyncio, which takes 45 ms."""

from __future__ import annotations

import struct
from typing import Final

import zmq

_EVENT: Final = struct.Struct("=hi")


def receive_monitor_event(monitor: zmq.Socket[bytes]) -> tuple[int, int]:
    """Return the next event and its value, for example a descriptor."""
    head, _address = monitor.recv_multipart()
    event, value = _EVENT.unpack(head)
    return event, value
