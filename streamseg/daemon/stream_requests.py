"""Requests that the supervisor handles: add, change or remove a stream, reload the configuration file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from streamseg.config.diff import changed_settings, difference
from streamseg.config.load import stream_from_mapping
from streamseg.config.schema import Config, ModelConfig
from streamseg.daemon.process_table import ProcessTable, RunningStream
from streamseg.daemon.stream_set import StreamSet
from streamseg.errors import ConfigError, ControlError
from streamseg.ipc.commands import Command, Outcome
from streamseg.ipc.completed_requests import CompletedRequests
from streamseg.protocol.arguments import AddStream, ChangeStream
from streamseg.protocol.control import ErrorBody, control_error, stream_not_found
from streamseg.protocol.results import Nothing, Reloaded, StreamSettings
from streamseg.protocol.text import encode_json
from streamseg.ring.frame_ring import FrameRing

log = logging.getLogger(__name__)

_MAX_STREAMS: Final = 64
_MAX_TEXT: Final = 4000
_FIXED_FIX: Final = {"source": "remove the stream and add it", "prompts": "use add_prompt and set_prompts"}
_FIXED: Final = (*_FIXED_FIX, "prompters")
"""Settings that ``change_stream`` cannot change, and what to do instead."""


class StreamRequests:
    """Handles requests that change the set of streams.

    Args:
        table: Holds the settings in use.
        streams: The set of streams.
        read_config: Reads the configuration file again; None if there is none.
        change_model: Switches the worker to another model.
    """

    def __init__(
        self,
        table: ProcessTable,
        streams: StreamSet,
        read_config: Callable[[], Config] | None,
        change_model: Callable[[ModelConfig], None],
    ) -> None:
        self._table = table
        self._streams = streams
        self._read_config = read_config
        self._change_model = change_model
        self._completed = CompletedRequests()

    def handle(self, command: Command) -> Outcome:
        """Execute a command, unless the same request was executed before. Errors become its outcome."""
        outcome = self._completed.find(command) or self._execute(command)
        self._completed.keep(command, outcome)
        return outcome

    def _execute(self, command: Command) -> Outcome:
        try:
            match command.op:
                case "add_stream":
                    result: msgspec.Struct = self._add(
                        command.stream, msgspec.json.decode(command.args, type=AddStream)
                    )
                case "get_settings":
                    result = self._settings(command.stream)
                case "change_stream":
                    result = self._change(command.stream, msgspec.json.decode(command.args, type=ChangeStream))
                case "remove_stream":
                    result = self._remove(command.stream)
                case _:
                    result = self.reload()
        except ControlError as error:
            body = ErrorBody(code=error.code, message=_cut(error.message), retryable=error.retryable)
            return Outcome(command.number, error=body)
        except Exception as error:
            log.exception("%s %s failed", command.op, command.stream)
            text = f"{command.op} failed: {type(error).__name__}: {error}"
            return Outcome(command.number, error=ErrorBody(code="INTERNAL", message=_cut(text)))
        return Outcome(command.number, encode_json(result))

    def reload(self) -> Reloaded:
        """Reload the configuration file and apply the differences. Streams added on request stay.

        Everything that can fail runs before the first change, so that a failure changes nothing.

        Raises:
            ControlError: there is no file, or its settings are invalid.
        """
        if self._read_config is None:
            raise control_error(
                "BAD_CONFIG", "the daemon was started without a configuration file, so there is nothing to reload"
            )
        try:
            config = self._read_config()
        except ConfigError as error:
            raise control_error("BAD_CONFIG", str(error)) from None
        running = self._streams.running
        others = {stream: entry for stream, entry in running.items() if stream not in config.streams}
        removed = [stream for stream, entry in others.items() if entry.from_file]
        requested = len(others) - len(removed)
        if len(config.streams) + requested > _MAX_STREAMS:
            raise control_error(
                "BAD_CONFIG",
                f"{len(config.streams)} streams in the file and {requested} added on request: a daemon takes at most "
                f"{_MAX_STREAMS}",
            )
        differences = {
            stream: difference(running[stream].settings, settings)
            for stream, settings in config.streams.items()
            if stream in running
        }
        before = self._table.config
        settings_changed = changed_settings(before, config)
        model = tuple(name for name in settings_changed if name.startswith("model."))
        rings = self._make_rings(config)
        added: list[str] = []
        restarted: list[str] = []
        changed: list[str] = []
        unchanged: list[str] = []
        for stream in removed:
            self._streams.remove(stream)
            self._streams.announce("stream_removed", stream)
        for stream, settings in config.streams.items():
            if stream not in running:
                self._streams.add(stream, settings, rings[stream], from_file=True)
                self._streams.announce("stream_added", stream)
                added.append(stream)
            elif (what := differences[stream]) is None:
                running[stream].from_file = True
                unchanged.append(stream)
            else:
                self._streams.change(stream, settings, what, rings.get(stream), from_file=True)
                (restarted if what.source else changed).append(stream)
        unchanged += [stream for stream in running if stream not in config.streams]
        result = Reloaded(
            added=tuple(added),
            removed=tuple(removed),
            restarted=tuple(restarted),
            changed=tuple(changed),
            unchanged=tuple(unchanged),
            needs_restart=tuple(name for name in settings_changed if name not in model),
            model=model,
        )
        log.info("configuration reloaded: %s", describe_reload(result))
        if model:
            self._change_model(config.model)
        return result

    def _make_rings(self, config: Config) -> dict[str, FrameRing]:
        """Return the new rings that a configuration needs, by stream."""
        rings: dict[str, FrameRing] = {}
        try:
            for stream, settings in config.streams.items():
                if self._streams.needs_ring(stream, settings):
                    rings[stream] = self._streams.make_ring(settings)
        except BaseException:
            for ring in rings.values():
                ring.close()
            raise
        return rings

    def _add(self, stream: str, args: AddStream) -> Nothing:
        if stream in self._streams.running:
            raise control_error("STREAM_EXISTS", f"stream {stream!r} exists already: remove it, or choose another id")
        if len(self._streams.running) >= _MAX_STREAMS:
            raise control_error("BAD_CONFIG", f"there are {_MAX_STREAMS} streams already: remove one first")
        _check_prompters(args.settings)
        try:
            settings = stream_from_mapping(stream, args.settings, max_objects=self._table.config.model.max_objects)
        except ConfigError as error:
            raise control_error("BAD_CONFIG", str(error)) from None
        self._streams.add(stream, settings, self._streams.make_ring(settings), from_file=False)
        self._streams.announce("stream_added", stream)
        return Nothing()

    def _settings(self, stream: str) -> StreamSettings:
        running = self._find(stream)
        settings = msgspec.to_builtins(running.settings)
        shown = {name: value for name, value in settings.items() if name not in _FIXED}
        return StreamSettings(settings=shown, from_file=running.from_file)

    def _change(self, stream: str, args: ChangeStream) -> StreamSettings:
        running = self._find(stream)
        _check_prompters(args.settings)
        fixed = sorted(_FIXED_FIX.keys() & args.settings.keys())
        if fixed:
            raise control_error(
                "BAD_CONFIG", f"{fixed[0]} cannot be changed: {_FIXED_FIX[fixed[0]]}, or change the configuration file"
            )
        merged = {**msgspec.to_builtins(running.settings), **args.settings}
        try:
            settings = stream_from_mapping(
                stream, merged, max_objects=self._table.config.model.max_objects, before=running.settings
            )
        except ConfigError as error:
            raise control_error("BAD_CONFIG", str(error)) from None
        what = difference(running.settings, settings)
        if what is not None:
            ring = self._streams.make_ring(settings) if self._streams.needs_ring(stream, settings) else None
            self._streams.change(stream, settings, what, ring, from_file=running.from_file)
            log.info("stream %s: %s changed on request", stream, ", ".join(args.settings))
        return self._settings(stream)

    def _find(self, stream: str) -> RunningStream:
        if stream not in self._streams.running:
            raise stream_not_found(stream, self._streams.running)
        return self._streams.running[stream]

    def _remove(self, stream: str) -> Nothing:
        self._find(stream)
        self._streams.remove(stream)
        self._streams.announce("stream_removed", stream)
        return Nothing()


def _check_prompters(settings: Mapping[str, Any]) -> None:
    """Refuse prompters in a request: they load code and files."""
    if settings.get("prompters"):
        raise control_error(
            "BAD_CONFIG", "prompters load code, so they are only taken from the configuration file: write them there"
        )


def describe_reload(result: Reloaded) -> str:
    """Describe in one line what a reload changed."""
    parts = [
        f"{what} {', '.join(streams)}"
        for what, streams in (
            ("added", result.added),
            ("removed", result.removed),
            ("reopened", result.restarted),
            ("changed", result.changed),
        )
        if streams
    ]
    if result.model:
        parts.append(f"the worker restarts with {', '.join(result.model)}")
    if result.needs_restart:
        parts.append(f"restart the daemon to change: {', '.join(result.needs_restart)}")
    return "; ".join(parts) or "no differences"


def _cut(text: str) -> str:
    """Shorten a message: it travels through a pipe, and the supervisor must not wait for its reader."""
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]} ..."
