"""Messages of the client library about keys, with the command line's options: ``--key`` instead of ``key_file``."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_OPTIONS: Final = {"key_file": "--key", "server_key": "--server-key"}
# Not in paths, which messages quote.
_ARGUMENT: Final = re.compile(rf"(?<![\w/.'\"-])(?:{'|'.join(_OPTIONS)})(?![\w/.'\"-])")
_LOGGER: Final = "streamseg.client.connect"


def key_options(text: str) -> str:
    """Return a message that names options instead of arguments of :mod:`streamseg.client`."""
    return _ARGUMENT.sub(lambda argument: _OPTIONS[argument[0]], text)


@contextmanager
def key_options_in_warnings() -> Iterator[None]:
    """Name the options in the client library's warnings, too: a command that waits raises no error."""
    logger = logging.getLogger(_LOGGER)
    logger.addFilter(_renamed)
    try:
        yield
    finally:
        logger.removeFilter(_renamed)


def _renamed(record: logging.LogRecord) -> bool:
    record.msg, record.args = key_options(record.getMessage()), None
    return True
