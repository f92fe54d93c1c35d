"""Logging to stderr: one line of text or one JSON object per record, without passwords.

Built on the standard library's ``logging``; libraries such as ``structlog`` would not replace our part, the redaction.
Fields go into ``extra``::

    log.info("connected", extra={"stream": "cam1", "fps": 25.0})

Logging never blocks: see `line_writer.py`.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import IO, Final, Literal, Protocol

from streamseg.common.line_writer import LineWriter
from streamseg.common.redact import redact
from streamseg.protocol.text import encode_json

_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_MAX_TEXT: Final = 64 * 1024
"""Longer texts are cut before redaction, which takes a second for a few megabytes."""
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# Text from cameras reaches our log: escape line breaks and terminal control sequences.
_CONTROL: Final = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {9: " ", 10: "\\n", 13: "\\r"}


class LogSettings(Protocol):
    """Log settings, as in ``log`` of a configuration."""

    @property
    def level(self) -> Literal["debug", "info", "warning", "error"]:
        """The lowest level that is logged."""
        ...

    @property
    def format(self) -> Literal["text", "json"]:
        """One line of text or one JSON object per record."""
        ...


def setup_logging(config: LogSettings, process: str) -> None:
    """Send this process's logs, warnings and uncaught errors to stderr.

    Call it once in each process, before anything is logged; a second call replaces the first.

    Args:
        config: Lowest level, and the format.
        process: Name of the process in every line, for example ``capture:cam1``.
    """
    handler = _StreamsegHandler(sys.stderr)
    handler.addFilter(_RedactingFilter())
    handler.setFormatter(JsonFormatter(process) if config.format == "json" else TextFormatter(process))
    root = logging.getLogger()
    for old in _our_handlers():
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(_LEVELS[config.level])
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def logs_json() -> bool:
    """Return whether :func:`setup_logging` was called with the JSON format."""
    return any(isinstance(handler.formatter, JsonFormatter) for handler in _our_handlers())


def flush_logs(timeout_s: float) -> None:
    """Write the queued lines, before the process exits without Python's own cleanup.

    Blocks: up to ``timeout_s``.
    """
    for handler in _our_handlers():
        handler.writer.flush(timeout_s)


def dropped_lines() -> int:
    """Return how many lines of this process's log were dropped because nothing read them in time."""
    return sum(handler.writer.dropped for handler in _our_handlers())


class TextFormatter(logging.Formatter):
    """``2026-01-31 12:00:00.123 INFO    capture:cam1 | connected  fps=25.0``, with a traceback on extra lines.

    Args:
        process: Name of this process.
    """

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line."""
        when = datetime.fromtimestamp(record.created).isoformat(sep=" ", timespec="milliseconds")
        line = f"{when} {record.levelname:<7} {self._process} | {record.getMessage().translate(_CONTROL)}"
        for name, value in _fields(record).items():
            line += f"  {name}={_shown(value)}"
        error = _error_text(record)
        return f"{line}\n{error}" if error else line


class JsonFormatter(logging.Formatter):
    """One JSON object per record: ``time`` (UTC), ``level``, ``process``, ``logger``, ``message``, fields, ``error``.

    Args:
        process: Name of this process.
    """

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        # An extra field cannot override one of ours.
        line = {**_fields(record), **line}
        if error := _error_text(record):
            line["error"] = error
        return encode_json(line).decode()


class _StreamsegHandler(logging.Handler):
    """Our handler of the root logger. Never blocks.

    Args:
        stream: Where to write.
    """

    def __init__(self, stream: IO[str]) -> None:
        super().__init__()
        self.writer = LineWriter(stream, self._describe_dropped)

    def _describe_dropped(self, count: int) -> str:
        text = f"{count} lines of the log were dropped: nothing read it in time"
        return self.format(logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, None, None))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.writer.write(self.format(record))
        except Exception:  # noqa: BLE001 - as in every handler of the standard library
            self.handleError(record)

    def close(self) -> None:
        self.writer.close()
        super().close()


def _our_handlers() -> list[_StreamsegHandler]:
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, _StreamsegHandler)]


class _RedactingFilter(logging.Filter):
    """Remove passwords from every part of a record.

    The record itself is changed, so that later handlers do not see them either.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            message = record.getMessage()
        except Exception as error:  # noqa: BLE001 - a wrong log call must not break its caller
            message = f"{record.msg!r} (does not match its arguments: {error})"
        record.msg, record.args = redact(_shortened(message)), None
        if record.exc_info and record.exc_info[0] is not None and not record.exc_text:
            record.exc_text = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
        record.exc_info = None
        if record.exc_text:
            record.exc_text = redact(_shortened(record.exc_text))
        if record.stack_info:
            record.stack_info = redact(record.stack_info)
        for name, value in _fields(record).items():
            setattr(record, name, _plain(value))
        return True


def _shortened(text: str) -> str:
    """Return a text of bounded length, cut at a space so that no part of an address is left."""
    if len(text) <= _MAX_TEXT:
        return text
    end = max(text.rfind(" ", 0, _MAX_TEXT), text.rfind("\n", 0, _MAX_TEXT), 0)
    return f"{text[:end]} ... ({len(text) - end} more characters)"


def _plain(value: object) -> object:
    """Return a field as plain value for JSON and text, without passwords."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    try:
        return redact(_shortened(str(value)))
    except Exception as error:  # noqa: BLE001 - as above
        return f"({type(value).__name__} that cannot be shown: {type(error).__name__})"


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _shown(value: object) -> str:
    text = str(value).translate(_CONTROL)
    return f'"{text}"' if not text or " " in text else text


def _error_text(record: logging.LogRecord) -> str:
    return "\n".join(text for text in (record.exc_text, record.stack_info) if text)


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        logging.getLogger("streamseg").critical("uncaught %s", kind.__name__, exc_info=(kind, error, trace))


def _log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
        name = args.thread.name if args.thread else "?"
        logging.getLogger("streamseg").critical(
            "uncaught %s in thread %s",
            args.exc_type.__name__,
            name,
            exc_info=(args.exc_type, args.exc_value, args.exc_traceback),
        )
