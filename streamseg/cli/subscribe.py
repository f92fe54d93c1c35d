"""``streamseg subscribe``: print the messages of a daemon."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, cast

import typer

from streamseg.cli.daemon_options import Key, ServerKey
from streamseg.cli.print_line import print_line
from streamseg.common.redact import redact
from streamseg.protocol.topics import DEFAULT_ENDPOINT

if TYPE_CHECKING:
    from streamseg.client.results import Message
    from streamseg.protocol.topics import Kind

_HINT_AFTER_S: Final = 5.0
_TURN_S: Final = 0.5


def subscribe(
    endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT", help="Where the daemon publishes.")] = DEFAULT_ENDPOINT,
    stream: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Only this stream; repeat for several. Default: all.")
    ] = None,
    kinds: Annotated[
        str, typer.Option(metavar="KIND,...", help="Any of masks, objects, image, events, status.")
    ] = "objects,events,status",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the header of each message, one JSON object per line.")
    ] = False,
    max_rate: Annotated[
        float | None,
        typer.Option("--max-rate", metavar="HZ", help="At most this many frames a second of each stream."),
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, metavar="N", help="Stop after N messages.")] = None,
    timeout: Annotated[
        float | None, typer.Option(min=0.1, metavar="S", help="Fail if no message arrives for S seconds.")
    ] = None,
    key: Key = None,
    server_key: ServerKey = None,
) -> None:
    """Print a line for each message that a daemon publishes, until Ctrl-C.

    [bold]Examples[/bold]

      streamseg subscribe

      streamseg subscribe tcp://127.0.0.1:5555 --kinds masks --json --count 1
    """
    from streamseg.cli.message_lines import message_line

    chosen = [kind.strip() for kind in kinds.split(",") if kind.strip()]
    for number, (message, header) in enumerate(
        _messages(endpoint, stream, chosen, timeout, max_rate, key, server_key), 1
    ):
        line = header.decode() if as_json else message_line(message)
        print_line(line)
        if number == count:
            return


def _messages(
    endpoint: str,
    streams: list[str] | None,
    kinds: list[str],
    timeout_s: float | None,
    max_rate_hz: float | None,
    key: Path | None,
    server_key: str | None,
) -> Iterator[tuple[Message, bytes]]:
    """Yield every message in order, with its header as bytes."""
    import zmq

    from streamseg.client.connect import Connection
    from streamseg.client.core import SubscriberCore
    from streamseg.client.inbox import AllInbox
    from streamseg.client.keys import load_keys
    from streamseg.client.subscriber import rate_of

    # The client library's core with our own loop, since results do not keep the original bytes.
    rate = rate_of(None, max_rate_hz)
    core: SubscriberCore[Message] = SubscriberCore(
        endpoint, streams or None, cast("list[Kind]", kinds), AllInbox(), rate
    )
    silence = _Silence(timeout_s, core.timeout_error)
    with zmq.Context() as context, Connection(context, endpoint, core, load_keys(key, server_key)) as connection:
        while True:
            if connection.socket.poll(int(_TURN_S * 1000)):
                parts = connection.socket.recv_multipart()
                core.feed(parts)
                if (message := core.take()) is not None:
                    silence.broken()
                    yield message, parts[1]
            else:
                silence.check(endpoint, connection.problem, core.silence_reason)
            connection.update()


class _Silence:
    """Time without a message, and when to report it.

    Args:
        timeout_s: Longest silence; None for no limit.
        error: Creates the error for a longer silence.
    """

    def __init__(self, timeout_s: float | None, error: Callable[[float, str], Exception]) -> None:
        self._timeout_s = timeout_s
        self._error = error
        self._since = time.monotonic()
        self._hinted = False

    def broken(self) -> None:
        """Record a message."""
        self._since, self._hinted = time.monotonic(), True

    def check(self, endpoint: str, problem: str, reason: Callable[[], str]) -> None:
        """Raise after the timeout; print one hint if the first message takes long."""
        silent_s = time.monotonic() - self._since
        if self._timeout_s is not None and silent_s >= self._timeout_s:
            raise self._error(self._timeout_s, problem)
        if silent_s >= _HINT_AFTER_S and not self._hinted and not problem:  # a problem is logged by the connection
            self._hinted = True
            print(redact(f"no message from {endpoint} yet: {reason()}"), file=sys.stderr)
