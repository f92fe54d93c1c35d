"""Control a running daemon from plain code."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import zmq

from streamseg.client import control_calls as calls
from streamseg.client.control_calls import Mask
from streamseg.client.control_core import (
    CONNECT_TIMEOUT_S,
    DEFAULT_TIMEOUT_S,
    RESEND_S,
    Call,
    ControlConnection,
    ControlCore,
)
from streamseg.client.control_results import Snapshot
from streamseg.client.keys import KeyFile, load_keys
from streamseg.errors import StreamsegError
from streamseg.protocol.arguments import Coords, OnExpired
from streamseg.protocol.results import (
    ClipStarted,
    Finding,
    Hello,
    PromptResult,
    PromptsSet,
    Reloaded,
    StatusResult,
    StreamEntry,
    StreamSettings,
    Undone,
    UndoneChange,
)

R = TypeVar("R")


class Controller:
    """Controls a daemon. Each method is one operation and returns when that is done. Used by one thread.

    ::

        with Controller() as control:
            cup = control.add_prompt("cam", points=[(0.42, 0.63)], label="cup", frame=message.frame)
            control.remove_object("cam", cup.object_id)

    Every method blocks up to ``timeout_s`` and raises :class:`~streamseg.errors.ControlError` with the daemon's
    ``code``, or ``UNREACHABLE`` if no daemon responds.

    Args:
        endpoint: The daemon's ``control.endpoint``; None for the default address of this user's daemon.
        timeout_s: Longest wait for a reply.
        connect_timeout_s: Longest wait for a connection.
        key_file: File with the key, for a daemon that requires one (``streamseg keys authorize`` makes it).
        server_key: The daemon's public key, if it is not in the file.

    Raises:
        ConfigError: the endpoint or a key is invalid.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        key_file: KeyFile | None = None,
        server_key: str | bytes | None = None,
    ) -> None:
        self._core = ControlCore(endpoint)
        keys = load_keys(key_file, server_key)
        self._timeout_s = timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._closed = False
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            self._connection = ControlConnection(self._context, self._core.endpoint, keys)
        except StreamsegError:
            self._context.term()
            raise

    @property
    def endpoint(self) -> str:
        """The daemon's address."""
        return self._core.endpoint

    def hello(self) -> Hello:
        """Return the daemon's version, session, model, streams, and the addresses at which it publishes."""
        return self._do(calls.hello())

    def list(self, stream: str | None = None) -> tuple[StreamEntry, ...]:
        """Return all streams, or one, with their objects."""
        return self._do(calls.listing(stream))

    def add_prompt(
        self,
        stream: str,
        *,
        object_id: int | None = None,
        label: str = "",
        points: Iterable[Sequence[float]] = (),
        box: Sequence[float] | None = None,
        mask: Mask | None = None,
        coords: Coords = "normalized",
        frame: int | None = None,
        on_expired: OnExpired = "error",
        preview: bool = False,
        candidates: Literal[1, 3] = 1,
        candidate: int | None = None,
    ) -> PromptResult:
        """Start an object, correct one, or preview a mask.

        Args:
            stream: Id of the stream.
            object_id: The object to start or correct; None starts a new one with an id of the daemon's choice.
            label: Its name; empty on an existing object keeps its name.
            points: (x, y) or (x, y, label); label 1 is on the object (default), 0 is off.
            box: (x0, y0, x1, y1).
            mask: ``bool [height, width]`` of the whole frame, or COCO RLE; without points and box.
            coords: Unit of points and box: ``normalized`` (0..1 of the frame) or ``pixels``.
            frame: Number of the frame that the prompt was made on; None: the newest.
            on_expired: If the daemon no longer holds that frame: ``error`` (``FRAME_EXPIRED``), or use the ``newest``.
            preview: Only return the mask; nothing changes.
            candidates: With ``preview`` and points alone: 3 also returns the masks that an ambiguous click can mean
                (:attr:`PromptResult.candidates`).
            candidate: With points alone: which of those masks to take, 0 is the best one; None leaves it to the model.
        """
        return self._do(
            calls.add_prompt(
                stream,
                object_id=object_id,
                label=label,
                points=points,
                box=box,
                mask=mask,
                coords=coords,
                frame=frame,
                on_expired=on_expired,
                preview=preview,
                candidates=candidates,
                candidate=candidate,
            )
        )

    def undo_prompt(self, stream: str, object_id: int) -> Undone:
        """Undo an object's last prompt. Undoing its only prompt removes the object."""
        return self._do(calls.undo_prompt(stream, object_id))

    def remove_object(self, stream: str, object_id: int) -> None:
        """Stop tracking an object. Its id is not reused."""
        self._do(calls.remove_object(stream, object_id))

    def label_object(self, stream: str, object_id: int, label: str) -> None:
        """Name an object."""
        self._do(calls.label_object(stream, object_id, label))

    def undo(self, stream: str) -> UndoneChange:
        """Undo the newest change of a stream: a prompt, a removal, a reset or a name.

        The last 8 changes can be undone for 60 s. An object comes back with its memory if the stream had room for it
        meanwhile; otherwise it is prompted again on the next frame.
        """
        return self._do(calls.undo(stream))

    def redo(self, stream: str) -> UndoneChange:
        """Redo the change that was undone last. Any other change clears the undone ones.

        A correction is applied to its own frame, which the daemon must still hold.
        """
        return self._do(calls.redo(stream))

    def set_prompts(
        self,
        stream: str,
        prompts: Iterable[Mapping[str, Any]],
        *,
        frame: int | None = None,
        on_expired: OnExpired = "error",
    ) -> PromptsSet:
        """Set all objects of a stream. Objects whose prompt is unchanged are left alone.

        Args:
            stream: Id of the stream.
            prompts: For each object ``object_id`` and, as in :meth:`add_prompt`, ``label``, ``points``, ``box``,
                ``mask`` and ``coords``.
            frame: Number of the frame that all prompts were made on; None: they are applied to the next frame.
            on_expired: If the daemon no longer holds that frame: ``error`` (``FRAME_EXPIRED``), or use the ``newest``.
        """
        return self._do(calls.set_prompts(stream, prompts, frame, on_expired))

    def set_find(self, stream: str, enabled: bool | None = None, settings: Mapping[str, Any] | None = None) -> Finding:
        """Find objects of a stream without a prompt, or stop. Applies until the configured settings change.

        Args:
            stream: Id of the stream.
            enabled: Whether to find objects; None leaves it unchanged.
            settings: As under ``streams.NAME.find`` in a configuration file; None leaves them unchanged.
        """
        return self._do(calls.set_find(stream, enabled, settings))

    def reset(self, stream: str) -> None:
        """Remove all objects of a stream."""
        self._do(calls.on_stream("reset", stream))

    def snapshot(self, stream: str) -> Snapshot:
        """Return the newest tracked frame's masks."""
        return self._do(calls.snapshot(stream))

    def pause(self, stream: str) -> None:
        """Pause tracking of a stream; its pictures are still published."""
        self._do(calls.on_stream("pause", stream))

    def resume(self, stream: str) -> None:
        """Resume tracking of a paused stream."""
        self._do(calls.on_stream("resume", stream))

    def get_status(self, stream: str | None = None) -> StatusResult:
        """Return the newest status messages of the daemon and of all streams, or one."""
        return self._do(calls.get_status(stream))

    def add_stream(self, stream: str, settings: Mapping[str, Any]) -> None:
        """Add a stream: open its source and track it.

        Args:
            stream: Its id.
            settings: As under ``streams.NAME`` in a configuration file; at least ``source``.
        """
        self._do(calls.add_stream(stream, settings))

    def get_settings(self, stream: str) -> StreamSettings:
        """Return the current settings of a stream, without its source and prompts."""
        return self._do(calls.get_settings(stream))

    def change_stream(self, stream: str, settings: Mapping[str, Any]) -> StreamSettings:
        """Change some settings of a running stream, and return all of them.

        Only settings of the source reopen it. The next reload or restart restores the settings of a stream in the
        configuration file.

        Args:
            stream: Its id.
            settings: As under ``streams.NAME`` in a configuration file, but neither ``source`` nor ``prompts``.
        """
        return self._do(calls.change_stream(stream, settings))

    def remove_stream(self, stream: str) -> None:
        """Remove a stream: close its source and drop its objects."""
        self._do(calls.on_stream("remove_stream", stream))

    def record_clip(self, stream: str, before_s: float | None = None, after_s: float | None = None) -> ClipStarted:
        """Begin a clip: a video of the seconds before and after now, written by the daemon (``record.clips``).

        When the file is complete, the event ``clip_saved`` has its name in ``detail``.

        Args:
            stream: Id of the stream.
            before_s: Seconds before now, at most ``record.clips.before_s``, the default.
            after_s: Seconds after now; None: ``record.clips.after_s``.
        """
        return self._do(calls.record_clip(stream, before_s, after_s))

    def reload(self) -> Reloaded:
        """Reload the daemon's configuration file and apply the changes."""
        return self._do(calls.reload())

    def _do(self, call: Call[R]) -> R:
        if self._closed:
            raise StreamsegError("the controller is closed")
        if self._core.must_ask(call):
            self._core.check_feature(call, self.hello())
        request_id, parts = self._core.request(call)
        began = time.monotonic()
        if self._connection.gave_up:
            self._connection.reopen()
        if not self._connection.socket.poll(int(min(self._connect_timeout_s, self._timeout_s) * 1000), zmq.POLLOUT):
            raise self._core.unreachable(self._connection.problem)
        deadline = began + self._timeout_s
        send_at = began
        while (now := time.monotonic()) < deadline:
            if now >= send_at:
                self._send(parts)
                send_at = now + RESEND_S
            if not self._connection.socket.poll(int((min(send_at, deadline) - now) * 1000) + 1):
                continue
            reply = self._core.read(self._connection.socket.recv_multipart())
            if reply is not None and reply.id == request_id:
                return self._core.result(call, reply)
        raise self._core.unanswered(call, self._timeout_s)

    def _send(self, parts: Sequence[bytes]) -> None:
        """Send if the daemon is connected; otherwise the next resend does it."""
        with contextlib.suppress(zmq.Again):
            self._connection.socket.send_multipart(parts, zmq.NOBLOCK)

    def close(self) -> None:
        """Disconnect. Safe to call twice."""
        if not self._closed:
            self._closed = True
            self._connection.close()
            self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
