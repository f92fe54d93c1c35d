"""Delivers results to callbacks in a background thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Final, Self

from streamseg.client.keys import KeyFile
from streamseg.client.results import (
    DaemonStatusMessage,
    EventMessage,
    ImageFrame,
    MaskFrame,
    ObjectsFrame,
    StatusMessage,
)
from streamseg.client.subscriber import Mode, Subscriber
from streamseg.errors import ConfigError, SubscribeTimeoutError
from streamseg.protocol.topics import DEFAULT_ENDPOINT, Kind

log = logging.getLogger(__name__)

_CHECK_S: Final = 0.2
"""How often the thread checks whether to stop."""


class Listener:
    """Calls functions with a daemon's messages, from its creation to :meth:`close` or the end of ``with``.

    All callbacks run in one thread of the listener, one at a time: a slow one delays the others, and in mode ``latest``
    it skips frames. An exception in a callback ends the listener; :meth:`wait` and :meth:`close` raise it.

    Args:
        endpoint: Where the daemon publishes.
        on_masks: Called with each :class:`~streamseg.client.MaskFrame`.
        on_objects: Called with each :class:`~streamseg.client.ObjectsFrame`.
        on_image: Called with each :class:`~streamseg.client.ImageFrame`.
        on_event: Called with each :class:`~streamseg.client.EventMessage`.
        on_status: Called with each :class:`~streamseg.client.StatusMessage` and
            :class:`~streamseg.client.DaemonStatusMessage`.
        streams: As in :class:`~streamseg.client.Subscriber`.
        mode: As there.
        min_rate_hz: As there.
        max_rate_hz: As there.
        key_file: As there.
        server_key: As there.

    Raises:
        ConfigError: there is no callback, or an argument is invalid.
    """

    def __init__(
        self,
        endpoint: str = DEFAULT_ENDPOINT,
        *,
        on_masks: Callable[[MaskFrame], object] | None = None,
        on_objects: Callable[[ObjectsFrame], object] | None = None,
        on_image: Callable[[ImageFrame], object] | None = None,
        on_event: Callable[[EventMessage], object] | None = None,
        on_status: Callable[[StatusMessage | DaemonStatusMessage], object] | None = None,
        streams: Iterable[str] | None = None,
        mode: Mode = "latest",
        min_rate_hz: float | None = None,
        max_rate_hz: float | None = None,
        key_file: KeyFile | None = None,
        server_key: str | bytes | None = None,
    ) -> None:
        given: dict[Kind, Callable[[Any], object] | None] = {
            "masks": on_masks,
            "objects": on_objects,
            "image": on_image,
            "events": on_event,
            "status": on_status,
        }
        self._callbacks = {kind: callback for kind, callback in given.items() if callback is not None}
        if not self._callbacks:
            raise ConfigError("a Listener needs a callback: give at least one of on_masks, on_objects, on_image, ...")
        self._subscriber = Subscriber(
            endpoint,
            streams=streams,
            kinds=list(self._callbacks),
            mode=mode,
            min_rate_hz=min_rate_hz,
            max_rate_hz=max_rate_hz,
            key_file=key_file,
            server_key=server_key,
        )
        self._stop = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="streamseg-listener", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                try:
                    message = self._subscriber.receive(_CHECK_S)
                except SubscribeTimeoutError:
                    continue
                self._callbacks[message.kind](message)
        except Exception as error:  # noqa: BLE001 - whatever a callback raises; wait() and close() raise it
            self._error = error
            log.error("a callback raised %s: the listener has ended", type(error).__name__)
        finally:
            self._subscriber.close()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the listener has ended; return whether it has.

        Args:
            timeout_s: Longest wait; None: no limit.

        Raises:
            Exception: the exception of a callback; raised once.
        """
        self._thread.join(timeout_s)
        error, self._error = self._error, None
        if error is not None:
            raise error
        return not self._thread.is_alive()

    def close(self) -> None:
        """Stop after the running callback. Safe to call twice, and from a callback.

        Raises:
            Exception: the exception of a callback, unless :meth:`wait` has raised it.
        """
        self._stop.set()
        if threading.current_thread() is not self._thread:
            self.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
