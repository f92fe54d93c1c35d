"""``streamseg top``: a live view of a daemon in the terminal.

Uses rich, which the command line needs anyway; textual would bring its own event loop and six more packages for one
screen. The keyboard is ours: rich does not read keys.
"""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from streamseg.cli.daemon_options import Key, ServerKey
from streamseg.protocol.topics import DEFAULT_ENDPOINT

if TYPE_CHECKING:
    from streamseg.cli.top_state import TopState
    from streamseg.client import Subscriber
    from streamseg.client.results import Message
    from streamseg.protocol.topics import Kind

_REFRESH_S: Final = 0.5
_KEYS_S: Final = 0.05
_FRAMES_HZ: Final = 2.0


def top(
    endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT", help="Where the daemon publishes.")] = DEFAULT_ENDPOINT,
    key: Key = None,
    server_key: ServerKey = None,
) -> None:
    """Show streams, objects, rates, latencies, losses and restarts live in the terminal.

    The arrow keys choose a stream; o, l, e and p show its objects, its losses, events and processes; q quits.

    [bold]Example[/bold]

      streamseg top tcp://127.0.0.1:5555
    """
    from rich.console import Console
    from rich.live import Live

    from streamseg.cli.key_options import key_options
    from streamseg.cli.keyboard import Keyboard
    from streamseg.cli.top_screen import screen
    from streamseg.cli.top_state import TopState
    from streamseg.cli.until_signal import ended_by_signal
    from streamseg.client import Subscriber
    from streamseg.errors import ConfigError

    console = Console()
    if console.is_dumb_terminal or not console.is_terminal:
        raise ConfigError(
            f"top needs a terminal to draw on (TERM is {os.environ.get('TERM', '')!r}): use `streamseg status`"
        )
    logging.getLogger("streamseg").addHandler(logging.NullHandler())  # a warning would be printed over the screen
    keyboard = Keyboard()
    state = TopState(endpoint)
    ended = ended_by_signal()
    kinds: list[Kind] = ["objects", "events", "status"]
    with (
        Subscriber(endpoint, kinds=kinds, max_rate_hz=_FRAMES_HZ, key_file=key, server_key=server_key) as subscriber,
        keyboard,
        Live(console=console, screen=True, auto_refresh=False) as live,
    ):
        while not ended.is_set():
            live.update(screen(state, *console.size), refresh=True)
            again_s = time.monotonic() + _REFRESH_S
            while time.monotonic() < again_s and not ended.is_set():
                _receive(subscriber, state)
                state.problem = key_options(subscriber.problem)
                if keys := keyboard.pressed():
                    if not all(state.press(key) for key in keys):
                        return
                    break


def _receive(subscriber: Subscriber[Message], state: TopState) -> None:
    """Receive messages for a moment."""
    from streamseg.errors import SubscribeTimeoutError

    try:
        state.feed(subscriber.receive(_KEYS_S))
    except SubscribeTimeoutError:
        return
