"""Takes pictures of streams on request, in a thread, so that an offline camera delays nothing else."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from streamseg.bridges.mqtt_state import Publication
from streamseg.bridges.mqtt_topics import MqttTopics
from streamseg.client import PairedSubscriber
from streamseg.common.draw import draw_jpeg
from streamseg.errors import reason_of
from streamseg.protocol.text import encode_json

log = logging.getLogger(__name__)

_MAX_WAITING: Final = 16
_PICTURE_S: Final = 10.0
_CLOSE_S: Final = 1.0
_IDLE_S: Final = 0.2


def wants_masks(payload: bytes) -> bool:
    """Return whether a request asks for a picture with masks: unless it is ``{"overlay": false}``."""
    try:
        request = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return True
    return not (isinstance(request, dict) and request.get("overlay") is False)


class Snapshots:
    """Publishes pictures. The daemon encodes pictures only while one is requested.

    Args:
        endpoint: Where the daemon publishes.
        topics: Where to publish.
        publish: Called from the thread.
        key_file: As for :class:`~streamseg.client.Subscriber`.
        server_key: Likewise.
    """

    def __init__(
        self,
        endpoint: str,
        topics: MqttTopics,
        publish: Callable[[Publication], None],
        *,
        key_file: Path | None = None,
        server_key: str | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._key_file = key_file
        self._server_key = server_key
        self._topics = topics
        self._publish = publish
        self._waiting: queue.Queue[tuple[str, bool]] = queue.Queue(_MAX_WAITING)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mqtt-snapshots", daemon=True)
        self._thread.start()

    def request(self, stream: str, payload: bytes) -> None:
        """Request a picture of an existing stream."""
        try:
            self._waiting.put_nowait((stream, wants_masks(payload)))
        except queue.Full:
            self._fail(stream, f"{_MAX_WAITING} requests for a snapshot are waiting already")

    def close(self) -> None:
        """Stop publishing. Blocks up to a second; a thread that still waits for a camera ends with the process."""
        self._stop.set()
        self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                stream, masks = self._waiting.get(timeout=_IDLE_S)
            except queue.Empty:
                continue
            try:
                self._take(stream, masks)
            except Exception as error:  # noqa: BLE001 - one picture must not end the thread
                self._fail(stream, reason_of(error))

    def _take(self, stream: str, masks: bool) -> None:
        with PairedSubscriber(
            self._endpoint, streams=[stream], key_file=self._key_file, server_key=self._server_key
        ) as pairs:
            pair = pairs.receive(_PICTURE_S)
        jpeg = draw_jpeg(pair.image.rgb, pair.masks.objects) if masks else pair.image.jpeg
        self._say(Publication(self._topics.of_stream(stream, "snapshot"), jpeg, retain=False))

    def _fail(self, stream: str, reason: str) -> None:
        log.warning("no snapshot of %s: %s", stream, reason)
        topic = self._topics.of_stream(stream, "snapshot", "error")
        self._say(Publication(topic, encode_json({"error": reason}), retain=False))

    def _say(self, publication: Publication) -> None:
        if not self._stop.is_set():
            self._publish(publication)
