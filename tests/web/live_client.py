"""A browser's end of the page's WebSocket, in Python."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from streamseg.protocol.mask_codec import BoolMask, decode_mask


class Frame:
    """A binary message, taken apart."""

    def __init__(self, data: bytes) -> None:
        (header_bytes,) = struct.unpack_from("<I", data)
        self.header: dict[str, Any] = json.loads(data[4 : 4 + header_bytes])
        at = 4 + header_bytes
        self.jpeg = data[at : at + self.header["jpeg_bytes"]]
        at += len(self.jpeg)
        self._masks = []
        for mask in self.header["masks"]:
            self._masks.append((mask["roi"], data[at : at + mask["bytes"]]))
            at += mask["bytes"]
        assert at == len(data)

    def mask(self, obj_id: int) -> BoolMask:
        """An object's mask at the frame's size."""
        index = [obj["id"] for obj in self.header["objects"]].index(obj_id)
        (x, y, w, h), data = self._masks[index]
        width, height = self.header["size"]
        mask = np.zeros((height, width), bool)
        if data:
            mask[y : y + h, x : x + w] = decode_mask(data, (w, h), "coco_rle")
        return mask


class LiveClient:
    """Reads frames and texts.

    Attributes:
        texts: Every text message so far.
    """

    def __init__(self, url: str, **options: Any) -> None:
        self.texts: list[dict[str, Any]] = []
        address = url.replace("http://", "ws://") + "v1/live"
        self.connection: ClientConnection = connect(address, open_timeout=10, close_timeout=2, **options)

    def watch(self, stream: str, grid: tuple[str, ...] = ()) -> None:
        self.send({"type": "watch", "stream": stream, "grid": grid})

    def acknowledge(self, frame: Frame) -> None:
        self.send({"type": "ack", "n": frame.header["n"]})

    def send(self, message: object) -> None:
        self.connection.send(json.dumps(message))

    def next_frame(self, timeout_s: float = 20) -> Frame:
        """The next picture; texts on the way are kept."""
        while isinstance(data := self.connection.recv(timeout_s), str):
            self.texts.append(json.loads(data))
        return Frame(data)

    def next_text(self, kind: str, timeout_s: float = 20) -> dict[str, Any]:
        """The next text of a kind; pictures on the way are acknowledged."""
        while True:
            data = self.connection.recv(timeout_s)
            if isinstance(data, str):
                self.texts.append(json.loads(data))
                if self.texts[-1]["type"] == kind:
                    return self.texts[-1]
            else:
                self.acknowledge(Frame(data))

    def next_text_only(self, timeout_s: float = 20) -> dict[str, Any]:
        """The next message, which must be a text."""
        data = self.connection.recv(timeout_s)
        assert isinstance(data, str), "a picture came"
        self.texts.append(json.loads(data))
        return self.texts[-1]

    def closed_with(self, timeout_s: float = 20) -> tuple[int, str]:
        """Wait until the server ends the connection; return its code and reason."""
        try:
            while True:
                self.connection.recv(timeout_s)
        except ConnectionClosed:
            return self.connection.close_code or 0, self.connection.close_reason or ""

    def __enter__(self) -> LiveClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()
