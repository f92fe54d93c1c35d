"""``streamseg``: the table of commands, and how an error becomes a message and an exit code."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import traceback
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from streamseg.cli import (
    automask,
    config,
    demo,
    keys,
    models,
    mqtt,
    probe,
    prompt,
    record,
    reload,
    run,
    segment,
    service,
    state,
    status,
    stream,
    subscribe,
    top,
    view,
)
from streamseg.cli.key_options import key_options, key_options_in_warnings
from streamseg.common.redact import redact
from streamseg.errors import StreamsegError
from streamseg.protocol.text import ESCAPED

INTERRUPTED: Final = 130
"""Exit code after Ctrl-C, as in a shell: 128 + SIGINT."""

EXIT_CODES: Final = (
    "Exit codes: 0 success, 1 failure, 2 invalid usage or settings, 3 model, 4 video source or picture, 5 process, "
    "6 an address to listen on is not here yet, 130 Ctrl-C."
)


class _Commands(TyperGroup):
    """The commands. Usage errors repeat arguments, which may be addresses with passwords, so they are redacted."""

    _given: Sequence[str] = ()

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> Any:
        self._given = tuple(args)  # parsing consumes them
        with _readable_usage_errors(self._given):
            return super().make_context(info_name, args, *rest, **extra)

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        with _readable_usage_errors(self._given):
            return super().invoke(ctx)


@contextlib.contextmanager
def _readable_usage_errors(arguments: Sequence[str]) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # The class is click's UsageError, for which newer versions of Typer have no public name.
        if isinstance(message := getattr(error, "message", None), str):
            error.message = _without_addresses(_with_value(message, error), arguments)  # type: ignore[attr-defined]
        raise


def _with_value(message: str, error: Exception) -> str:
    """Return a usage error's message with the value that it is about.

    Newer versions of Typer let pydantic check values, whose messages leave them out.
    """
    details = getattr(error.__cause__, "errors", None)
    if details is None or not (problems := details()):
        return message
    return f"{str(problems[0].get('input'))!r}: {message[:1].lower()}{message[1:]}"


def _without_addresses(message: str, arguments: Sequence[str]) -> str:
    """Redact a message: arguments that are addresses exactly, everything else by patterns."""
    from streamseg.sources.address import SourceAddress

    for argument in sorted(arguments, key=len, reverse=True):
        for text in (argument, argument.partition("=")[2], argument.lstrip("-")):
            if "://" in text:
                message = SourceAddress.of(text).without_secrets(message)
    return redact(message)


app = typer.Typer(
    name="streamseg",
    cls=_Commands,
    help="Real-time video object segmentation: camera in, masks out.",
    epilog=f"Start with: streamseg demo. {EXIT_CODES}",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.command("run")(run.run)
app.command("demo")(demo.demo)
app.command("subscribe")(subscribe.subscribe)
app.command("view")(view.view)
app.command("probe")(probe.probe)
# The parameters of automatic masks are accepted as sam2 spells them, too: --points_per_side.
app.command("automask", context_settings={"token_normalize_func": lambda name: name.replace("_", "-")})(
    automask.automask
)
app.command("segment")(segment.segment)
app.command("record")(record.record)
app.command("replay")(record.replay)
app.command("export")(record.export)
app.command("mqtt")(mqtt.mqtt)
app.command("status")(status.status)
app.command("top")(top.top)
app.command("reload")(reload.reload)
app.add_typer(prompt.app, name="prompt")
app.add_typer(stream.app, name="stream")
app.add_typer(models.app, name="models")
app.add_typer(config.app, name="config")
app.add_typer(keys.app, name="keys")
app.add_typer(service.app, name="service")
app.add_typer(state.app, name="state")


def _show_version(wanted: bool) -> None:
    if wanted:
        from streamseg import __version__

        print(f"streamseg {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback for errors.")] = False,
) -> None:
    """Real-time video object segmentation: camera in, masks out."""


def main() -> None:
    """Run the command line and exit with its exit code."""
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, io.TextIOWrapper):
            output.reconfigure(errors=ESCAPED)  # file names need not be UTF-8
    try:
        with key_options_in_warnings():
            app()
    except StreamsegError as error:
        from streamseg.common.logs import logs_json

        debug = "--debug" in sys.argv[1:]
        if logs_json():
            # The reader of this stream expects JSON only.
            logging.getLogger(__name__).critical("%s", key_options(str(error)), exc_info=debug)
        elif debug:
            # Unlike the message, an error's causes may contain an address with its password.
            print(redact(traceback.format_exc()), end="", file=sys.stderr)
        else:
            print(f"error: {redact(key_options(str(error)))}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception:  # a bug; its traceback may hold addresses with their passwords
        if sys.excepthook is not sys.__excepthook__:
            raise  # logging is set up and reports it
        print(redact(traceback.format_exc()), end="", file=sys.stderr)
        sys.exit(1)
