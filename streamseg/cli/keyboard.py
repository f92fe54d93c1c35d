"""Keys of a terminal, one by one, without waiting for a line.

Ours because rich does not read keys, and ``curses`` would draw the screen as well.
"""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from types import TracebackType
from typing import Final, Self

from streamseg.errors import ConfigError

_NAMES: Final = {
    b"\x1b[A": "up",
    b"\x1bOA": "up",
    b"\x1b[B": "down",
    b"\x1bOB": "down",
    b"\t": "tab",
    b"\x1b[Z": "back tab",
}
_MAX_BYTES: Final = 64


class Keyboard:
    """Pressed keys. A context manager: leaving it restores the terminal. Ctrl-C is still a signal.

    Raises:
        ConfigError: stdin is not a terminal.
    """

    def __init__(self) -> None:
        if not sys.stdin.isatty():
            raise ConfigError("this command needs a terminal; use streamseg status or streamseg subscribe in scripts")
        self._fd = sys.stdin.fileno()
        self._before = termios.tcgetattr(self._fd)

    def __enter__(self) -> Self:
        tty.setcbreak(self._fd)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)

    def pressed(self) -> list[str]:
        """Return the keys since the last call, without waiting: characters, or ``up``, ``down``, ``tab``, ``back tab``.

        ``end`` means that the terminal is gone.
        """
        if not select.select([self._fd], [], [], 0)[0]:
            return []
        try:
            data = os.read(self._fd, _MAX_BYTES)
        except OSError:
            data = b""
        return key_names(data) if data else ["end"]


def key_names(data: bytes) -> list[str]:
    """Return the keys in the bytes from a terminal. Unknown sequences are dropped."""
    keys = []
    while data:
        known = next((code for code in _NAMES if data.startswith(code)), None)
        if known is not None:
            keys.append(_NAMES[known])
            data = data[len(known) :]
        elif data[0] == 0x1B:
            break  # an unknown sequence: its end is unknown, too
        else:
            keys.append(chr(data[0]))
            data = data[1:]
    return keys
