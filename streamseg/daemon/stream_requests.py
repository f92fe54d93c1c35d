"""Requests about streams, carried out by the supervisor: add, remove, read the configuration file anew."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import msgspec

from streamseg.config.diff import difference, needs_restart
from streamseg.config.load import stream_from_mapping
from streamseg.config.schema import Config
from streamseg.daemon.stream_set import StreamSet
from streamseg.errors import ConfigError, ControlError, StreamsegError
from streamseg.ipc.commands import Command, Outcome
from streamseg.ipc.completed_requests import CompletedRequests
from streamseg.protocol.control import AddStream, ErrorBody, Nothing, Reloaded, control_error

log = logging.getLogger(__name__)

_MAX_STREAMS: Final = 64
_MAX_TEXT: Final = 4000


class StreamRequests:
    """Changes the set of streams as it is asked to.

    Args:
        config: Settings that the daemon was started with.
        streams: The set.
        read_config: Reads the configuration file anew; None if there is none.
    """

    def __init__(self, config: Config, streams: StreamSet, read_config: Callable[[], Config] | None) -> None:
        self._config = config
        self._streams = streams
        self._read_config = read_config
        self._done = CompletedRequests()

    def carry_out(self, command: Command) -> Outcome:
        """Do what a command says, if that was not done before. Whatever goes wrong becomes its outcome."""
        outcome = self._done.find(command) or self._carry_out(command)
        self._done.keep(command, outcome)
        return outcome

    def _carry_out(self, command: Command) -> Outcome:
        try:
            match command.op:
                case "add_stream":
                    result: msgspec.Struct = self._add(
                        command.stream, msgspec.json.decode(command.args, type=AddStream)
                    )
                case "remove_stream":
                    result = self._remove(command.stream)
                case _:
                    result = self.reload()
        except ControlError as error:
            # Cut: it goes through a pipe, and the supervisor must not wait for the other end to read.
            message = error.message if len(error.message) <= _MAX_TEXT else f"{error.message[:_MAX_TEXT]} ..."
            return Outcome(command.number, error=ErrorBody(code=error.code, message=message, retryable=error.retryable))
        except (StreamsegError, OSError) as error:  # OSError: no descriptor or process was to be had
            log.exception("%s %s failed", command.op, command.stream)
            return Outcome(command.number, error=ErrorBody(code="INTERNAL", message=str(error)[:_MAX_TEXT]))
        return Outcome(command.number, msgspec.json.encode(result))

    def reload(self) -> Reloaded:
        """Read the configuration file anew and change what differs. Streams that were added on demand stay.

        Raises:
            ControlError: there is no file, or settings in it are wrong; nothing is changed then.
        """
        if self._read_config is None:
            raise control_error(
                "BAD_CONFIG", "the daemon was started without a configuration file: there is none to reload"
            )
        try:
            config = self._read_config()
        except ConfigError as error:
            raise control_error("BAD_CONFIG", str(error)) from None
        running = self._streams.running
        removed = [one for one, stream in running.items() if stream.from_file and one not in config.streams]
        on_demand = [one for one, stream in running.items() if not stream.from_file and one not in config.streams]
        if len(config.streams) + len(on_demand) > _MAX_STREAMS:
            raise control_error(
                "BAD_CONFIG",
                f"{len(config.streams)} streams in the file and {len(on_demand)} added on demand: a daemon takes "
                f"{_MAX_STREAMS}",
            )
        added: list[str] = []
        restarted: list[str] = []
        changed: list[str] = []
        unchanged: list[str] = []
        for stream in removed:
            self._streams.remove(stream)
            self._streams.announce("stream_removed", stream)
        for stream, settings in config.streams.items():
            if stream not in running:
                self._streams.add(stream, settings, from_file=True)
                self._streams.announce("stream_added", stream)
                added.append(stream)
            elif (what := difference(running[stream].settings, settings)) is None:
                running[stream].from_file = True
                unchanged.append(stream)
            else:
                self._streams.change(stream, settings, what)
                (restarted if what.source else changed).append(stream)
        unchanged += [stream for stream in running if stream not in config.streams]
        result = Reloaded(
            added=tuple(added),
            removed=tuple(removed),
            restarted=tuple(restarted),
            changed=tuple(changed),
            unchanged=tuple(unchanged),
            needs_restart=needs_restart(self._config, config),
        )
        log.info("configuration read anew: %s", describe_reload(result))
        return result

    def _add(self, stream: str, args: AddStream) -> Nothing:
        if stream in self._streams.running:
            raise control_error(
                "STREAM_EXISTS", f"there is a stream {stream!r} already: remove it, or choose another id"
            )
        if len(self._streams.running) >= _MAX_STREAMS:
            raise control_error("BAD_CONFIG", f"there are {_MAX_STREAMS} streams already: remove one first")
        try:
            settings = stream_from_mapping(stream, args.settings, max_objects=self._config.model.max_objects)
        except ConfigError as error:
            raise control_error("BAD_CONFIG", str(error)) from None
        self._streams.add(stream, settings, from_file=False)
        self._streams.announce("stream_added", stream)
        return Nothing()

    def _remove(self, stream: str) -> Nothing:
        if stream not in self._streams.running:
            there = ", ".join(self._streams.running) or "none"
            raise control_error("STREAM_NOT_FOUND", f"there is no stream {stream!r}, but: {there}")
        self._streams.remove(stream)
        self._streams.announce("stream_removed", stream)
        return Nothing()


def describe_reload(result: Reloaded) -> str:
    """Say in one line what a reload did."""
    parts = [
        f"{what} {', '.join(streams)}"
        for what, streams in (
            ("added", result.added),
            ("removed", result.removed),
            ("opened anew", result.restarted),
            ("changed", result.changed),
        )
        if streams
    ]
    if result.needs_restart:
        parts.append(f"needs a restart of the daemon: {', '.join(result.needs_restart)}")
    return "; ".join(parts) or "nothing differs"
